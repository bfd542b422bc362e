"""Which job or check joins which warm engine, and when an engine works, waits or ends.

An engine works in a turn, as long as it holds a slot. A turn ends when the engine is empty. The engine then stays
loaded and waits for its next turn. Runs join in the order of their arrival, except that a check lets the clients of a
few seconds go first. A run that waits for a slot keeps later ones from joining, so every turn comes to an end.
"""

from __future__ import annotations

import bisect
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import trio

from executor.containers.transcript import Answered, Declined, Ready, RunnerEvent, Tokens, Unsettled
from executor.runs.context import EngineKey
from executor.runs.engine_task import EngineTask, key_of
from executor.runs.engines import TORCH
from executor.runs.warm_engine import NUMBERS, EngineUnfit
from protocol.errors import ExecutorError
from protocol.stages.execution import RunSpec, side_by_side_ms
from protocol.stages.request import GENERATE

log = logging.getLogger(__name__)

TIME_SHARE = 2
"""Jobs side by side should need no more than this part, a half, of the time of any of them."""
FIRST_MS_PER_TOKEN = 60
"""A first guess, replaced by what is measured on this machine."""
LEARN_FROM_TOKENS = 16
"""Shorter answers tell the time of the prompt rather than the time of a token."""
CHECK_WAITS_S = 5.0
"""A check is queued as if it had come so much later: a client who waits goes before it."""
CHECKS_AT_ONCE = 16
TURN_S = 10.0
"""After so long an engine takes no more runs in, if another node of the machine waits for a slot."""
LEAVE_WITHIN_S = 20.0
"""An engine that has not let a run go by then is ended."""
MAX_AGE_S = 3600.0
"""An older engine ends with its turn."""

Settled = TypeVar("Settled")
OnTokens = Callable[[tuple[int, ...]], Awaitable[None]]


class ModelEngine(Protocol):
    """A warm engine, called in threads; see executor/runs/warm_engine.py."""

    id: bytes

    def run(self, on_event: Callable[[RunnerEvent], None]) -> object: ...
    def stop(self) -> None: ...
    def join(self, number: int, task: EngineTask[Any]) -> None: ...
    def leave(self, number: int) -> None: ...
    def take(self, number: int, task: EngineTask[Any]) -> None: ...


def fit_in_time(specs: Sequence[RunSpec], ms_per_token: int) -> bool:
    """Whether these jobs can be answered side by side within their limits; ms_per_token of an answer by itself."""
    longest = max(spec.max_new_tokens for spec in specs)
    needed_ms = longest * side_by_side_ms(ms_per_token, len(specs))
    return TIME_SHARE * needed_ms <= min(spec.timeout_ms for spec in specs)


@dataclass(eq=False, slots=True)
class QueuedRun(Generic[Settled]):
    """A run from its arrival to its end. `settled` stays None if its engine did not settle it."""

    task: EngineTask[Settled]
    on_tokens: OnTokens
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
    turns: int = 0
    is_ending: bool = False

    def number(self) -> int | None:
        """A number that is free."""
        return next((number for number in range(NUMBERS) if number not in self.runs), None)

    def of_kind(self, *, is_check: bool) -> list[RunSpec]:
        """The jobs, or the checks, that it has."""
        return [run.task.spec for run in self.runs.values() if run.task.is_check == is_check]


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
        """Whether another node of the machine waits for a slot."""

    def may_wait(self, engine: ModelEngine) -> bool:
        """Whether there is room on this machine for an engine that stays loaded without a slot."""


