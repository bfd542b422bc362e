"""A warm engine and the runs that it has, as the scheduler sees them; and what the scheduler asks of its machine."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import trio

from executor.containers.transcript import RunnerEvent
from executor.runs.context import ENGINE_LIFE_MS, EngineKey
from executor.runs.engine_task import EngineTask
from executor.runs.warm_engine import NUMBERS
from executor.scheduler.serving import EngineEnd
from protocol.stages.execution import RunSpec

MAX_AGE_S = 3600.0
"""An older engine takes no more runs: it ends when it is empty, and a new one starts."""
MAX_RUNS = 10_000
"""The same after so many runs."""
LONGEST_RUN_MS = ENGINE_LIFE_MS - round(MAX_AGE_S * 1000)
"""A run with a longer time limit might not end before the container of its engine does: it has one of its own."""

Settled = TypeVar("Settled")
OnTokens = Callable[[tuple[int, ...]], Awaitable[None]]


class ModelEngine(Protocol):
    """A warm engine, called in threads; see executor/runs/warm_engine.py."""

    id: bytes
    key: EngineKey

    def run(self, on_event: Callable[[RunnerEvent], None]) -> object: ...
    def stop(self) -> None: ...
    def join(self, number: int, task: EngineTask[Any]) -> None: ...
    def shorten(self, number: int) -> None: ...
    def leave(self, number: int) -> None: ...
    def take(self, number: int, task: EngineTask[Any]) -> None: ...
    def forget(self, number: int, task: EngineTask[Any]) -> None: ...


@dataclass(eq=False, slots=True)
class QueuedRun(Generic[Settled]):
    """A run from its arrival to its end. `settled` stays None if its engine did not settle it."""

    task: EngineTask[Settled]
    on_tokens: OnTokens
    on_join: Callable[[], None]
    due_s: float
    joined: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    joined_s: float = 0.0
    is_cancelled: bool = False
    settled: Settled | None = None


@dataclass(eq=False, slots=True)
class LiveEngine:
    """An engine from its start to its end, and the runs that it has, by their numbers."""

    engine: ModelEngine
    key: EngineKey
    started_s: float
    calls: trio.MemorySendChannel[Callable[[], None]]
    runs: dict[int, QueuedRun[Any]] = field(default_factory=dict)
    ready: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    empty: trio.Event = field(default_factory=trio.Event)
    turn_s: float | None = None
    """When its turn began; None while it waits."""
    used_s: float = 0.0
    """When its last turn ended."""
    turns: int = 0
    joins: int = 0
    is_faulty: bool = False
    """What it left of a run was nothing that a runner writes."""
    is_ending: bool = False
    why: EngineEnd = EngineEnd.FAILED
    """Why it ends; until it is told to, an end is a failure."""

    def number(self) -> int | None:
        """A number that is free."""
        return next((number for number in range(NUMBERS) if number not in self.runs), None)

    def of_kind(self, *, is_check: bool) -> list[RunSpec]:
        """The jobs, or the checks, that it has."""
        return [run.task.spec for run in self.runs.values() if run.task.is_check == is_check]

    @property
    def why_spent(self) -> EngineEnd | None:
        """Why it takes no more runs, if so: it has failed, is old, or has served many."""
        if self.is_faulty:
            return EngineEnd.FAILED
        is_old = self.joins >= MAX_RUNS or trio.current_time() - self.started_s > MAX_AGE_S
        return EngineEnd.OLD if is_old else None


class EngineHost(Protocol):
    """What the scheduler asks of its machine."""

    def start(self, key: EngineKey) -> ModelEngine:
        """Make an engine; blocks. Raises: ExecutorError."""

    async def live(self, engine: ModelEngine, hear: Callable[[RunnerEvent], Awaitable[None]]) -> None:
        """Run its container to the end; a cancellation ends it. Raises: ExecutorError."""

    async def call(self, function: Callable[[], Settled]) -> Settled:
        """Call in a thread. Raises: ExecutorError."""

    def slot(self, *, is_check: bool) -> AbstractAsyncContextManager[None]:
        """Hold a slot."""

    def is_wanted(self) -> bool:
        """Whether a slot is waited for, here or by another node of the machine."""

    def is_free(self) -> bool:
        """Whether one more engine may work now and stay loaded, and no node waits for its slot."""

    def may_wait(self, engine: ModelEngine) -> bool:
        """Whether there is room on this machine for an engine that stays loaded without a slot."""

    def fits(self, key: EngineKey) -> bool:
        """Whether the machine has memory for one more engine of this model and class."""

    def is_short(self) -> bool:
        """Whether the machine is short of memory."""
