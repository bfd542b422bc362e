"""A node to be attacked, as a process of its own: python -m tests.benchmarks.attacked_node FOLDER.

It prints its address. Then, for every line that it reads, one JSON object: its memory in MB, and the longest that its
loop was late since the line before, in ms.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import trio

from node.daemon.process import keep_what_stays
from p2p.host import open_host
from p2p.streams import FramedStream
from protocol.network.gossip import Admission
from tests.fakes.loopback import ANY_PORT
from tests.fakes.nodes import run_node, secret

STUCK = "/test/stuck/1"
LOOK_S = 0.02


def memory_mb() -> float:
    """Resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


class Meter:
    """The longest lag since it was read last."""

    def __init__(self) -> None:
        self.worst_ms = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due = trio.current_time() + LOOK_S
            await trio.sleep_until(due)
            self.worst_ms = max(self.worst_ms, 1000 * (trio.current_time() - due))


async def stay(stream: FramedStream) -> None:
    """Never read."""
    await trio.sleep_forever()


async def main() -> None:
    """Until its input ends."""
    meter = Meter()
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        async with (
            open_host(secret(0), ANY_PORT) as host,
            run_node(host, 0, Path(made), admit=lambda operator, body: Admission.REFUSE),
            trio.open_nursery() as nursery,
        ):
            host.handle(STUCK, stay)
            nursery.start_soon(meter.run)
            keep_what_stays()
            print(host.addresses[0], flush=True)
            while await trio.to_thread.run_sync(sys.stdin.readline):
                print(json.dumps({"memory_mb": memory_mb(), "lag_ms": meter.worst_ms}), flush=True)
                meter.worst_ms = 0.0
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
