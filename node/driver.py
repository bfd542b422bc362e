"""The loop: an event comes in, goes into the journal, to the machine, and what the machine wants goes to an adapter.

The machine decides, an adapter does, and what it did comes back as the next event. Durable events are on the disk
before the machine sees them, several in one commit where several wait. At the start the journal is folded without
doing anything; then each effect without an answer is asked again, which is why every effect is safe to do twice.

An event at which a role raises, because of a bug of ours, is set aside: its row is emptied on the disk, so that no fold
meets it again; then the journal is folded anew, because the role that raised may have changed by half. Peers could make
a node do nothing else. So folds have a budget, and without it their words of such a kind are not taken.
"""

import heapq
import logging
import math
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self, get_args

import trio

from protocol.effects import AwaitDeadline, ChainEffect, Effect, PeerEffect, about, effect_key
from protocol.errors import AdapterError, ConfigError, Malformed, RemoteProtocolError, TooLarge
from protocol.events import (
    DeadlinePassed,
    EffectFailed,
    Event,
    HeartbeatReceived,
    MessageReceived,
    RequestReceived,
    Tick,
    is_durable,
)
from protocol.network.budgets import Bucket, Rate
from protocol.wire.codec import decode_named, encode_named
from protocol.wire.ids import PeerId, TimestampMs
from protocol.wire.names import by_name

log = logging.getLogger(__name__)

QUEUE = 256
"""Events that may wait for the loop."""
COMMIT = 64
"""Events that go into one commit at most."""
MARKS = 64
"""Answers noted in memory before they are written on their own."""
MAX_PENDING = 4_096
"""Effects under way, above which no new facts are taken in; answers always are."""
BACKLOG = 1_024
"""Events that may wait for a slow observer before it misses some."""
TICK_S = 1.0
LONGEST_SLEEP_S = 10.0
"""How long the timers trust the clock: a suspended machine or a corrected clock must not delay a deadline further."""
TRIES = 6
FIRST_BACKOFF_S = 0.5
YOUNG_S = 60.0
"""How long after its start a node may not have found its peers again: they, too, are tried more than once."""
GRACE_MS = 5_000
"""How long a deadline waits that passed while the node was away: what others said meanwhile comes first."""
MAX_REASON = 500
_EFFECTS = by_name(get_args(Effect))
FOLDS = Rate(amount=1, period_ms=60_000, burst=4)
"""How often the journal is folded anew because a role raised."""
COMPACT_ROWS = 10_000
"""Rows after which a snapshot takes the place of all before it: what a start has to fold at most, and a little."""
MAX_EFFECT_BYTES = 16 * 2**20
START_FOLDS = 8
"""Times that a start begins its fold anew without a row at which a role raised; later ones are passed over."""
TOLD_ANEW_MS = 60_000
"""What has no row and raises all the time is told of once in so long."""

Saved = tuple[int, int, bytes, tuple[bytes, ...]]
"""What stands in the place of old rows: the last of them, the version of the state, state, effects still pending."""
Row = tuple[Event | None, int, bytes | None]
"""As the journal keeps it: what happened (None: only that an effect was answered), when, and the effect it answers."""


class Adapter(Protocol):
    """Performs one effect and answers with one event. Asked twice, it does the thing once and answers twice.

    Raises: AdapterError, which the roles hear as EffectFailed; RemoteProtocolError for content that a peer sent.
    """

    async def perform(self, effect: Any) -> Event: ...


class RoleMachine(Protocol):
    """The roles of this node: pure, so that the same events give the same state again."""

    state_version: int

    def fresh(self) -> Self:
        """The same roles before the first event."""

    def save(self) -> bytes:
        """What the events so far have made of the roles."""

    def restore(self, saved: bytes) -> None:
        """Go on where a machine stood when it was saved. Raises: Malformed."""

    def become(self, other: Self, *, keep_heard: bool) -> None:
        """Go on where `other` stands. `keep_heard`: with what this one knows of peers, devices and newest blocks."""

    def start(self, now_ms: TimestampMs) -> tuple[Effect, ...]: ...

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]: ...

    def judge(self, received: MessageReceived, now_ms: TimestampMs) -> Event | None: ...


