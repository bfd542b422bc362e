"""A node with played containers as a process of its own, to be killed.

python -m tests.integration.played_node FLAGS HOW
FLAGS is a JSON file of settings; HOW is `hang`, to stand still in the middle of the first job, or `work`.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from executor.adapter import Runner
from node.config import load
from node.daemon.process import run
from node.daemon.runner import Site
from protocol.events import ContainerExited
from protocol.stages.execution import RunSpec
from tests.support.scenes.daemon_jobs import Played


class Hanging(Played):
    """Says that it runs, and never ends."""

    async def run_job(self, spec: RunSpec, on_tokens: Callable[[tuple[int, ...]], Awaitable[None]]) -> ContainerExited:
        await on_tokens((1, 2, 3))
        say("running")
        await trio.sleep_forever()
        raise AssertionError


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


async def main(flags: dict[str, object], how: str) -> None:
    async def find(site: Site) -> tuple[Runner | None, str]:
        return (Hanging(site) if how == "hang" else Played(site)), ""

    async with trio.open_nursery() as nursery:
        await nursery.start(run, load({}, flags), find)
        say("ready")


if __name__ == "__main__":
    trio.run(main, json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
