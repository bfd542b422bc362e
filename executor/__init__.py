"""Containers and GPUs: runs jobs in hardened containers and re-runs other nodes' results. Nothing else knows Docker."""