class EventJournal(Protocol):
    """Where durable events are kept, in order."""

    async def append(self, rows: Sequence[Row]) -> int: ...

    def rows_before(self, before: int | None = None, after: int = 0) -> Iterator[tuple[int, Row, str]]: ...

    def snapshot(self) -> Saved | None: ...

    async def compact(self, snapshot: Saved) -> None: ...

    async def set_aside(self, seq: int, at_ms: int, event: str, reason: str, *, reopen: bool = False) -> None: ...


Blame = Callable[[PeerId, RemoteProtocolError], None]
"""Makes a peer pay for what it sent."""


@dataclass(slots=True)
class _Pending:
    """An effect without an answer. `kept`: a fold of the journal would ask for it again."""

    effect: Effect
    kept: bool


@dataclass(frozen=True, slots=True)
class _Fault:
    """A row whose event cannot be handled: what it is, why, and whether its effect is to be asked for again."""

    seq: int
    at_ms: int
    event: str
    reason: str
    reopen: bool = False


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Something in the queue: an event, or (without one) somebody who waits until all before it is done."""

    event: Event | None
    answers: bytes | None = None
    waiter: trio.Event | None = None


class Driver:
    """Runs one machine. `routes` gives the adapter of each kind of effect; a kind without one fails at once."""

    def __init__(
        self,
        machine: RoleMachine,
        journal: EventJournal,
        routes: Mapping[type[Any], Adapter],
        clock_ms: Callable[[], int],
        blame: Blame,
    ) -> None:
        self._machine = machine
        self._journal = journal
        self._routes = routes
        self._clock_ms = clock_ms
        self._blame = blame
        self._send, self._inbox = trio.open_memory_channel[_Arrival](QUEUE)
        self._pending: dict[bytes, _Pending] = {}
        self._marks: list[Row] = []
        self._timers: list[tuple[int, bytes]] = []
        self._timer_set = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._observers: list[trio.MemorySendChannel[Event]] = []
        self._effects: trio.Nursery | None = None
        self._folded = False
        self._started_s = -math.inf
        self._folds = Bucket(FOLDS, FOLDS.burst, clock_ms())
        self._suspects: set[str] = set()
        """Kinds of peers' words at which a role raised."""
        self._told_ms: dict[str, int] = {}
        self._handled = 0
        """The last row that the machine has handled."""
        self._compacted = 0
        """The last row that a snapshot was tried up to."""
        self._folding = trio.Lock()
        self._is_torn = False
        """Whether a role may have changed by half, and no fold was left to mend it."""
        self.missed = 0
        """Events that observers were too slow for."""

    # --- what the rest of the daemon calls --------------------------------------------------------------------------
    async def report(self, event: Event) -> None:
        """A fact from outside. Returns once it is queued; waits while the node has too much to do."""
        if self._is_refused(event):
            return
        while self._busy >= MAX_PENDING:
            await self._room.park()
        await self._send.send(_Arrival(event))

    async def deliver(self, event: Event) -> None:
        """As `report`, but returns once the event is on the disk and handled: what was promised may be acknowledged.

        A message is judged before that: one that cannot matter takes no place in the queue and on the disk.
        """
        judged = self._judge(event)
        if judged is None:
            return
        await self.report(judged)
        await self.settled()

    async def settled(self) -> None:
        """Wait until everything that was reported so far is on the disk and handled."""
        waiter = trio.Event()
        await self._send.send(_Arrival(None, waiter=waiter))
        await waiter.wait()

    def subscribe(self) -> trio.MemoryReceiveChannel[Event]:
        """Every event from now on, handled by then. A slow reader misses some; `missed` counts them."""
        send, receive = trio.open_memory_channel[Event](BACKLOG)
        self._observers.append(send)
        return receive

    @property
    def pending(self) -> Mapping[str, int]:
        """How many effects of each class are under way."""
        return Counter(type(pending.effect).__name__ for pending in self._pending.values())

    async def fold(self) -> None:
        """Bring the machine to where the journal left it. In a thread: no other task may look at the machine meanwhile.

        Raises: ConfigError if the journal is damaged.
        """
        assert not self._folded
        self._pending = await self._fold(keep_heard=False)
        self._folded = True

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Ask again what the journal left open, and go on until cancelled. Started once that is under way.

        Raises: ConfigError if the disk takes no more: the daemon stops.
        """
        assert self._folded
        self._started_s = trio.current_time()
        try:
            async with trio.open_nursery() as self._effects:
                now_ms = self._now_ms()
                left = list(self._pending.values())
                for effect in self._machine.start(now_ms):
                    self._want(effect, kept=False)
                for pending in left:
                    self._dispatch(pending.effect, not_before_ms=now_ms + GRACE_MS)
                self._effects.start_soon(self._watch_timers)
                self._effects.start_soon(self._tick)
                task_status.started()
                await self._loop()
        finally:
            with trio.CancelScope(shield=True):
                await self._write([])

    # --- the journal ------------------------------------------------------------------------------------------------
    async def _fold(self, before: int | None = None, *, keep_heard: bool) -> dict[bytes, _Pending]:
        """Fold the rows before one anew, without those at which a role raises. Returns what they leave unanswered.

        Raises: ConfigError if the journal is damaged, or begins with a snapshot of another version.
        """
        async with self._folding:
            for again in reversed(range(START_FOLDS)):
                machine = self._machine.fresh()
                folded = await trio.to_thread.run_sync(_fold_rows, machine, self._journal, before, again)
                for fault in folded.faults:
                    await self._set_aside(fault)
                if not folded.raised:
                    break
            self._machine.become(machine, keep_heard=keep_heard)
        if not self._folded:
            self._handled, self._compacted = folded.last, folded.first
        return folded.pending

    async def compact(self, last: int) -> None:
        """Let a snapshot take the place of the rows up to one: folded beside the machine, so that it need not wait."""
        async with self._folding:
            machine = self._machine.fresh()
            folded = await trio.to_thread.run_sync(_fold_rows, machine, self._journal, last + 1, 1)
            if folded.raised or folded.faults:
                log.error("the journal is not compacted: a row of it cannot be folded", extra={"row": folded.last})
                return
            state = await trio.to_thread.run_sync(machine.save)
            pending = tuple(encode_named(each.effect) for each in folded.pending.values())
            await self._journal.compact((last, machine.state_version, state, pending))
        log.info("journal compacted", extra={"rows": last - folded.first, "bytes": len(state)})

    async def _set_aside(self, fault: _Fault) -> None:
        log.error("%s is set aside: %s", fault.event, fault.reason, extra={"row": fault.seq})
        reason = fault.reason[:MAX_REASON]
        await self._journal.set_aside(fault.seq, fault.at_ms, fault.event, reason, reopen=fault.reopen)

    async def _write(self, rows: list[Row]) -> int:
        """Returns the number of the first of `rows`."""
        # Marks ride along with the next commit: losing one only means that its effect is done twice.
        marks, self._marks = self._marks, []
        if not marks and not rows:
            return 0
        return await self._journal.append(marks + rows) - len(rows) + 1

    def _row(self, arrival: _Arrival, now_ms: int) -> tuple[Row | None, bool]:
        """What the journal keeps of an arrival, and whether the machine must wait until it does."""
        if arrival.event is None:
            return None, False
        if is_durable(arrival.event):
            return (arrival.event, now_ms, arrival.answers), True
        pending = self._pending.get(arrival.answers) if arrival.answers is not None else None
        if pending is not None and pending.kept:
            return (None, now_ms, arrival.answers), False
        return None, False

    # --- events -----------------------------------------------------------------------------------------------------
    async def _loop(self) -> None:
        async for first in self._inbox:
            arrivals = [first]
            while len(arrivals) < COMMIT:
                try:
                    arrivals.append(self._inbox.receive_nowait())
                except trio.WouldBlock:
                    break
            for together in _split(arrivals):
                await self._take(together)

    def _judge(self, event: Event) -> Event | None:
        """The event that a message is taken as, None for one of which nothing comes; any other event as it is."""
        if not isinstance(event, MessageReceived):
            return event
        try:
            return self._machine.judge(event, self._now_ms())
        except RemoteProtocolError as error:
            self._charge(event, error)
        except (MemoryError, ConfigError):
            raise
        except Exception as error:
            self._charge(event, Malformed(_reason(error)))
        return None

    async def _take(self, arrivals: list[_Arrival]) -> None:
        if self._is_torn and self._folds.take(1, self._now_ms()):
            await self._mend(None, keep_heard=False)
        if isinstance(event := arrivals[0].event, MessageReceived):
            # It was judged before those that came into the queue ahead of it were handled.
            arrivals[0] = replace(arrivals[0], event=self._judge(event))
        now_ms = self._now_ms()
        rows: list[Row] = []
        places: list[int] = []
        must_wait = False
        for arrival in arrivals:
            row, durable = self._row(arrival, now_ms)
            places.append(len(rows))
            if row is not None:
                rows.append(row)
            must_wait = must_wait or durable
        first: int | None = None
        if must_wait or len(self._marks) + len(rows) >= MARKS:
            first = await self._write(rows)
        else:
            self._marks += rows
        for arrival, place in zip(arrivals, places, strict=True):
            await self._handle(arrival, now_ms, None if first is None else first + place)
        if first is not None:
            self._handled = first + len(rows) - 1
        if self._handled - self._compacted >= COMPACT_ROWS:
            self._compacted = self._handled
            assert self._effects is not None
            self._effects.start_soon(self.compact, self._handled)

    async def _handle(self, arrival: _Arrival, now_ms: TimestampMs, seq: int | None) -> None:
        """Hand an arrival to the machine. `seq`: its row or, if it has none, the next that was not handled yet."""
        pending = self._pending.pop(arrival.answers, None) if arrival.answers is not None else None
        if arrival.answers is not None and self._busy < MAX_PENDING:
            self._room.unpark_all()
        event = arrival.event
        if event is not None and self._is_refused(event):
            await self._give_up(arrival, pending, "not handled: another of its kind made a role raise", now_ms, seq)
        elif event is not None:
            try:
                effects = self._machine.handle(event, now_ms)
            except RemoteProtocolError as error:
                self._charge(event, error)
                effects = ()
            except (MemoryError, ConfigError):
                raise
            except Exception as error:
                await self._survive(arrival, pending, error, now_ms, seq)
                effects = ()
            for effect in effects:
                self._want(effect, kept=is_durable(event))
            self._show(event)
        if arrival.waiter is not None:
            arrival.waiter.set()

    # --- what a role cannot handle ----------------------------------------------------------------------------------
    def _is_refused(self, event: Event) -> bool:
        """Whether this is a peer's word of a kind at which a role raised, and no fold is left should it raise again."""
        if not isinstance(event, MessageReceived | HeartbeatReceived | RequestReceived):
            return False
        return _name(event) in self._suspects and not self._folds.has(1, self._now_ms())

    async def _survive(
        self, arrival: _Arrival, pending: _Pending | None, error: Exception, now_ms: TimestampMs, seq: int | None
    ) -> None:
        """Set aside what made a role raise, then give the roles back what they were before it."""
        event = arrival.event
        assert event is not None
        log.debug("%s made a role raise", _name(event), exc_info=error)
        if isinstance(event, MessageReceived | HeartbeatReceived | RequestReceived):
            self._suspects.add(_name(event))
            self._charge(event, Malformed(_reason(error)))
        await self._give_up(arrival, pending, _reason(error), now_ms, seq)
        self._is_torn = True
        if self._folds.take(1, now_ms):
            await self._mend(seq, keep_heard=is_durable(event))

    async def _give_up(
        self, arrival: _Arrival, pending: _Pending | None, reason: str, now_ms: TimestampMs, seq: int | None
    ) -> None:
        event = arrival.event
        assert event is not None
        # An answer that cannot be handled is as good as none: its effect is open until its failure is handled.
        reopen = pending is not None and not isinstance(event, DeadlinePassed | EffectFailed)
        if is_durable(event):
            assert seq is not None
            await self._set_aside(_Fault(seq, now_ms, _name(event), reason, reopen))
        else:
            await self._tell(_name(event), reason, now_ms)
        if reopen:
            assert pending is not None
            assert arrival.answers is not None
            assert self._effects is not None
            self._pending[arrival.answers] = pending
            failed = _failed(pending.effect, f"its answer was set aside: {reason}", transient=False)
            self._effects.start_soon(self._send.send, _Arrival(failed, arrival.answers))

    async def _tell(self, name: str, reason: str, now_ms: TimestampMs) -> None:
        """Tell of what has no row; of one kind once in a while."""
        if now_ms >= self._told_ms.get(name, 0):
            self._told_ms[name] = now_ms + TOLD_ANEW_MS
            await self._set_aside(_Fault(0, now_ms, name, reason))

    async def _mend(self, before: int | None, *, keep_heard: bool) -> None:
        """Fold anew all rows before one. What is under way goes on; what a half-made change has lost is asked for."""
        await self._write([])
        found = await self._fold(before, keep_heard=keep_heard)
        self._is_torn = False
        now_ms = self._now_ms()
        for key, pending in found.items():
            if key not in self._pending:
                self._pending[key] = pending
                self._dispatch(pending.effect, not_before_ms=now_ms + GRACE_MS)

    def _charge(self, event: Event, error: RemoteProtocolError) -> None:
        kind = type(error).__name__
        match event:
            case MessageReceived(peer_id, message):
                log.info(
                    "%s of a peer refused: %s", type(message).__name__, error, extra={"peer": peer_id, "kind": kind}
                )
                self._blame(peer_id, error)
            case HeartbeatReceived(peer_id):
                log.info("beat of a peer refused: %s", error, extra={"peer": peer_id, "kind": kind})
                self._blame(peer_id, error)
            case _:
                log.info("%s refused: %s", type(event).__name__, error, extra={"kind": kind})

    def _show(self, event: Event) -> None:
        for observer in tuple(self._observers):
            try:
                observer.send_nowait(event)
            except trio.WouldBlock:
                self.missed += 1
            except trio.BrokenResourceError:
                self._observers.remove(observer)

    # --- effects ----------------------------------------------------------------------------------------------------
    def _want(self, effect: Effect, *, kept: bool) -> None:
        key = effect_key(effect)
        pending = self._pending.get(key)
        if pending is not None:
            pending.kept = pending.kept or kept
            return
        self._pending[key] = _Pending(effect, kept)
        self._dispatch(effect)

    def _dispatch(self, effect: Effect, not_before_ms: int = 0) -> None:
        key = effect_key(effect)
        if isinstance(effect, AwaitDeadline):
            heapq.heappush(self._timers, (max(effect.at_ms, not_before_ms), key))
            self._timer_set.set()
            return
        assert self._effects is not None
        self._effects.start_soon(self._perform, key, effect, name=type(effect).__name__)

    async def _perform(self, key: bytes, effect: Effect) -> None:
        await self._send.send(_Arrival(await self._answer(effect), key))

    async def _answer(self, effect: Effect) -> Event:
        name = type(effect).__name__
        adapter = self._routes.get(type(effect))
        if adapter is None:
            return _failed(effect, f"this node does not do {name}", transient=False)
        backoff_s = FIRST_BACKOFF_S
        for left in reversed(range(self._tries(effect))):
            try:
                return await adapter.perform(effect)
            except Exception as caught:
                error = _worst(caught)
                if isinstance(error, MemoryError | ConfigError):
                    raise
                if isinstance(error, RemoteProtocolError):
                    log.info("%s: bad content: %s", name, error, extra={"about": about(effect).hex()})
                    return _failed(effect, str(error), transient=False)
                if not isinstance(error, AdapterError):
                    log.debug("%s made its adapter raise", name, exc_info=caught)
                    await self._tell(f"the effect {name}", _reason(error), self._now_ms())
                    return _failed(effect, _reason(error), transient=False)
                if not error.transient or not left:
                    log.warning("%s failed: %s", name, error, extra={"about": about(effect).hex()})
                    return _failed(effect, str(error), transient=error.transient)
                log.warning("%s will be tried again: %s", name, error, extra={"in_s": backoff_s})
                await trio.sleep(backoff_s)
                backoff_s *= 2
        raise AssertionError("the last try returns")

    def _tries(self, effect: Effect) -> int:
        young = trio.current_time() < self._started_s + YOUNG_S
        return TRIES if isinstance(effect, ChainEffect) or (young and isinstance(effect, PeerEffect)) else 1

    @property
    def _busy(self) -> int:
        return len(self._pending) - len(self._timers)

    # --- time -------------------------------------------------------------------------------------------------------
    def _now_ms(self) -> TimestampMs:
        return TimestampMs(self._clock_ms())

    async def _watch_timers(self) -> None:
        while True:
            now_ms = self._now_ms()
            while self._timers and self._timers[0][0] <= now_ms:
                _, key = heapq.heappop(self._timers)
                effect = self._pending[key].effect
                assert isinstance(effect, AwaitDeadline)
                await self._send.send(_Arrival(DeadlinePassed(effect.timer), key))
            self._timer_set = trio.Event()
            rest_s = (self._timers[0][0] - now_ms) / 1000 if self._timers else LONGEST_SLEEP_S
            with trio.move_on_after(min(rest_s, LONGEST_SLEEP_S)):
                await self._timer_set.wait()

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK_S)
            await self._send.send(_Arrival(Tick()))


