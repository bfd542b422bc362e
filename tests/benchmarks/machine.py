"""How fast this machine is right now: the anchor beside figures that others share the machine with."""

from __future__ import annotations

import hashlib
import os
import time

MEGABYTES = 256


def anchor() -> str:
    """Cores, what already runs on them, and how long one of them hashes for; other machines, other seconds."""
    data = bytes(1_000_000)
    total = hashlib.sha256()
    started = time.monotonic()
    for _ in range(MEGABYTES):
        total.update(data)
    seconds = time.monotonic() - started
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, sha256 of {MEGABYTES} MB in {seconds:.2f} s"