@dataclass(eq=False, repr=False)
class EngineScheduler:
    """Gives runs to engines. Unless `serve` runs, each run has to have a container of its own.

    at_once: answers side by side in one engine. keep_s: how long one stays loaded without work.
    """

    host: EngineHost
    at_once: int
    keep_s: float
    ms_per_token: int = FIRST_MS_PER_TOKEN
    """Of an answer by itself."""
    starts: int = 0
    _waiting: list[QueuedRun[Any]] = field(default_factory=list)
    _engines: dict[EngineKey, LiveEngine] = field(default_factory=dict)
    _turns: set[EngineKey] = field(default_factory=set)
    """Engines for which a slot is waited for."""
    _unfit: set[EngineKey] = field(default_factory=set)
    """Engines that cannot run their model: torch does."""
    _nursery: trio.Nursery | None = None

    async def serve(self) -> None:
        """Run the engines, until cancelled: they belong to no single job."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def run(self, task: EngineTask[Settled], on_tokens: OnTokens) -> Settled | None:
        """Run it in an engine. Returns: None if it was not settled there. Raises: ExecutorError."""
        if self._nursery is None:
            return None
        queued = QueuedRun(task, on_tokens, trio.current_time() + (CHECK_WAITS_S if task.is_check else 0))
        bisect.insort(self._waiting, queued, key=lambda each: each.due_s)
        try:
            self._dispatch()
            await queued.joined.wait()
            with trio.move_on_after(task.spec.timeout_ms / 1000):
                await queued.over.wait()
        finally:
            queued.is_cancelled = not queued.over.is_set()
            self._let_go(queued)
        return task.time_out(self._took_ms(queued)) if queued.is_cancelled else queued.settled

    def count(self) -> tuple[int, int]:
        """Engines that are loaded, and runs that wait for one."""
        return len(self._engines), len(self._waiting)

    # --- who joins --------------------------------------------------------------------------------------------------
    def _dispatch(self) -> None:
        """Let those join that may, and ask for turns for the others."""
        is_closed = False
        for queued in tuple(self._waiting):
            key = self._key(queued.task)
            live = self._engines.get(key)
            if live is None or live.turn_s is None:
                self._ask_for_turn(key, is_check=queued.task.is_check)
                is_closed = True
            elif not is_closed and self._may_join(live, queued):
                self._join(live, queued)

    def _key(self, task: EngineTask[Any]) -> EngineKey:
        """The engine that a run joins."""
        key = key_of(task)
        return key._replace(engine=TORCH) if key in self._unfit else key

    def _may_join(self, live: LiveEngine, queued: QueuedRun[Any]) -> bool:
        assert live.turn_s is not None
        if live.is_ending or live.number() is None:
            return False
        if live.runs and trio.current_time() - live.turn_s > TURN_S and self.host.is_wanted():
            return False
        same = live.of_kind(is_check=queued.task.is_check)
        if queued.task.is_check:
            return len(same) < CHECKS_AT_ONCE
        return not same or (len(same) < self.at_once and fit_in_time([*same, queued.task.spec], self.ms_per_token))

    def _join(self, live: LiveEngine, queued: QueuedRun[Any]) -> None:
        number = live.number()
        assert number is not None
        self._waiting.remove(queued)
        live.runs[number] = queued
        queued.joined_s = trio.current_time()
        queued.joined.set()

        def join() -> None:
            queued.task.begin()
            live.engine.join(number, queued.task)

        live.calls.send_nowait(join)

    def _let_go(self, queued: QueuedRun[Any]) -> None:
        """Forget a run. An engine that still has it is told to leave it, and has its number until it has."""
        if queued in self._waiting:
            self._waiting.remove(queued)
        for live in self._engines.values():
            for number, run in live.runs.items():
                if run is queued and self._nursery is not None:
                    self._nursery.start_soon(self._leave, live, number, queued)

    async def _leave(self, live: LiveEngine, number: int, queued: QueuedRun[Any]) -> None:
        live.calls.send_nowait(lambda: live.engine.leave(number))
        with trio.move_on_after(LEAVE_WITHIN_S):
            await queued.over.wait()
            return
        log.warning("an engine does not let a job go and is ended")
        await self._end(live)

    # --- turns ------------------------------------------------------------------------------------------------------
    def _ask_for_turn(self, key: EngineKey, *, is_check: bool) -> None:
        if key not in self._turns:
            assert self._nursery is not None
            self._turns.add(key)
            self._nursery.start_soon(self._turn, key, is_check)

    async def _turn(self, key: EngineKey, is_check: bool) -> None:
        """Hold a slot while this engine has work; start it if it is not there."""
        live = None
        try:
            async with self.host.slot(is_check=is_check):
                live = await self._ready(key)
                if live is not None:
                    await self._work(live)
        except ExecutorError as error:
            log.warning("there is no engine for now: %s", error)
        finally:
            self._turns.discard(key)
        if live is None:
            self._give_up(key)
        elif not live.over.is_set():
            await self._rest(live)
        self._dispatch_if_served()

    async def _work(self, live: LiveEngine) -> None:
        live.turn_s = trio.current_time()
        live.turns += 1
        try:
            while not live.over.is_set():
                live.empty = trio.Event()
                self._dispatch()
                if not live.runs:
                    return
                await live.empty.wait()
        finally:
            live.turn_s = None

    async def _ready(self, key: EngineKey) -> LiveEngine | None:
        """The engine, loaded; None if it cannot be had."""
        assert self._nursery is not None
        live = self._engines.get(key)
        if live is None:
            engine = await self.host.call(lambda: self.host.start(key))
            calls, to_make = trio.open_memory_channel[Callable[[], None]](2 * NUMBERS)
            live = self._engines[key] = LiveEngine(engine, key, trio.current_time(), calls)
            self.starts += 1
            self._nursery.start_soon(self._live, live, to_make)
        await live.ready.wait()
        return None if live.over.is_set() else live

    async def _live(self, live: LiveEngine, to_make: trio.MemoryReceiveChannel[Callable[[], None]]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell, live, to_make)
                try:
                    await self.host.live(live.engine, partial(self._hear, live))
                except EngineUnfit as error:
                    log.info("torch runs a model that %s cannot: %s", live.key.engine, error)
                    self._unfit.add(live.key)
                except ExecutorError as error:
                    log.warning("an engine has ended: %s", error)
                nursery.cancel_scope.cancel()
        finally:
            if self._engines.get(live.key) is live:
                del self._engines[live.key]
            live.over.set()
            live.ready.set()
            for number in tuple(live.runs):
                self._free(live, number)
            live.empty.set()
            self._dispatch_if_served()

    async def _tell(self, live: LiveEngine, to_make: trio.MemoryReceiveChannel[Callable[[], None]]) -> None:
        """Make the calls to an engine, in their order; one that does not listen is ended."""
        async for call in to_make:
            try:
                await self.host.call(call)
            except ExecutorError as error:
                log.warning("an engine does not listen and is ended: %s", error)
                await self._end(live)

    async def _rest(self, live: LiveEngine) -> None:
        """It has nothing to do: it stays loaded for a while, or ends."""
        is_old = trio.current_time() - live.started_s > MAX_AGE_S
        if self.keep_s and not is_old and not live.is_ending and self.host.may_wait(live.engine):
            assert self._nursery is not None
            self._nursery.start_soon(self._expire, live, live.turns)
        else:
            await self._end(live)

    async def _expire(self, live: LiveEngine, turns: int) -> None:
        with trio.move_on_after(self.keep_s):
            await live.over.wait()
        if live.turns == turns and live.key not in self._turns:
            await self._end(live)

    async def _end(self, live: LiveEngine) -> None:
        live.is_ending = True
        if self._engines.get(live.key) is live:
            del self._engines[live.key]
        await self.host.call(live.engine.stop)

    def _give_up(self, key: EngineKey) -> None:
        """Runs that no engine can be had for are run by themselves."""
        for queued in [each for each in self._waiting if self._key(each.task) == key]:
            self._waiting.remove(queued)
            queued.over.set()
            queued.joined.set()

    def _dispatch_if_served(self) -> None:
        if self._nursery is not None:
            self._dispatch()

    # --- what an engine says ----------------------------------------------------------------------------------------
    async def _hear(self, live: LiveEngine, event: RunnerEvent) -> None:
        if isinstance(event, Ready):
            live.ready.set()
        number = getattr(event, "job", None)
        queued = live.runs.get(number) if number is not None else None
        if number is None or queued is None:
            return
        match event:
            case Tokens(ids) if not queued.is_cancelled and (new := queued.task.new_tokens(ids)):
                await queued.on_tokens(new)
            case Answered(run_ms=run_ms, most=most):
                settled = None if queued.is_cancelled else await self._taken(live, number, queued)
                self._settle(live, number, settled, run_ms if most == 1 else 0)
            case Declined(error=error):
                self._settle(live, number, queued.task.decline(error), 0)
            case Unsettled():
                self._settle(live, number, None, 0)

    async def _taken(self, live: LiveEngine, number: int, queued: QueuedRun[Settled]) -> Settled | None:
        """What its outputs make of a run; None if they cannot be used."""
        took_ms = self._took_ms(queued)

        def take() -> Settled:
            live.engine.take(number, queued.task)
            return queued.task.settle(took_ms)

        try:
            return await self.host.call(take)
        except ExecutorError as error:
            log.warning("what an engine has left of a job cannot be used: %s", error)
            return None

    def _settle(self, live: LiveEngine, number: int, settled: Any, alone_ms: int) -> None:
        queued = live.runs[number]
        queued.settled = settled
        if settled is not None and not queued.task.is_check:
            self.learn(queued.task.spec, settled[0].new_tokens, alone_ms)
        self._free(live, number)

    def learn(self, spec: RunSpec, tokens: int, alone_ms: int) -> None:
        """A job was answered by itself in so many ms; 0: it was not by itself."""
        if spec.kind == GENERATE and tokens >= LEARN_FROM_TOKENS and alone_ms:
            self.ms_per_token = (3 * self.ms_per_token + max(1, alone_ms // tokens)) // 4

    def _free(self, live: LiveEngine, number: int) -> None:
        live.runs.pop(number).over.set()
        if not live.runs:
            live.empty.set()
        elif live.turn_s is not None:
            self._dispatch_if_served()

    def _took_ms(self, queued: QueuedRun[Any]) -> int:
        return round((trio.current_time() - queued.joined_s) * 1000) if queued.joined_s else 0
