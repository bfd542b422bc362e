"""The pure machines under the network adapter."""
