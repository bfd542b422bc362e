"""One module a contract: its calls, its reads and its logs."""
