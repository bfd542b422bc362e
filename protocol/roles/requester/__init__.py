"""The requester: from what its user asks to the receipt and the bill."""
