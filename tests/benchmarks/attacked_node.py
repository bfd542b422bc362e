"""A node to be attacked, as a process of its own: python -m tests.benchmarks.attacked_node."""

from __future__ import annotations

import tempfile
from pathlib import Path

import trio

from node.daemon.process import keep_what_stays
from p2p.host import open_host
from p2p.streams import FramedStream
from tests.benchmarks.pulse import STUCK, show_pulse
from tests.fakes.loopback import ANY_PORT
from tests.fakes.nodes import run_node, secret

INDEX = 500
"""Of its key, among those of the tests."""


async def stay(stream: FramedStream) -> None:
    """Never read."""
    await trio.sleep_forever()


async def main() -> None:
    """Until its input ends."""
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        async with (
            open_host(secret(INDEX), ANY_PORT) as host,
            run_node(host, 0, Path(made)),
        ):
            host.handle(STUCK, stay)
            keep_what_stays()
            await show_pulse(host.addresses[0])


if __name__ == "__main__":
    trio.run(main)
