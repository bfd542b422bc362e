"""The inference profile as a compose file: written for a node, and compared with the node's own sandbox."""
