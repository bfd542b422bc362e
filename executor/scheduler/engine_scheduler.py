"""Which job or check joins which warm engine, and when an engine works, waits or ends.

An engine works in a turn, as long as it holds a slot. A turn ends when the engine is empty. The engine then stays
loaded and waits for its next turn: see executor/scheduler/idle_engines.py. Runs join in the order of their arrival,
except that a check lets the clients of a few seconds go first. A run that waits for a slot keeps later ones from
joining, so every turn comes to an end.
"""

import bisect
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from executor.containers.transcript import Answered, Declined, Ready, RunnerEvent, Tokens, Unsettled
from executor.runs.context import EngineKey
from executor.runs.engine_task import EngineTask, key_of
from executor.runs.engines import TORCH
from executor.runs.warm_engine import NUMBERS, EngineUnfit
from executor.scheduler.engine_use import EngineUse
from executor.scheduler.held_slots import HeldSlots
from executor.scheduler.idle_engines import IdleEngines
from executor.scheduler.live_engine import (
    LONGEST_RUN_MS,
    EngineHost,
    LiveEngine,
    OnTokens,
    QueuedRun,
    Settled,
)
from executor.scheduler.serving import EngineEnd
from executor.workspace.outputs import HostileOutput
from protocol.errors import ExecutorError
from protocol.stages.execution import RunSpec, side_by_side_ms
from protocol.stages.heartbeat import FIRST_MS_PER_TOKEN
from protocol.stages.request import GENERATE

log = logging.getLogger(__name__)

TIME_SHARE = 2
"""Jobs side by side should need no more than this part, a half, of the time of any of them."""
LEARN_FROM_TOKENS = 16
"""Shorter answers tell the time of the prompt rather than the time of a token."""
CHECK_WAITS_S = 5.0
"""A check is queued as if it had come so much later: a client who waits goes before it."""
CHECKS_AT_ONCE = 16
LEAVE_WITHIN_S = 20.0
"""An engine that has not let a run go by then is ended."""


def fit_in_time(specs: Sequence[RunSpec], ms_per_token: int) -> bool:
    """Whether these jobs can be answered side by side within their limits; ms_per_token of an answer by itself."""
    longest = max(spec.max_new_tokens for spec in specs)
    needed_ms = longest * side_by_side_ms(ms_per_token, len(specs))
    return TIME_SHARE * needed_ms <= min(spec.timeout_ms for spec in specs)


