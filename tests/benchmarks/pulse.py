"""The pulse of an attacked process: its address first, then for every line that it reads how late its loop was."""

from __future__ import annotations

import json
import resource
import sys

import trio

STUCK = "/test/stuck/1"
"""A protocol whose handler never reads."""
ADDRESS_SPACE_BYTES = 4 * 2**30
"""The memory that an attack may make a process ask for; this machine is needed for the next one."""
LOOK_S = 0.02


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


async def show_pulse(address: str) -> None:
    """Print the address, then one JSON object for each line: its lag since the line before. Until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    meter = Meter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(meter.run)
        print(address, flush=True)
        # Abandoned, for a loop that broke must end the process, not wait for one more line.
        while await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):  # type: ignore[call-arg]
            print(json.dumps({"lag_ms": meter.worst_ms}), flush=True)
            meter.worst_ms = 0.0
        nursery.cancel_scope.cancel()
