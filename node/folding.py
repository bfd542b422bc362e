"""The machine as its journal makes it: folded at the start, beside it for a snapshot, and anew where a role raised.

An event at which a role raises, because of a bug of ours, is set aside: its row is emptied on the disk, so that no fold
meets it again; then the journal is folded anew, because the role that raised may have changed by half. Peers could make
a node do nothing else. So folds have a budget, and without it their words of such a kind are not taken.
"""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, get_args

import trio

from protocol.effects import Effect, effect_key
from protocol.errors import ConfigError, Malformed, RemoteProtocolError, TooLarge
from protocol.events import DeadlinePassed, EffectFailed, Event, HeartbeatReceived, MessageReceived, RequestReceived
from protocol.network.budgets import Bucket, Rate
from protocol.wire.codec import decode_named, encode_named
from protocol.wire.ids import TimestampMs
from protocol.wire.names import by_name

log = logging.getLogger(__name__)

MAX_REASON = 500
MAX_EFFECT_BYTES = 16 * 2**20
FOLDS = Rate(amount=1, period_ms=60_000, burst=4)
"""How often the journal is folded anew because a role raised."""
COMPACT_ROWS = 10_000
"""Rows after which a snapshot takes the place of all before it: what a start has to fold at most, and a little."""
START_FOLDS = 8
"""Times that a fold begins anew without a row at which a role raised; later ones are passed over."""
MARKS = 64
"""Answers noted in memory before they are written on their own."""
TOLD_ANEW_MS = 60_000
"""A fault without a row is told once in so long, however often it comes."""
_EFFECTS = by_name(get_args(Effect))

Saved = tuple[int, int, bytes, tuple[bytes, ...]]
"""The snapshot in the place of old rows: the last of them, the version of the state, state, effects still pending."""
Row = tuple[Event | None, int, bytes | None]
"""As the journal keeps it: what happened (None: only that an effect was answered), when, and the effect it answers."""


class RoleMachine(Protocol):
    """The roles of this node: pure, so that the same events give the same state again."""

    state_version: int

    def fresh(self) -> Self:
        """The same roles before the first event."""

    def save(self) -> bytes:
        """The state of the roles after the events so far."""

    def restore(self, saved: bytes) -> None:
        """Go on where a machine stood when it was saved. Raises: Malformed."""

    def become(self, other: Self, *, keep_heard: bool) -> None:
        """Go on where `other` stands. `keep_heard`: with what this one knows of peers, devices and newest blocks."""

    def start(self, now_ms: TimestampMs) -> tuple[Effect, ...]: ...

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]: ...

    def judge(self, received: MessageReceived, now_ms: TimestampMs) -> Event | None: ...


class EventJournal(Protocol):
    """The store of durable events, in order."""

    async def append(self, rows: Sequence[Row]) -> int: ...

    def rows_before(self, before: int | None = None, after: int = 0) -> Iterator[tuple[int, Row, str]]: ...

    def snapshot(self) -> Saved | None: ...

    async def compact(self, snapshot: Saved) -> None: ...

    async def set_aside(self, seq: int, at_ms: int, event: str, reason: str, *, reopen: bool = False) -> None: ...


@dataclass(slots=True)
class Pending:
    """An effect without an answer. `kept`: a fold of the journal would ask for it again."""

    effect: Effect
    kept: bool


@dataclass(frozen=True, slots=True)
class Unhandled:
    """A fault: its row (0: none), its event, the reason, and whether its effect is to be asked for again."""

    seq: int
    at_ms: int
    event: str
    reason: str
    reopen: bool = False


