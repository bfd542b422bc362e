"""The loop: an event comes in, goes into the journal, to the machine, and what the machine wants goes to an adapter.

The machine decides, an adapter does, and what it did comes back as the next event. Durable events are on the disk
before the machine sees them, several in one commit where several wait. At the start the journal is folded without
doing anything; then each effect without an answer is asked again, which is why every effect is safe to do twice.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import trio

from node.clockwork import Clockwork
from node.folding import (
    EventJournal,
    Folding,
    Pending,
    RoleMachine,
    Row,
    Unhandled,
    is_word_of_peer,
    name_of_event,
    reason_of,
)
from node.performing import Adapter, Performer, failed
from protocol.effects import AwaitDeadline, Effect, effect_key
from protocol.errors import ConfigError, Malformed, RemoteProtocolError
from protocol.events import DeadlinePassed, EffectFailed, Event, HeartbeatReceived, MessageReceived, is_durable
from protocol.wire.ids import PeerId, TimestampMs

log = logging.getLogger(__name__)

QUEUE = 256
"""Events that may wait for the loop."""
COMMIT = 64
"""Events that go into one commit at most."""
MAX_PENDING = 4_096
"""Effects under way, above which no new facts are taken in; answers always are."""
BACKLOG = 1_024
"""Events that may wait for a slow observer before it misses some."""
GRACE_MS = 5_000
"""How long a deadline waits that passed while the node was away: what others said meanwhile comes first."""

Blame = Callable[[PeerId, RemoteProtocolError], None]
"""Makes a peer pay for what it sent."""


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
        self._folding = Folding(machine, journal, clock_ms)
        self._performer = Performer(routes, self._folding.tell)
        self._clockwork = Clockwork(clock_ms, lambda event, answers: self._send.send(_Arrival(event, answers)))
        self._now_ms: Callable[[], TimestampMs] = lambda: TimestampMs(clock_ms())
        self._blame = blame
        self._send, self._inbox = trio.open_memory_channel[_Arrival](QUEUE)
        self._pending: dict[bytes, Pending] = {}
        self._room = trio.lowlevel.ParkingLot()
        self._observers: list[trio.MemorySendChannel[Event]] = []
        self._effects: trio.Nursery
        """Of the effects under way, while it runs."""
        self._folded = False
        self.missed = 0
        """Events that observers were too slow for."""

    # --- what the rest of the daemon calls --------------------------------------------------------------------------
    async def report(self, event: Event) -> None:
        """A fact from outside. Returns once it is queued; waits while the node has too much to do."""
        if self._folding.is_refused(event):
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
        self._pending = await self._folding.start()
        self._folded = True

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Ask again what the journal left open, and go on until cancelled. Started once that is under way.

        Raises: ConfigError if the disk takes no more: the daemon stops.
        """
        assert self._folded
        self._performer.start()
        try:
            async with trio.open_nursery() as self._effects:
                now_ms = self._now_ms()
                left = list(self._pending.values())
                for effect in self._folding.machine.start(now_ms):
                    self._want(effect, kept=False)
                for pending in left:
                    self._dispatch(pending.effect, not_before_ms=now_ms + GRACE_MS)
                self._effects.start_soon(self._clockwork.watch)
                self._effects.start_soon(self._clockwork.tick)
                task_status.started()
                await self._loop()
        finally:
            with trio.CancelScope(shield=True):
                await self._folding.write([], must_wait=True)

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
            return self._folding.machine.judge(event, self._now_ms())
        except RemoteProtocolError as error:
            _charge(self._blame, event, error)
        except (MemoryError, ConfigError):
            raise
        except Exception as error:
            _charge(self._blame, event, Malformed(reason_of(error)))
        return None

    async def _take(self, arrivals: list[_Arrival]) -> None:
        if self._folding.is_torn and self._folding.take_turn():
            await self._mend(None, keep_heard=False)
        if isinstance(event := arrivals[0].event, MessageReceived):
            # It was judged before those that came into the queue ahead of it were handled.
            arrivals[0] = replace(arrivals[0], event=self._judge(event))
        now_ms = self._now_ms()
        rows: list[Row] = []
        places: list[int] = []
        must_wait = False
        for arrival in arrivals:
            pending = self._pending.get(arrival.answers) if arrival.answers is not None else None
            row, durable = _row(arrival, pending, now_ms)
            places.append(len(rows))
            if row is not None:
                rows.append(row)
            must_wait = must_wait or durable
        first = await self._folding.write(rows, must_wait=must_wait)
        for arrival, place in zip(arrivals, places, strict=True):
            await self._handle(arrival, now_ms, None if first is None else first + place)
        if first is not None and self._folding.has_handled(last := first + len(rows) - 1):
            self._effects.start_soon(self._folding.compact, last)

    async def _handle(self, arrival: _Arrival, now_ms: TimestampMs, seq: int | None) -> None:
        """Hand an arrival to the machine. `seq`: its row or, if it has none, the next that was not handled yet."""
        pending = self._pending.pop(arrival.answers, None) if arrival.answers is not None else None
        if arrival.answers is not None and self._busy < MAX_PENDING:
            self._room.unpark_all()
        event = arrival.event
        if event is not None and self._folding.is_refused(event):
            await self._give_up(event, pending, "not handled: another of its kind made a role raise", now_ms, seq)
        elif event is not None:
            try:
                effects = self._folding.machine.handle(event, now_ms)
            except RemoteProtocolError as error:
                _charge(self._blame, event, error)
                effects = ()
            except (MemoryError, ConfigError):
                raise
            except Exception as error:
                await self._survive(event, pending, error, now_ms, seq)
                effects = ()
            for effect in effects:
                self._want(effect, kept=is_durable(event))
            self._show(event)
        if arrival.waiter is not None:
            arrival.waiter.set()

    # --- what a role cannot handle ----------------------------------------------------------------------------------
    async def _survive(
        self, event: Event, pending: Pending | None, error: Exception, now_ms: TimestampMs, seq: int | None
    ) -> None:
        """Set aside what made a role raise, then give the roles back what they were before it."""
        log.debug("%s made a role raise", name_of_event(event), exc_info=error)
        if is_word_of_peer(event):
            self._folding.suspect(event)
            _charge(self._blame, event, Malformed(reason_of(error)))
        await self._give_up(event, pending, reason_of(error), now_ms, seq)
        self._folding.is_torn = True
        if self._folding.take_turn():
            await self._mend(seq, keep_heard=is_durable(event))

    async def _give_up(
        self, event: Event, pending: Pending | None, reason: str, now_ms: TimestampMs, seq: int | None
    ) -> None:
        # An answer that cannot be handled is as good as none: its effect is open until its failure is handled.
        reopened = None if isinstance(event, DeadlinePassed | EffectFailed) else pending
        if is_durable(event):
            assert seq is not None
            await self._folding.set_aside(Unhandled(seq, now_ms, name_of_event(event), reason, reopened is not None))
        else:
            await self._folding.tell(name_of_event(event), reason)
        if reopened is not None:
            key = effect_key(reopened.effect)
            self._pending[key] = reopened
            failure = failed(reopened.effect, f"its answer was set aside: {reason}", transient=False)
            self._effects.start_soon(self._send.send, _Arrival(failure, key))

    async def _mend(self, before: int | None, *, keep_heard: bool) -> None:
        """Fold anew all rows before one. Effects under way go on; those that a half-made change lost are asked for."""
        await self._folding.write([], must_wait=True)
        found = await self._folding.fold(before, keep_heard=keep_heard)
        now_ms = self._now_ms()
        for key, pending in found.items():
            if key not in self._pending:
                self._pending[key] = pending
                self._dispatch(pending.effect, not_before_ms=now_ms + GRACE_MS)

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
        self._pending[key] = Pending(effect, kept)
        self._dispatch(effect)

    def _dispatch(self, effect: Effect, not_before_ms: int = 0) -> None:
        key = effect_key(effect)
        if isinstance(effect, AwaitDeadline):
            self._clockwork.wait_for(key, effect, not_before_ms)
            return
        self._effects.start_soon(self._perform, key, effect, name=type(effect).__name__)

    async def _perform(self, key: bytes, effect: Effect) -> None:
        await self._send.send(_Arrival(await self._performer.perform(effect), key))

    @property
    def _busy(self) -> int:
        return len(self._pending) - len(self._clockwork)