@dataclass(slots=True)
class _Folded:
    """What a fold has come to: effects that no row answers, rows at fault, and whether one raised.

    first: the row that the snapshot ends with, 0 without one; last: the last one that was folded.
    """

    pending: dict[bytes, _Pending]
    first: int
    last: int
    faults: list[_Fault] = field(default_factory=list)
    raised: bool = False


def _fold_rows(machine: RoleMachine, journal: EventJournal, before: int | None, again: int) -> _Folded:
    """Bring a fresh machine to where the rows before one leave it.

    A machine that has raised is of no use. So the fold ends there, unless there will be no other: `again` is 0.
    Raises: ConfigError.
    """
    folded = _restore(machine, journal.snapshot())
    pending = folded.pending
    for seq, (event, at_ms, answers), problem in journal.rows_before(before, folded.first):
        folded.last = seq
        if problem:
            folded.faults.append(_Fault(seq, at_ms, "a row", problem, reopen=True))
            continue
        if answers is not None:
            pending.pop(answers, None)
        if event is None:
            continue
        try:
            effects = machine.handle(event, TimestampMs(at_ms))
        except RemoteProtocolError:
            continue
        except (MemoryError, ConfigError):
            raise
        except Exception as error:
            reopen = not isinstance(event, DeadlinePassed | EffectFailed)
            folded.faults.append(_Fault(seq, at_ms, _name(event), _reason(error), reopen))
            if again:
                folded.raised = True
                return folded
            continue
        for effect in effects:
            pending.setdefault(effect_key(effect), _Pending(effect, kept=True))
    return folded