class Folding:
    """Writes one journal and folds it into one machine; sets aside what cannot be handled."""

    def __init__(self, machine: RoleMachine, journal: EventJournal, clock_ms: Callable[[], int]) -> None:
        self.machine = machine
        self._journal = journal
        self._clock_ms = clock_ms
        self._turn = trio.Lock()
        self._marks: list[Row] = []
        self._budget = Bucket(FOLDS, FOLDS.burst, clock_ms())
        self._suspects: set[str] = set()
        """Kinds of peers' words at which a role raised."""
        self._told_ms: dict[str, int] = {}
        self._handled = self._compacted = 0
        """The last rows that the machine has handled, and that a snapshot was tried up to."""
        self.is_torn = False
        """Whether a role may have changed by half, and no fold was left to mend it."""

    async def start(self) -> dict[bytes, Pending]:
        """Fold all rows. Returns: the effects that they leave unanswered. Raises: as `fold`."""
        folded = await self._fold(None, keep_heard=False)
        self._handled, self._compacted = folded.last, folded.first
        return folded.pending

    async def fold(self, before: int | None, *, keep_heard: bool) -> dict[bytes, Pending]:
        """Fold the rows before one anew, without those at which a role raises. Returns: what they leave unanswered.

        Raises: ConfigError if the journal is damaged, or begins with a snapshot of another version.
        """
        folded = await self._fold(before, keep_heard=keep_heard)
        self.is_torn = False
        return folded.pending

    def has_handled(self, last: int) -> bool:
        """Note the last row that the machine has handled. Returns: whether `compact` is due up to it."""
        self._handled = last
        if last - self._compacted < COMPACT_ROWS:
            return False
        self._compacted = last
        return True

    async def compact(self, last: int) -> None:
        """Let a snapshot take the place of the rows up to one: folded beside the machine, so that it need not wait."""
        async with self._turn:
            machine = self.machine.fresh()
            folded = await trio.to_thread.run_sync(_fold_rows, machine, self._journal, last + 1, 1)
            if folded.raised or folded.faults:
                log.error("the journal is not compacted: a row of it cannot be folded", extra={"row": folded.last})
                return
            state = await trio.to_thread.run_sync(machine.save)
            pending = tuple(encode_named(each.effect) for each in folded.pending.values())
            await self._journal.compact((last, machine.state_version, state, pending))
        log.info("journal compacted", extra={"rows": last - folded.first, "bytes": len(state)})

    async def write(self, rows: list[Row], *, must_wait: bool) -> int | None:
        """Write rows; of those that only say that an effect was answered, several in one commit.

        Returns: the number of the first row, None if they wait for the next commit: losing them only means that their
        effects are done twice. Raises: ConfigError if the disk takes no more.
        """
        waiting = self._marks + rows
        if not must_wait and len(waiting) < MARKS:
            self._marks = waiting
            return None
        self._marks = []
        return await self._journal.append(waiting) - len(rows) + 1 if waiting else None

    async def set_aside(self, fault: Unhandled) -> None:
        """Tell of a fault, and empty its row."""
        log.error("%s is set aside: %s", fault.event, fault.reason, extra={"row": fault.seq})
        reason = fault.reason[:MAX_REASON]
        await self._journal.set_aside(fault.seq, fault.at_ms, fault.event, reason, reopen=fault.reopen)

    async def tell(self, name: str, reason: str) -> None:
        """Set aside what has no row; of one kind once in a while."""
        now_ms = self._clock_ms()
        if now_ms >= self._told_ms.get(name, 0):
            self._told_ms[name] = now_ms + TOLD_ANEW_MS
            await self.set_aside(Unhandled(0, now_ms, name, reason))

    # --- the budget of folds ----------------------------------------------------------------------------------------
    def suspect(self, event: Event) -> None:
        """A role raised at this word of a peer."""
        self._suspects.add(name_of_event(event))

    def is_refused(self, event: Event) -> bool:
        """Whether this is a peer's word of a kind at which a role raised, and no fold is left should it raise again."""
        if not is_word_of_peer(event):
            return False
        return name_of_event(event) in self._suspects and not self._budget.has(1, self._clock_ms())

    def take_turn(self) -> bool:
        """Whether the budget has a fold left; it is then used."""
        return self._budget.take(1, self._clock_ms())

    async def _fold(self, before: int | None, *, keep_heard: bool) -> "_Folded":
        async with self._turn:
            for again in reversed(range(START_FOLDS)):
                machine = self.machine.fresh()
                folded = await trio.to_thread.run_sync(_fold_rows, machine, self._journal, before, again)
                for fault in folded.faults:
                    await self.set_aside(fault)
                if not folded.raised:
                    break
            self.machine.become(machine, keep_heard=keep_heard)
        return folded


@dataclass(slots=True)
class _Folded:
    """The result of a fold: effects that no row answers, rows at fault, and whether one raised.

    first: the row that the snapshot ends with, 0 without one; last: the last one that was folded.
    """

    pending: dict[bytes, Pending]
    first: int
    last: int
    faults: list[Unhandled] = field(default_factory=list)
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
            folded.faults.append(Unhandled(seq, at_ms, "a row", problem, reopen=True))
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
            folded.faults.append(Unhandled(seq, at_ms, name_of_event(event), reason_of(error), reopen))
            if again:
                folded.raised = True
                return folded
            continue
        for effect in effects:
            pending.setdefault(effect_key(effect), Pending(effect, kept=True))
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
    return _Folded({effect_key(effect): Pending(effect, kept=True) for effect in effects}, seq, seq)


def is_word_of_peer(event: Event) -> bool:
    """Whether a peer sent this event, and pays for its faults."""
    return isinstance(event, MessageReceived | HeartbeatReceived | RequestReceived)


def name_of_event(event: Event) -> str:
    """An event for people, and what a peer said in it."""
    said = f" {type(event.message).__name__}" if isinstance(event, MessageReceived) else ""
    return f"{type(event).__name__}{said}"


def reason_of(error: Exception) -> str:
    """An error's words, and the line of code that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in last)
    return f"{type(error).__name__}{place}: {error}"[:MAX_REASON]
