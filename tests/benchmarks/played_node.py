"""A node with played containers as a process of its own: python -m tests.benchmarks.played_node FLAGS WORK_S.

FLAGS is a JSON file of settings; WORK_S is how long a played container works on a job.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from node.config import load
from node.daemon.process import run
from node.daemon.runner import Runner, Site
from protocol.events import ContainerExited
from protocol.stages.execution import RunSpec
from tests.integration.test_daemon_jobs import Played


class Working(Played):
    """Takes its time."""

    def __init__(self, site: Site, work_s: float) -> None:
        super().__init__(site)
        self._work_s = work_s

    async def run_job(self, spec: RunSpec, on_tokens: Callable[[tuple[int, ...]], Awaitable[None]]) -> ContainerExited:
        """See Runner."""
        await trio.sleep(self._work_s)
        return await super().run_job(spec, on_tokens)


async def main(flags: dict[str, object], work_s: float) -> None:
    """Until it is killed."""

    async def find(site: Site) -> tuple[Runner | None, str]:
        return (None, "") if site.config.node.roles == ("requester",) else (Working(site, work_s), "")

    await run(load({}, flags), find)


if __name__ == "__main__":
    trio.run(main, json.loads(Path(sys.argv[1]).read_text()), float(sys.argv[2]))
