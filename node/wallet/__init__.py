"""What the owner of a node keeps: key files, secrets, sealed content, planned transactions."""
