"""GGUF files: their header, and what a model of them must hold. Also read by the host, so only Python's own library."""
