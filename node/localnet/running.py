"""A local network that runs: looking at it, and taking it down. Imports nothing that takes time."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from node.api.client import Client
from node.api.faults import Fault
from node.api.views import Snapshot, read
from node.localnet.processes import stop
from node.localnet.record import LocalnetRecord, LocalNode, forget, read_record

STOP_WITHIN_S = 15.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A node as `status` finds it: whether its process runs, and its snapshot where its API answers."""

    member: LocalNode
    is_alive: bool
    snapshot: Snapshot | None


def down(directory: Path, say: Say) -> bool:
    """Stop every process of the network, and forget it; its logs and keys stay.

    What a node has left that was killed, now or long ago, is removed. Returns: whether there was a network.
    Raises: ConfigError.
    """
    from node.localnet.leftovers import clean

    record = read_record(directory)
    if record is not None:
        _stop(record, say)
    for problem in clean(directory, say):
        say(f"{problem}: not started by `vcoin localnet up`, so it is left running")
    forget(directory)
    return record is not None


def _stop(record: LocalnetRecord, say: Say) -> None:
    running = [process for process in record.processes if process.is_alive]
    say(f"stopping {len(running)} processes ...")
    # Nodes first: what they still have to say to the chain, they say while it answers.
    nodes = [process for process in running if process != record.chain]
    killed = stop(nodes, STOP_WITHIN_S)
    if record.chain:
        killed += stop([record.chain], STOP_WITHIN_S)
    for name in killed:
        say(f"{name} did not end and was killed")


def look(node: LocalNode) -> RunningNode:
    """One node as it is now."""
    is_alive = node.process is not None and node.process.is_alive
    snapshot = None
    if is_alive:
        # Without an answer it starts, or it hangs; that it has no snapshot says so.
        with suppress(Fault):
            snapshot = read(Snapshot, Client(Path(node.socket)).get("status"))
    return RunningNode(node, is_alive, snapshot)