def _row(arrival: _Arrival, pending: Pending | None, now_ms: int) -> tuple[Row | None, bool]:
    """The event that the journal keeps of an arrival, and whether the machine must wait for the disk."""
    if arrival.event is not None and is_durable(arrival.event):
        return (arrival.event, now_ms, arrival.answers), True
    return ((None, now_ms, arrival.answers) if arrival.event and pending and pending.kept else None), False


def _split(arrivals: list[_Arrival]) -> list[list[_Arrival]]:
    """Arrivals that may go into one commit: a durable message begins a new one, as the state before it judges it."""
    found: list[list[_Arrival]] = []
    for arrival in arrivals:
        if not found or (isinstance(arrival.event, MessageReceived) and is_durable(arrival.event)):
            found.append([])
        found[-1].append(arrival)
    return found


def _charge(blame: Blame, event: Event, error: RemoteProtocolError) -> None:
    """Tell what was refused, and let its sender pay."""
    kind = type(error).__name__
    match event:
        case MessageReceived(peer_id, message):
            log.info("%s of a peer refused: %s", type(message).__name__, error, extra={"peer": peer_id, "kind": kind})
            blame(peer_id, error)
        case HeartbeatReceived(peer_id):
            log.info("beat of a peer refused: %s", error, extra={"peer": peer_id, "kind": kind})
            blame(peer_id, error)
        case _:
            log.info("%s refused: %s", type(event).__name__, error, extra={"kind": kind})
