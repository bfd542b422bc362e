"""Ethereum, and only here: endpoints, keys, transactions, the contracts and what they say."""

import sys

# A library under eth_account raises the recursion limit to 100,000 for the whole process. Deeply nested JSON of a peer
# or a container would then run through the C stack and end the daemon, where it now is a RecursionError.
_limit = sys.getrecursionlimit()
import eth_account  # noqa: E402, F401

sys.setrecursionlimit(_limit)
