"""The core: what the network's rules are, without a clock, a network or a disk.

Everything here is synchronous and pure. Events and the time come in, effects go out; an adapter performs them.
"""
