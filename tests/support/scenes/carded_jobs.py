"""The runner of a node on stubbed cards: real jobs of the small model, one of which loses its card to the heat."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from executor import devices
from executor.cards.card_book import CardBook
from executor.cards.card_desk import CardDesk
from executor.containers.engine import Engine
from executor.docker_runner import Capacity, DockerRunner
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import INPUT_JSON, Workspaces
from protocol.events import ContainerExited
from protocol.stages.execution import RunSpec
from tests.support.nvml_stub import NvmlStub
from tests.support.runner_context import open_context, small_model
from tests.support.scenes.carded_containers import BY_NAME

CLASS = max(devices.class_ids_for("bf16"))
NEW_TOKENS = 48
HOT_C = 90


@dataclass(frozen=True)
class HotStory:
    """What became of a job: seconds from the heat to its pause, and to its container on another card."""

    first_card: str
    second_card: str
    paused_s: float
    moved_s: float
    streamed: tuple[int, ...]
    exited: ContainerExited


@dataclass
class CardedRunner:
    """A runner whose jobs of one class compute on cards. `runner` is there while it is open."""

    home: Path
    runner: DockerRunner = field(init=False)
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.workspaces = Workspaces(self.home / "work")
        self.stub = NvmlStub(self.home / "nvml", count=2)
        self.stub.show()

    def spec(self, name: str) -> RunSpec:
        job_id = hashlib.sha256(name.encode()).digest()
        plain = {"v": 1, "salt": "5a" * 16, "messages": [{"role": "user", "content": "Count from one to thirty."}]}
        asked = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
        self.workspaces.of_job(job_id).put(INPUT_JSON, asked)
        return RunSpec(job_id, small_model().cid, CLASS, NEW_TOKENS, 0, bytes(32), 3 << 30, 100_000)

    async def run(self, spec: RunSpec) -> ContainerExited:
        async def ignore(ids: tuple[int, ...]) -> None:
            """The result says enough."""

        return await self.runner.run_job(spec, ignore)

    async def hot_story(self, hot: int) -> HotStory:
        """Run a job, and heat its card as soon as it has written something."""
        spec, streamed, exited = self.spec("hot"), list[int](), list[ContainerExited]()
        begun, over, where = trio.Event(), trio.Event(), [""]
        times = {"paused": float("inf"), "moved": float("inf")}

        async def on_tokens(ids: tuple[int, ...]) -> None:
            streamed.extend(ids)
            if not begun.is_set():
                self.stub[hot].temperature = HOT_C
                begun.set()

        async def run() -> None:
            exited.append(await self.runner.run_job(spec, on_tokens))
            over.set()

        async def watch() -> None:
            await begun.wait()
            heated_s = trio.current_time()
            while not over.is_set():
                for found in await trio.to_thread.run_sync(self.engine.on_cards):
                    where[0] = where[0] or found.uuids[0]
                    name = "moved" if found.uuids[0] != where[0] else "paused" if found.is_paused else ""
                    if name and times[name] == float("inf"):
                        times[name] = trio.current_time() - heated_s
                        where.append(found.uuids[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            nursery.start_soon(watch)
        second = where[-1] if where[-1] != where[0] else ""
        return HotStory(where[0], second, times["paused"], times["moved"], tuple(streamed), exited[0])


@asynccontextmanager
async def open_carded_runner(carded: CardedRunner) -> AsyncIterator[None]:
    """With its keeper at work, which has seen the cards."""
    home = carded.home
    with open_context() as context:
        context.engine.use(BY_NAME, has_cards=True)
        desk = CardDesk(book=CardBook(home / "book"))
        context = dataclasses.replace(context, desk=desk, card_classes=frozenset({CLASS}), cpu_millis=2_000)
        carded.engine = context.engine
        carded.runner = DockerRunner(context, carded.workspaces, Capacity(1, HostSlots(home / "slots", 1)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carded.runner.serve)
            await carded.runner.report()
            yield
            nursery.cancel_scope.cancel()
