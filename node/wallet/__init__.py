"""The keepings of a node's owner: key files, secrets, sealed content, planned transactions."""
