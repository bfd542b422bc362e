"""Graphics cards of this machine: read, looked after, chosen and shared. NVML is called only here."""
