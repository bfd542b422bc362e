"""Whose container a process of a card is in, by what the kernel says of its control group."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

_CONTAINER = re.compile(r"[0-9a-f]{64}")


def cgroup_of(pid: int) -> str:
    """The control groups of a process in the kernel's words; nothing if it has ended or is not ours to see."""
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def containers_of(
    pids: Iterable[int], containers: Iterable[str], read: Callable[[int], str] = cgroup_of
) -> Mapping[int, str]:
    """By process id, the container that it is in, of these containers. Docker and Podman name groups by container."""
    known = frozenset(containers)
    found = {}
    for pid in frozenset(pids):
        named = known.intersection(_CONTAINER.findall(read(pid)))
        if named:
            found[pid] = min(named)
    return found
