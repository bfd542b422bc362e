"""Ethereum, and only here: endpoints, keys, transactions, the contracts and what they say."""
