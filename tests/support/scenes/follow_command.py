"""A command that follows a job."""

from __future__ import annotations

from collections.abc import Callable

import trio

from tests.fakes.backend import FakeBackend
from tests.unit.node.cli.conftest import Ran, Shell


async def answered(vcoin: Shell, script: Callable[[FakeBackend, str], None], *command: str) -> Ran:
    """Run a command that follows a job, and let the job go on as soon as somebody follows it."""
    results: list[Ran] = []

    async def run() -> None:
        results.append(await vcoin(*command))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        with trio.fail_after(10):
            while not vcoin.backend.feed.followed:
                await trio.lowlevel.checkpoint()
        (job_id,) = vcoin.backend.feed.followed
        script(vcoin.backend, job_id)
    return results[0]
