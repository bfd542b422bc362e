"""Ports for tests, below those that the system gives to connections of its own, none of them handed out twice."""

import itertools
import os
import socket

FIRST, LAST = 14_000, 24_000
_SPREAD = 97
# Processes begin at different places, so that two runs on one machine rarely meet.
_ports = itertools.cycle(range(FIRST, LAST))
for _ in range(os.getpid() * _SPREAD % (LAST - FIRST)):
    next(_ports)


def free_ports(count: int) -> int:
    """The first of so many ports in a row without a listener."""
    row: list[int] = []
    for port in itertools.islice(_ports, LAST - FIRST):
        if not _is_free(port) or (row and port != row[-1] + 1):
            row = []
        if _is_free(port):
            row.append(port)
        if len(row) == count:
            return row[0]
    raise AssertionError("no ports are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