@dataclass(eq=False, repr=False)
class EngineScheduler:
    """Gives runs to engines. Unless `serve` runs, each run has to have a container of its own.

    at_once: answers side by side in one engine. keep_s: how long one stays loaded without work.
    """

    host: EngineHost
    at_once: int
    keep_s: float
    use: EngineUse = field(default_factory=EngineUse)
    starts_ahead: bool = True
    starts: int = 0
    _speeds: dict[int, int] = field(default_factory=dict)
    """Milliseconds a token of an answer by itself, by class."""
    ends: Counter[EngineEnd] = field(default_factory=Counter)
    _waiting: list[QueuedRun[Any]] = field(default_factory=list)
    _engines: dict[EngineKey, LiveEngine] = field(default_factory=dict)
    _turns: set[EngineKey] = field(default_factory=set)
    """Engines for which a slot is held or waited for."""
    _sharing: set[EngineKey] = field(default_factory=set)
    """Those of them that work in the slot of another engine of their model."""
    _unfit: set[EngineKey] = field(default_factory=set)
    """Engines that cannot run their model: torch does."""
    _loads: trio.Lock = field(default_factory=trio.Lock)
    _nursery: trio.Nursery | None = None

    def __post_init__(self) -> None:
        self._slots = HeldSlots(self.host)
        self._idle = IdleEngines(self.host, self.keep_s, self._engines, self._turns, self.use)

    async def serve(self) -> None:
        """Run the engines, until cancelled: they belong to no single job."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._idle.expect_again()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def run(
        self, task: EngineTask[Settled], on_tokens: OnTokens, on_join: Callable[[], None] = lambda: None
    ) -> Settled | None:
        """Run it in an engine. Returns: None if it was not settled there. Raises: ExecutorError."""
        self.use.note(self._key(task))
        if self._nursery is None or task.spec.timeout_ms > LONGEST_RUN_MS:
            return None
        queued = QueuedRun(task, on_tokens, on_join, trio.current_time() + (CHECK_WAITS_S if task.is_check else 0))
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
                # Beside another engine of its model it needs no slot of its own, and keeps no other run waiting.
                shares = key in self._sharing or (not is_closed and self._slots.is_open(key))
                if shares or not is_closed or not self._slots.is_open(key):
                    self._ask_for_turn(key, is_check=queued.task.is_check, shares=shares)
                is_closed = is_closed or not shares
            elif not is_closed and self._may_join(live, queued):
                self._join(live, queued)

    def _key(self, task: EngineTask[Any]) -> EngineKey:
        """The engine that a run joins."""
        key = key_of(task)
        return key._replace(engine=TORCH) if key in self._unfit else key

    def _may_join(self, live: LiveEngine, queued: QueuedRun[Any]) -> bool:
        assert live.turn_s is not None
        if live.is_ending or live.why_spent or live.number() is None:
            return False
        if not self._slots.is_open(live.key):
            return False
        same = live.of_kind(is_check=queued.task.is_check)
        if queued.task.is_check:
            return len(same) < CHECKS_AT_ONCE
        return not same or (
            len(same) < self.at_once and fit_in_time([*same, queued.task.spec], self.ms_per_token(live.key[1]))
        )

    def _join(self, live: LiveEngine, queued: QueuedRun[Any]) -> None:
        number = live.number()
        assert number is not None
        self._waiting.remove(queued)
        live.runs[number] = queued
        live.joins += 1
        queued.joined_s = trio.current_time()
        queued.joined.set()
        queued.on_join()

        def join() -> None:
            queued.task.begin()
            live.engine.join(number, queued.task)

        live.calls.send_nowait(join)
        if queued.task.is_shortened:
            live.calls.send_nowait(lambda: live.engine.shorten(number))

    def shorten(self, task: EngineTask[Any]) -> None:
        """Let the answer of a run end at its next token, if it is in an engine; one that waits is told as it joins."""
        for live in self._engines.values():
            for number, queued in live.runs.items():
                if queued.task is task and not queued.is_cancelled:
                    live.calls.send_nowait(partial(live.engine.shorten, number))

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
        await self._idle.end(live, EngineEnd.STUCK)

    # --- turns ------------------------------------------------------------------------------------------------------
    def _ask_for_turn(self, key: EngineKey, *, is_check: bool, shares: bool) -> None:
        if key not in self._turns:
            assert self._nursery is not None
            self._turns.add(key)
            if shares:
                self._sharing.add(key)
            self._nursery.start_soon(self._idle.give_way, key)
            self._nursery.start_soon(self._turn, key, is_check)

    async def _turn(self, key: EngineKey, is_check: bool) -> None:
        """Hold a slot while this engine has work; start it if it is not there."""
        assert self._nursery is not None
        live = None
        try:
            async with self._slots.hold(key, self._nursery.start_soon, is_check=is_check):
                live = await self._ready(key)
                if live is not None:
                    await self._work(live)
        except ExecutorError as error:
            log.warning("there is no engine for now: %s", error)
        finally:
            self._turns.discard(key)
            self._sharing.discard(key)
        if live is None:
            self._give_up(key)
        elif self._nursery is not None:
            self._nursery.start_soon(self._idle.rest, live)
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
        live = self._engines.get(key)
        if live is not None and live.why_spent:
            await self._idle.end(live, live.why_spent)
        if key not in self._engines:
            await self._idle.make_room(lambda: self.host.fits(key))
        live = await self._load(key)
        await live.ready.wait()
        return None if live.over.is_set() else live

    async def _load(self, key: EngineKey) -> LiveEngine:
        """The engine, which may not be loaded yet. Raises: ExecutorError if it cannot be made."""
        assert self._nursery is not None
        async with self._loads:
            live = self._engines.get(key)
            if live is None:
                engine = await self.host.call(lambda: self.host.start(key))
                # At most a join, an end, a leave and a forget of each number are under way, and the next join and end.
                calls, to_make = trio.open_memory_channel[Callable[[], None]](6 * NUMBERS)
                live = self._engines[key] = LiveEngine(engine, key, trio.current_time(), calls)
                self.starts += 1
                self._nursery.start_soon(self._live, live, to_make)
        return live

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
            # One that ends with the node is not counted.
            self.ends[live.why] += 1
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
                await self._idle.end(live, EngineEnd.STUCK)

    # --- memory -----------------------------------------------------------------------------------------------------
    def look(self) -> None:
        """End engines without work while the machine is short of memory, or start one that will be asked for."""
        if self._nursery is not None:
            self._nursery.start_soon(self._look)

    async def make_room(self, task: EngineTask[Any]) -> None:
        """A run is about to have a container of its own."""
        key = self._key(task)
        await self._idle.give_way(key)
        await self._idle.make_room(lambda: self.host.fits(key))

    async def let_go(self, manifest: bytes) -> None:
        """End the engines of a model that have no work."""
        await self._idle.let_go(manifest)

    async def _look(self) -> None:
        await self._idle.make_room(lambda: not self.host.is_short())
        key = self._idle.ahead() if self.starts_ahead and not self._waiting else None
        if key is None:
            return
        try:
            live = await self._load(key)
        except ExecutorError as error:
            log.warning("an engine cannot be started ahead: %s", error)
            return
        # No other one has to go for it.
        if self.host.may_wait(live.engine):
            await live.ready.wait()
            await self._idle.rest(live)
        elif key not in self._turns:
            await self._idle.end(live, EngineEnd.NO_ROOM)

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
            live.is_faulty |= isinstance(error, HostileOutput)
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
            before = self.ms_per_token(spec.class_id)
            self._speeds[spec.class_id] = (3 * before + max(1, alone_ms // tokens)) // 4

    def ms_per_token(self, class_id: int) -> int:
        """Of an answer by itself: measured here, or a first guess."""
        return self._speeds.get(class_id, FIRST_MS_PER_TOKEN)

    def _free(self, live: LiveEngine, number: int) -> None:
        queued = live.runs.pop(number)
        queued.over.set()
        if not live.over.is_set():
            # Before the next one of this number joins: calls are made in their order.
            live.calls.send_nowait(lambda: live.engine.forget(number, queued.task))
        if not live.runs:
            live.empty.set()
        elif live.turn_s is not None:
            self._dispatch_if_served()

    def _took_ms(self, queued: QueuedRun[Any]) -> int:
        return round((trio.current_time() - queued.joined_s) * 1000) if queued.joined_s else 0