def _restore(machine: RoleMachine, snapshot: Saved | None) -> _Folded:
    if snapshot is None:
        return _Folded({}, 0, 0)
    seq, version, state, encoded = snapshot
    try:
        if version != machine.state_version:
            raise Malformed(f"it is of version {version}, and this program reads {machine.state_version}")
        machine.restore(state)
        effects = [decode_named(_EFFECTS, each, MAX_EFFECT_BYTES) for each in encoded]
    except (Malformed, TooLarge) as error:
        # Begun without it the node would forget what it has signed, and sign a number of a lane again.
        hint = "start the version that wrote it once more, let its jobs end, then upgrade with a new node.data_dir"
        raise ConfigError(f"the journal's snapshot cannot be read: {error}", hint) from error
    return _Folded({effect_key(effect): _Pending(effect, kept=True) for effect in effects}, seq, seq)


def _name(event: Event) -> str:
    """An event for people, and what a peer said in it."""
    said = f" {type(event.message).__name__}" if isinstance(event, MessageReceived) else ""
    return f"{type(event).__name__}{said}"


def _reason(error: Exception) -> str:
    """What an error says, and the line of code that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in last)
    return f"{type(error).__name__}{place}: {error}"[:MAX_REASON]


def _failed(effect: Effect, reason: str, *, transient: bool) -> EffectFailed:
    return EffectFailed(type(effect), about(effect), reason[:MAX_REASON], transient)


def _split(arrivals: list[_Arrival]) -> list[list[_Arrival]]:
    """Arrivals that may go into one commit: a durable message begins a new one, as the state before it judges it."""
    found: list[list[_Arrival]] = []
    for arrival in arrivals:
        if not found or (isinstance(arrival.event, MessageReceived) and is_durable(arrival.event)):
            found.append([])
        found[-1].append(arrival)
    return found


def _worst(error: Exception) -> Exception:
    """An adapter may work in a nursery of its own, which puts the errors of its tasks into a group: the gravest."""
    return max(map(_worst, error.exceptions), key=_gravity) if isinstance(error, ExceptionGroup) else error


def _gravity(error: Exception) -> int:
    """What stops the daemon comes before a bug, and a bug before what may go wrong outside."""
    return (
        2 if isinstance(error, MemoryError | ConfigError) else not isinstance(error, AdapterError | RemoteProtocolError)
    )
