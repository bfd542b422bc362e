"""The roles that a node plays: each turns events into effects."""
