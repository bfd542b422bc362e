"""Endpoints of one chain: JSON-RPC, typed calls, a quorum of endpoints, block time."""
