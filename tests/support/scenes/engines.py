"""A scheduler of engines, and engines that need no containers."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
import trio.testing

from executor.containers.ending import RunnerError
from executor.containers.transcript import Answered, Ready, RunnerEvent, Tokens, Unsettled
from executor.runs.context import EngineKey
from executor.runs.engines import TORCH
from executor.runs.warm_engine import EngineUnfit
from executor.scheduler.engine_scheduler import EngineScheduler
from executor.scheduler.engine_use import EngineUse
from protocol.errors import ExecutorError
from protocol.stages.execution import Outcome, RunResult, RunSpec, failed
from protocol.stages.request import GENERATE

A, B = b"a" * 32, b"b" * 32
LOAD_S = 3.0


def spec(name: str, *, manifest: bytes = A, class_id: int = 2, length: int = 16, timeout_ms: int = 60_000) -> RunSpec:
    job = hashlib.sha256(name.encode()).digest()
    return RunSpec(job, manifest, class_id, length, 0, bytes(32), 1 << 30, timeout_ms, GENERATE)


@dataclass(eq=False)
class Task:
    """A job that takes a second a token, or a check that takes two seconds."""

    spec: RunSpec
    is_check: bool = False
    kind: str = "generate"
    engine: str = TORCH
    inputs: dict[str, bytes] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    home: Path = Path()
    params: dict[str, object] = field(default_factory=dict)
    is_shortened: bool = False
    begun: int = 0
    fault: ExecutorError | None = None

    def begin(self) -> None:
        self.begun += 1

    def new_tokens(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        return ids

    def settle(self, duration_ms: int) -> tuple[RunResult, bytes]:
        if self.fault:
            raise self.fault
        return RunResult(Outcome.OK, "", self.spec.job_id, bytes(32), 1, "length", duration_ms), b""

    def decline(self, error: RunnerError) -> tuple[RunResult, bytes]:
        return failed(Outcome.CLIENT, error.code), b""

    def time_out(self, duration_ms: int) -> tuple[RunResult, bytes]:
        return failed(Outcome.JOB, "timeout"), b""


@dataclass(eq=False)
class Bench:
    """An engine without a container. It says what its machine's `says` wants of a job."""

    id: bytes
    key: EngineKey
    machine: Machine
    nursery: trio.Nursery | None = None
    hear: Callable[[RunnerEvent], Awaitable[None]] | None = None
    jobs: dict[int, trio.CancelScope] = field(default_factory=dict)
    ends: dict[int, trio.Event] = field(default_factory=dict)

    def run(self, on_event: Callable[[RunnerEvent], None]) -> object:
        raise AssertionError("the machine runs it")

    def stop(self) -> None:
        self.machine.said.append(f"stop {self.key[0][:1].decode()}")
        assert self.nursery is not None
        self.nursery.cancel_scope.cancel()

    def join(self, number: int, task: Any) -> None:
        assert self.nursery is not None
        if self.machine.is_deaf:
            raise ExecutorError("it does not listen")
        self.machine.said.append(f"join {number}")
        self.jobs[number], self.ends[number] = trio.CancelScope(), trio.Event()
        self.nursery.start_soon(self._answer, number, task)

    def shorten(self, number: int) -> None:
        self.machine.said.append(f"end {number}")
        self.ends[number].set()

    def leave(self, number: int) -> None:
        self.machine.said.append(f"leave {number}")
        if not self.machine.is_stubborn:
            self.jobs[number].cancel()

    def take(self, number: int, task: Any) -> None:
        self.machine.said.append(f"take {number}")

    def forget(self, number: int, task: Any) -> None:
        self.machine.said.append(f"forget {number}")

    async def _answer(self, number: int, task: Task) -> None:
        assert self.hear is not None
        with self.jobs[number]:
            await self.hear(Tokens((7,), number))
            with trio.move_on_after(2 if task.is_check else task.spec.max_new_tokens):
                await self.ends[number].wait()
            await self.hear(self.machine.says(number, task))
            return
        await self.hear(Unsettled(number))


@dataclass(eq=False)
class Machine:
    """A machine of one slot, which other nodes of it want while `wanted`."""

    wanted: bool = False
    is_deaf: bool = False
    is_stubborn: bool = False
    room: int = 64
    is_broken: bool = False
    is_unready: bool = False
    unfit: str = ""
    free_bytes: int = 100
    engine_bytes: int = 10
    said: list[str] = field(default_factory=list)
    slots: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
    says: Callable[[int, Task], RunnerEvent] = lambda number, task: Answered(number, 1000, 1)
    benches: list[Bench] = field(default_factory=list)
    permits: set[bytes] = field(default_factory=set)

    def start(self, key: EngineKey) -> Bench:
        if self.is_broken:
            raise ExecutorError("there is no such model")
        self.said.append(f"start {key[0][:1].decode()}")
        self.benches.append(Bench(bytes([len(self.benches)]), key, self))
        return self.benches[-1]

    async def live(self, engine: Bench, hear: Callable[[RunnerEvent], Awaitable[None]]) -> None:
        if self.is_unready:
            await trio.sleep(LOAD_S)
            raise ExecutorError("its container could not be started")
        if engine.key.engine == self.unfit:
            raise EngineUnfit("it does not know the model")
        self.free_bytes -= self.engine_bytes
        try:
            async with trio.open_nursery() as nursery:
                engine.nursery, engine.hear = nursery, hear
                await trio.sleep(LOAD_S)
                await hear(Ready())
                await trio.sleep_forever()
        finally:
            self.free_bytes += self.engine_bytes
            self.permits.discard(engine.id)

    async def call(self, function: Callable[[], Any]) -> Any:
        await trio.lowlevel.checkpoint()
        return function()

    @asynccontextmanager
    async def slot(self, *, is_check: bool) -> AsyncIterator[None]:
        async with self.slots:
            yield

    def is_wanted(self) -> bool:
        return self.wanted

    def may_wait(self, engine: Bench) -> bool:
        if len(self.permits) < self.room:
            self.permits.add(engine.id)
        return engine.id in self.permits

    def is_free(self) -> bool:
        return self.slots.available_tokens > 0 and not self.wanted and len(self.permits) < self.room

    def fits(self, key: EngineKey) -> bool:
        return self.free_bytes >= self.engine_bytes

    def is_short(self) -> bool:
        return self.free_bytes < 0


class Market:
    """A scheduler and those who ask it; `ends` has when each ended, in seconds after the start, and how."""

    def __init__(self, machine: Machine, at_once: int = 4, keep_s: float = 600) -> None:
        self.machine = machine
        self.use = EngineUse(trio.current_time)
        self.scheduler = EngineScheduler(machine, at_once, keep_s, self.use)
        self.ends: dict[RunSpec, tuple[float, Any]] = {}
        self.began = trio.current_time()

    async def ask(self, task: Task) -> None:
        async def on_tokens(ids: tuple[int, ...]) -> None:
            self.machine.said.append(f"token {task.spec.max_new_tokens}")

        found = await self.scheduler.run(task, on_tokens)
        self.ends[task.spec] = (trio.current_time() - self.began, found and found[0].outcome)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[trio.Nursery]:
        async with trio.open_nursery() as house:
            house.start_soon(self.scheduler.serve)
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as jobs:
                yield jobs
            house.cancel_scope.cancel()

    def joined(self) -> list[str]:
        return [word for word in self.machine.said if not word.startswith(("token", "take", "forget"))]
