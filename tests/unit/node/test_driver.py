"""The driver: the order of event, journal, machine and adapter, and what a crash between two of them leaves behind."""

import pickle
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from node import clockwork, folding, performing
from node import driver as driver_module
from node.driver import Driver
from node.folding import Row, Saved
from node.journal import Journal, open_journal
from protocol.effects import AwaitDeadline, Effect, FetchBlob, SealEpoch, Send, effect_key
from protocol.errors import (
    BadSignature,
    ChainError,
    ConfigError,
    LocalProtocolError,
    Malformed,
    P2PError,
    RemoteProtocolError,
)
from protocol.events import (
    BlobFetched,
    BlockSeen,
    DeadlinePassed,
    EffectFailed,
    Event,
    MessageReceived,
    MessageSent,
    SeedRevealed,
    Tick,
    TransactionMined,
)
from protocol.stages.commitment import ResultQuery
from protocol.timers import LaneTimer
from protocol.wire.ids import PeerId, TimestampMs

PAST, EARLY, LATE = (LaneTimer(bytes([number]) * 32) for number in range(3))

BLOB = b"\1" * 32
OTHER = b"\2" * 32
PEER = PeerId("16Uiu2HAmTestPeer")


class Notebook:
    """A machine that writes down what it was given, and wants what its rules say."""

    def __init__(self, rules: Callable[[Event], tuple[Effect, ...]], first: tuple[Effect, ...] = ()) -> None:
        self.seen: list[Event] = []
        self.times: list[int] = []
        self._rules = rules
        self._first = first
        self._turn = trio.Event()
        self.folds = 0

    state_version = 1

    def save(self) -> bytes:
        return pickle.dumps((self.seen, self.times))

    def restore(self, saved: bytes) -> None:
        self.seen, self.times = pickle.loads(saved)

    def fresh(self) -> "Notebook":
        return type(self)(self._rules, self._first)

    def become(self, other: "Notebook", *, keep_heard: bool) -> None:
        self.seen, self.times, self.folds = other.seen, other.times, self.folds + 1

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that an event makes true."""
        with trio.fail_after(300):
            while not condition():
                await self._turn.wait()

    def start(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        return self._first

    def judge(self, received: MessageReceived, now_ms: TimestampMs) -> Event | None:
        return received if received.peer_id == PEER else None

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        if isinstance(event, Tick):
            return ()
        self.seen.append(event)
        self.times.append(now_ms)
        self._turn.set()
        self._turn = trio.Event()
        return self._rules(event)


class Paper:
    """A journal in memory, which can be torn off at any row. `held` keeps a commit from ending."""

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self.rows: list[Row] = list(rows)
        self.commits: list[int] = []
        self.aside: list[tuple[int, str, str]] = []
        self.saved: Saved | None = None
        self.held = trio.Event()
        self.held.set()

    async def append(self, rows: Sequence[Row]) -> int:
        await self.held.wait()
        self.rows += rows
        self.commits.append(len(rows))
        return len(self.rows)

    def rows_before(self, before: int | None = None, after: int = 0) -> Iterator[tuple[int, Row, str]]:
        for seq, row in list(enumerate(self.rows, 1))[after : None if before is None else before - 1]:
            yield seq, row, ""

    def snapshot(self) -> Saved | None:
        return self.saved

    async def compact(self, snapshot: Saved) -> None:
        self.saved = snapshot

    async def set_aside(self, seq: int, at_ms: int, event: str, reason: str, *, reopen: bool = False) -> None:
        self.aside.append((seq, event, reason))
        if seq:
            _, at, answers = self.rows[seq - 1]
            self.rows[seq - 1] = None, at, None if reopen else answers


class Hand:
    """An adapter that does what it is told to: an answer, an error, or a wait until it is let go."""

    def __init__(self, answer: Callable[[Effect], Event]) -> None:
        self.asked: list[Effect] = []
        self.errors: list[Exception] = []
        self.free = trio.Event()
        self.free.set()
        self._answer = answer

    async def perform(self, effect: Effect) -> Event:
        self.asked.append(effect)
        await self.free.wait()
        if self.errors:
            raise self.errors.pop(0)
        return self._answer(effect)


Wishes = tuple[Effect, ...]


def nothing(_event: Event) -> tuple[Effect, ...]:
    return ()


def on(kind: type[Event], *effects: Effect) -> Callable[[Event], tuple[Effect, ...]]:
    return lambda event: effects if isinstance(event, kind) else ()


def fetched(effect: Effect) -> Event:
    assert isinstance(effect, FetchBlob)
    return BlobFetched(effect.cid)


class Net:
    """Whom the driver blamed."""

    def __init__(self) -> None:
        self.blamed: list[tuple[PeerId, RemoteProtocolError]] = []

    def __call__(self, peer_id: PeerId, error: RemoteProtocolError) -> None:
        self.blamed.append((peer_id, error))


def clock_ms() -> int:
    return round(trio.current_time() * 1000)


@asynccontextmanager
async def running(
    machine: Notebook,
    paper: object,
    routes: dict[type, Hand] | None = None,
    net: Net | None = None,
    at_ms: Callable[[], int] = clock_ms,
) -> AsyncIterator[Driver]:
    built = Driver(machine, paper, routes or {}, at_ms, net or Net())  # type: ignore[arg-type]
    await built.fold()
    async with trio.open_nursery() as nursery:
        await nursery.start(built.run)
        yield built
        nursery.cancel_scope.cancel()


async def test_durable_event_is_on_the_disk_before_the_machine_sees_it() -> None:
    paper, machine = Paper(), Notebook(nothing)
    async with running(machine, paper) as driver:
        paper.held = trio.Event()
        await driver.report(BlobFetched(BLOB))
        await trio.testing.wait_all_tasks_blocked()
        assert machine.seen == []
        paper.held.set()
        await driver.settled()
        assert machine.seen == [BlobFetched(BLOB)]
        assert [row[0] for row in paper.rows] == [BlobFetched(BLOB)]


async def test_fleeting_event_leaves_no_trace() -> None:
    paper, machine = Paper(), Notebook(nothing)
    async with running(machine, paper) as driver:
        await driver.deliver(BlockSeen(5, 3, 1))
    assert machine.seen == [BlockSeen(5, 3, 1)]
    assert paper.rows == []


async def test_events_that_wait_share_a_commit() -> None:
    paper, machine = Paper(), Notebook(nothing)
    async with running(machine, paper) as driver:
        paper.held = trio.Event()
        await driver.report(BlobFetched(bytes(32)))
        await trio.testing.wait_all_tasks_blocked()
        for number in range(1, 9):
            await driver.report(BlobFetched(bytes([number]) * 32))
        paper.held.set()
        await driver.settled()
        assert paper.commits == [1, 8]
        assert len(machine.seen) == 9


async def test_effect_is_performed_once_while_it_is_open() -> None:
    hand = Hand(fetched)
    hand.free = trio.Event()
    machine = Notebook(on(SeedRevealed, FetchBlob(BLOB, ())))
    async with running(machine, Paper(), {FetchBlob: hand}) as driver:
        await driver.deliver(SeedRevealed(1, OTHER))
        await driver.deliver(SeedRevealed(2, OTHER))
        assert hand.asked == [FetchBlob(BLOB, ())]
        assert driver.pending == {"FetchBlob": 1}
        hand.free.set()
        await machine.until(lambda: machine.seen[-1] == BlobFetched(BLOB))
        assert driver.pending == {}
        # Answered and wanted again is a new effect.
        await driver.deliver(SeedRevealed(3, OTHER))
        await trio.testing.wait_all_tasks_blocked()
        assert len(hand.asked) == 2


async def test_answer_names_its_effect_in_the_journal() -> None:
    paper, effect = Paper(), FetchBlob(BLOB, ())
    machine = Notebook(on(SeedRevealed, effect))
    async with running(machine, paper, {FetchBlob: Hand(fetched)}) as driver:
        await driver.deliver(SeedRevealed(1, OTHER))
        await machine.until(lambda: len(machine.seen) == 2)
    assert [(row[0], row[2]) for row in paper.rows] == [
        (SeedRevealed(1, OTHER), None),
        (BlobFetched(BLOB), effect_key(effect)),
    ]


async def test_fold_gives_the_same_state_and_performs_nothing_that_was_answered() -> None:
    effect = FetchBlob(BLOB, ())
    rows: list[Row] = [(SeedRevealed(1, OTHER), 70, None), (BlobFetched(BLOB), 90, effect_key(effect))]
    hand, machine = Hand(fetched), Notebook(on(SeedRevealed, effect))
    async with running(machine, Paper(rows), {FetchBlob: hand}):
        await trio.testing.wait_all_tasks_blocked()
    assert machine.seen == [SeedRevealed(1, OTHER), BlobFetched(BLOB)]
    assert machine.times == [70, 90]
    assert hand.asked == []


async def test_fold_asks_again_what_nobody_answered() -> None:
    rows: list[Row] = [(SeedRevealed(1, OTHER), 70, None)]
    hand, machine = Hand(fetched), Notebook(on(SeedRevealed, FetchBlob(BLOB, ())))
    async with running(machine, Paper(rows), {FetchBlob: hand}):
        await machine.until(lambda: machine.seen[-1] == BlobFetched(BLOB))
    assert hand.asked == [FetchBlob(BLOB, ())]


async def test_answer_that_is_not_kept_leaves_a_mark() -> None:
    send = Send(PEER, ResultQuery(BLOB))
    machine = Notebook(on(SeedRevealed, send))
    paper, hand = Paper(), Hand(lambda _: MessageSent(PEER, 5))
    async with running(machine, paper, {Send: hand}) as driver:
        await driver.deliver(SeedRevealed(1, OTHER))
        await machine.until(lambda: MessageSent(PEER, 5) in machine.seen)
    # Written at the latest when the daemon stops, and the next start does not send it again.
    assert [(row[0], row[2]) for row in paper.rows] == [(SeedRevealed(1, OTHER), None), (None, effect_key(send))]
    again = Hand(lambda _: MessageSent(PEER, 5))
    async with running(Notebook(on(SeedRevealed, send)), paper, {Send: again}):
        await trio.testing.wait_all_tasks_blocked()
    assert again.asked == []


async def test_effect_of_a_fleeting_event_needs_no_mark() -> None:
    machine = Notebook(on(BlockSeen, Send(PEER, ResultQuery(BLOB))))
    paper = Paper()
    async with running(machine, paper, {Send: Hand(lambda _: MessageSent(PEER, 5))}) as driver:
        await driver.deliver(BlockSeen(1, 1, 1))
        await machine.until(lambda: MessageSent(PEER, 5) in machine.seen)
    assert paper.rows == []


async def test_start_comes_after_the_fold() -> None:
    first = SealEpoch(7)
    machine = Notebook(nothing, (first,))
    hand = Hand(lambda _: TransactionMined(SealEpoch, b"", 3))
    async with running(machine, Paper([(BlobFetched(BLOB), 5, None)]), {SealEpoch: hand}):
        await machine.until(lambda: len(machine.seen) == 2)
    assert machine.seen == [BlobFetched(BLOB), TransactionMined(SealEpoch, b"", 3)]


async def test_kill_at_any_row_loses_no_effect(tmp_path: Path) -> None:
    """Two blobs, one after the other; the daemon dies after every number of rows, and the next one ends the work."""

    def rules(event: Event) -> tuple[Effect, ...]:
        match event:
            case SeedRevealed():
                return (FetchBlob(BLOB, ()),)
            case BlobFetched(cid) if cid == BLOB:
                return (FetchBlob(OTHER, ()),)
        return ()

    with open_journal(tmp_path) as journal:
        machine = Notebook(rules)
        async with running(machine, journal, {FetchBlob: Hand(fetched)}) as driver:
            await driver.deliver(SeedRevealed(1, OTHER))
            await machine.until(lambda: BlobFetched(OTHER) in machine.seen)
        whole = list(journal.read_all())
    for kept in range(1, len(whole) + 1):
        machine, hand = Notebook(rules), Hand(fetched)
        async with running(machine, Paper(whole[:kept]), {FetchBlob: hand}):
            await machine.until(lambda machine=machine: BlobFetched(OTHER) in machine.seen)  # type: ignore[misc]
        assert machine.seen == [SeedRevealed(1, OTHER), BlobFetched(BLOB), BlobFetched(OTHER)]
        assert len(hand.asked) == len(whole) - kept


async def test_peers_are_waited_for_after_a_start(autojump_clock: trio.testing.MockClock) -> None:
    hand = Hand(fetched)
    hand.errors = [P2PError("no address is known", transient=True) for _ in range(2)]
    machine = Notebook(on(SeedRevealed, FetchBlob(BLOB, ())))
    async with running(machine, Paper([(SeedRevealed(1, OTHER), 0, None)]), {FetchBlob: hand}):
        await machine.until(lambda: len(machine.seen) == 2)
    assert machine.seen[1] == BlobFetched(BLOB)
    assert len(hand.asked) == 3


async def test_failure_of_an_adapter_reaches_the_machine(autojump_clock: trio.testing.MockClock) -> None:
    hand = Hand(fetched)
    hand.errors = [P2PError("no peer has it " + "x" * 600, transient=True)]
    machine = Notebook(on(SeedRevealed, FetchBlob(BLOB, ())))
    async with running(machine, Paper(), {FetchBlob: hand}) as driver:
        await trio.sleep(performing.YOUNG_S)
        await driver.deliver(SeedRevealed(1, OTHER))
        await machine.until(lambda: len(machine.seen) == 2)
    failed = machine.seen[1]
    assert isinstance(failed, EffectFailed)
    assert (failed.effect, failed.about, failed.transient) == (FetchBlob, BLOB, True)
    assert failed.reason.startswith("no peer has it")
    assert len(failed.reason) <= 512


async def test_failure_inside_of_an_adapters_nursery_is_one_too() -> None:
    hand = Hand(fetched)
    hand.errors = [ExceptionGroup("nursery", [ExceptionGroup("inner", [P2PError("no peer has it")])])]
    machine = Notebook(on(SeedRevealed, FetchBlob(BLOB, ())))
    async with running(machine, Paper(), {FetchBlob: hand}) as driver:
        await driver.deliver(SeedRevealed(1, OTHER))
        await machine.until(lambda: len(machine.seen) == 2)
    assert machine.seen[1] == EffectFailed(FetchBlob, BLOB, "no peer has it", False)


async def test_bad_content_of_a_peer_is_a_failure_for_good() -> None:
    hand = Hand(fetched)
    hand.errors = [Malformed("not what its hash says")]
    machine = Notebook(on(SeedRevealed, FetchBlob(BLOB, ())))
    async with running(machine, Paper(), {FetchBlob: hand}) as driver:
        await driver.deliver(SeedRevealed(1, OTHER))
        await machine.until(lambda: len(machine.seen) == 2)
    assert machine.seen[1] == EffectFailed(FetchBlob, BLOB, "not what its hash says", False)


async def test_effect_without_an_adapter_fails_at_once() -> None:
    machine = Notebook(on(SeedRevealed, FetchBlob(BLOB, ())))
    async with running(machine, Paper()) as driver:
        await driver.deliver(SeedRevealed(1, OTHER))
        await machine.until(lambda: len(machine.seen) == 2)
    assert machine.seen[1] == EffectFailed(FetchBlob, BLOB, "this node does not do FetchBlob", False)


async def test_chain_is_tried_again_with_growing_pauses(autojump_clock: trio.testing.MockClock) -> None:
    hand = Hand(lambda _: TransactionMined(SealEpoch, b"", 3))
    hand.errors = [ChainError("no endpoint answers", transient=True) for _ in range(3)]
    machine = Notebook(on(BlockSeen, SealEpoch(7)))
    async with running(machine, Paper(), {SealEpoch: hand}) as driver:
        started = trio.current_time()
        await driver.deliver(BlockSeen(1, 1, 1))
        await machine.until(lambda: len(machine.seen) == 2)
        assert trio.current_time() - started == pytest.approx(0.5 + 1 + 2, abs=0.1)
    assert machine.seen[1] == TransactionMined(SealEpoch, b"", 3)
    assert len(hand.asked) == 4


async def test_chain_is_not_tried_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    hand = Hand(fetched)
    hand.errors = [ChainError("no endpoint answers", transient=True) for _ in range(99)]
    machine = Notebook(on(BlockSeen, SealEpoch(7)))
    async with running(machine, Paper(), {SealEpoch: hand}) as driver:
        await driver.deliver(BlockSeen(1, 1, 1))
        await machine.until(lambda: len(machine.seen) == 2)
    assert machine.seen[1] == EffectFailed(SealEpoch, (7).to_bytes(8, "big"), "no endpoint answers", True)
    assert len(hand.asked) == performing.TRIES


async def test_refusal_of_a_contract_is_not_tried_again() -> None:
    hand = Hand(fetched)
    hand.errors = [ChainError("Reverted: TooEarly()")]
    machine = Notebook(on(BlockSeen, SealEpoch(7)))
    async with running(machine, Paper(), {SealEpoch: hand}) as driver:
        await driver.deliver(BlockSeen(1, 1, 1))
        await machine.until(lambda: len(machine.seen) == 2)
    assert len(hand.asked) == 1


async def test_message_that_cannot_matter_takes_no_place_on_the_disk() -> None:
    paper, machine = Paper(), Notebook(lambda event: ())
    async with running(machine, paper) as driver:
        await driver.deliver(MessageReceived(PeerId("stranger"), ResultQuery(BLOB)))
        await driver.deliver(MessageReceived(PEER, ResultQuery(BLOB)))
    assert len(paper.rows) == 1
    assert machine.seen == [MessageReceived(PEER, ResultQuery(BLOB))]


async def test_messages_are_judged_one_after_the_other_and_what_breaks_a_rule_is_not_kept() -> None:
    paper, net = Paper(), Net()

    class Once(Notebook):
        """Takes one message, and one only."""

        def judge(self, received: MessageReceived, now_ms: TimestampMs) -> Event | None:
            if self.seen:
                raise BadSignature("not its key")
            return received

    machine = Once(lambda event: ())
    async with running(machine, paper, net=net) as driver, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(driver.deliver, MessageReceived(PEER, ResultQuery(BLOB)))
    assert len(paper.rows) == len(machine.seen) == 1
    assert [type(error) for _, error in net.blamed] == [BadSignature] * 19


async def test_peer_that_breaks_the_protocol_pays_and_the_daemon_goes_on() -> None:
    def rules(event: Event) -> tuple[Effect, ...]:
        if isinstance(event, MessageReceived):
            raise BadSignature("not its key")
        return ()

    net, machine = Net(), Notebook(rules)
    paper = Paper()
    async with running(machine, paper, net=net) as driver:
        await driver.deliver(MessageReceived(PEER, ResultQuery(BLOB)))
        await driver.deliver(BlobFetched(BLOB))
    assert [(peer, type(error)) for peer, error in net.blamed] == [(PEER, BadSignature)]
    assert machine.seen[-1] == BlobFetched(BLOB)
    # The fold meets the same message and absorbs it, without charging the peer again.
    net, machine = Net(), Notebook(rules)
    async with running(machine, Paper(paper.rows), net=net):
        pass
    assert net.blamed == []
    assert len(machine.seen) == 2


BUGS = [
    *(LocalProtocolError("we signed twice"), AssertionError("impossible"), ValueError("too much"), KeyError("no such")),
    *(OverflowError("too big"), RecursionError("too deep"), ExceptionGroup("two", [ValueError(), TypeError()])),
]


def raises(bug: Exception, wanted: type[Event]) -> Callable[[Event], Wishes]:
    """Rules under which a role raises at every event of a kind, but one."""

    def rules(event: Event) -> Wishes:
        if isinstance(event, wanted) and event != BlobFetched(OTHER):
            raise bug
        return ()

    return rules


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
async def test_event_at_which_a_role_raises_is_set_aside_and_never_met_again(bug: Exception) -> None:
    paper, machine = Paper(), Notebook(raises(bug, BlobFetched))
    async with running(machine, paper) as driver:
        await driver.deliver(SeedRevealed(1, OTHER))
        await driver.deliver(BlobFetched(BLOB))
        await driver.deliver(BlobFetched(OTHER))
    assert [(seq, event) for seq, event, _ in paper.aside] == [(2, "BlobFetched")]
    assert type(bug).__name__ in paper.aside[0][2]
    # The machine is what the other events made it, once more from the first one on.
    assert machine.seen[:2] == [SeedRevealed(1, OTHER), BlobFetched(OTHER)]
    later = Notebook(raises(bug, BlobFetched))
    async with running(later, paper):
        pass
    assert later.seen[:2] == [SeedRevealed(1, OTHER), BlobFetched(OTHER)]
    assert len(paper.aside) == 1


@pytest.mark.parametrize("error", [MemoryError(), ConfigError("the disk is full")])
async def test_what_is_no_bug_of_a_role_stops_the_daemon(error: Exception) -> None:
    paper = Paper()
    with pytest.RaisesGroup(pytest.RaisesGroup(type(error))):
        async with running(Notebook(raises(error, BlobFetched)), paper) as driver:
            await driver.report(BlobFetched(BLOB))
            await trio.sleep_forever()
    assert paper.aside == []


ADAPTER_BUGS = [*BUGS, ExceptionGroup("nursery", [P2PError("gone"), KeyError("a bug beside it")])]


@pytest.mark.parametrize("bug", ADAPTER_BUGS, ids=lambda bug: type(bug).__name__)
async def test_bug_of_an_adapter_is_a_failure_of_its_effect_and_is_told(
    bug: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    paper, machine, hand = Paper(), Notebook(on(SeedRevealed, FetchBlob(BLOB, ()))), Hand(fetched)
    hand.errors = [bug]
    async with running(machine, paper, {FetchBlob: hand}) as driver:
        await driver.deliver(SeedRevealed(1, OTHER))
        await machine.until(lambda: len(machine.seen) == 2)
    failed = machine.seen[1]
    assert isinstance(failed, EffectFailed)
    assert (failed.effect, failed.about, failed.transient) == (FetchBlob, BLOB, False)
    worst = {"nursery": "KeyError", "two": "ValueError"}
    kind = worst[bug.message] if isinstance(bug, ExceptionGroup) else type(bug).__name__
    assert kind in failed.reason
    assert [(seq, event) for seq, event, _ in paper.aside] == [(0, "the effect FetchBlob")]
    assert kind in paper.aside[0][2]
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert line.message.startswith(f"the effect FetchBlob is set aside: {kind}")


async def test_start_meets_the_bug_of_an_adapter_once() -> None:
    paper = Paper([(SeedRevealed(1, OTHER), 0, None)])
    hand = Hand(fetched)
    hand.errors = [KeyError("a bug"), KeyError("a bug")]
    machines = [Notebook(on(SeedRevealed, FetchBlob(BLOB, ()))) for _ in range(2)]
    for machine in machines:
        async with running(machine, paper, {FetchBlob: hand}):
            await machine.until(lambda seen=machine.seen: len(seen) == 2)  # type: ignore[misc]
    assert [type(machine.seen[1]) for machine in machines] == [EffectFailed, EffectFailed]
    assert len(hand.asked) == 1


async def test_bug_that_an_adapter_has_in_every_effect_is_set_aside_once_a_minute() -> None:
    paper, machine, hand = Paper(), Notebook(on(SeedRevealed, FetchBlob(BLOB, ()), FetchBlob(OTHER, ()))), Hand(fetched)
    hand.errors = [KeyError("a bug"), KeyError("a bug")]
    async with running(machine, paper, {FetchBlob: hand}) as driver:
        await driver.deliver(SeedRevealed(1, OTHER))
        await machine.until(lambda: len(machine.seen) == 3)
    assert [type(event) for event in machine.seen[1:]] == [EffectFailed, EffectFailed]
    assert len(paper.aside) == 1


@pytest.mark.parametrize("error", [MemoryError(), ConfigError("the disk is full")])
async def test_adapter_that_cannot_write_to_the_disk_stops_the_daemon(error: Exception) -> None:
    paper, hand = Paper(), Hand(fetched)
    hand.errors = [ExceptionGroup("nursery", [error])]
    machine = Notebook(on(SeedRevealed, FetchBlob(BLOB, ())))
    with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesGroup(type(error)))):
        async with running(machine, paper, {FetchBlob: hand}) as driver:
            await driver.report(SeedRevealed(1, OTHER))
            await trio.sleep_forever()
    assert paper.aside == []


async def test_rest_of_a_commit_is_handled_after_one_event_of_it_was_set_aside() -> None:
    paper, machine = Paper(), Notebook(raises(ValueError(), BlobFetched))
    async with running(machine, paper) as driver:
        paper.held = trio.Event()
        await driver.report(SeedRevealed(1, OTHER))
        await trio.testing.wait_all_tasks_blocked()
        for event in (SeedRevealed(2, OTHER), BlobFetched(BLOB), SeedRevealed(3, OTHER)):
            await driver.report(event)
        paper.held.set()
        await driver.settled()
    assert paper.commits == [1, 3]
    assert machine.seen == [SeedRevealed(number, OTHER) for number in (1, 2, 3)]


def two_blobs(event: Event) -> Wishes:
    """At every seed a blob, and after the first one a second."""
    match event:
        case SeedRevealed():
            return (FetchBlob(BLOB, ()),)
        case BlobFetched(cid) if cid == BLOB:
            return (FetchBlob(OTHER, ()),)
    return ()


async def compacted(machine: Notebook, journal: Journal, monkeypatch: pytest.MonkeyPatch, hand: Hand) -> None:
    """Run a node until a snapshot has taken the place of its first rows, and a few more have come."""
    monkeypatch.setattr(folding, "COMPACT_ROWS", 3)
    async with running(machine, journal, {FetchBlob: hand}) as driver:
        for number in range(3):
            await driver.deliver(SeedRevealed(number, OTHER))
        with trio.fail_after(60):
            while journal.snapshot() is None:
                await trio.lowlevel.checkpoint()
        hand.free.set()
        await machine.until(lambda: BlobFetched(OTHER) in machine.seen)


async def test_snapshot_takes_the_place_of_rows_and_the_next_start_goes_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_journal(tmp_path) as journal:
        machine, hand = Notebook(two_blobs), Hand(fetched)
        hand.free = trio.Event()
        await compacted(machine, journal, monkeypatch, hand)
        saved = journal.snapshot()
        assert saved is not None
        assert next(journal.rows_before(after=saved.seq))[0] == saved.seq + 1
        assert len(list(journal.read_all())) <= 3
    with open_journal(tmp_path) as journal:
        again, other = Notebook(two_blobs), Hand(fetched)
        async with running(again, journal, {FetchBlob: other}):
            pass
        assert again.seen == machine.seen
        assert again.times == machine.times
        assert other.asked == []


async def test_effects_that_were_open_at_the_snapshot_are_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_journal(tmp_path) as journal:
        machine, hand = Notebook(two_blobs), Hand(fetched)
        hand.free = trio.Event()
        monkeypatch.setattr(folding, "COMPACT_ROWS", 1)
        async with running(machine, journal, {FetchBlob: hand}) as driver:
            await driver.deliver(SeedRevealed(1, OTHER))
            with trio.fail_after(60):
                while journal.snapshot() is None:
                    await trio.lowlevel.checkpoint()
        again, other = Notebook(two_blobs), Hand(fetched)
        async with running(again, journal, {FetchBlob: other}):
            await again.until(lambda: BlobFetched(OTHER) in again.seen)
        assert again.seen == [SeedRevealed(1, OTHER), BlobFetched(BLOB), BlobFetched(OTHER)]
        assert other.asked == [FetchBlob(BLOB, ()), FetchBlob(OTHER, ())]


@pytest.mark.parametrize(
    "change", ["version = 2", "state = x'00'", "state = x'789c010200fdff636101440029'", "pending = x'789c010200fdff'"]
)
async def test_snapshot_that_cannot_be_read_stops_the_start_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    with open_journal(tmp_path) as journal:
        await compacted(Notebook(two_blobs), journal, monkeypatch, Hand(fetched))
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute(f"UPDATE snapshot SET {change}")
    db.close()

    class Strict(Notebook):
        def restore(self, saved: bytes) -> None:
            try:
                super().restore(saved)
            except Exception as error:
                raise Malformed("no state") from error

    with open_journal(tmp_path) as journal, pytest.raises(ConfigError, match=r"snapshot cannot be read|is damaged"):
        await Driver(Strict(two_blobs), journal, {}, clock_ms, Net()).fold()


async def test_row_that_cannot_be_folded_is_compacted_by_no_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the machine that runs sets rows aside: the other one has folded what it has handled, and so must agree."""
    monkeypatch.setattr(folding, "COMPACT_ROWS", 2)
    with open_journal(tmp_path) as journal:
        machine = Notebook(raises(ValueError(), BlobFetched))
        async with running(machine, journal) as driver:
            await driver.deliver(SeedRevealed(1, OTHER))
            await driver.deliver(BlobFetched(BLOB))
            await driver.deliver(SeedRevealed(2, OTHER))
            with trio.fail_after(60):
                while journal.snapshot() is None:
                    await trio.lowlevel.checkpoint()
        again = Notebook(raises(ValueError(), BlobFetched))
        async with running(again, journal):
            pass
        assert again.seen == [SeedRevealed(1, OTHER), SeedRevealed(2, OTHER)]


async def test_rows_that_raise_at_the_start_keep_no_node_down() -> None:
    bad = [(BlobFetched(bytes([number]) * 32), number, None) for number in range(100, 120)]
    paper, machine = Paper([(SeedRevealed(1, OTHER), 1, None), *bad, (BlobFetched(OTHER), 9, None)]), None
    machine = Notebook(raises(KeyError("gone"), BlobFetched))
    async with running(machine, paper):
        pass
    assert [seq for seq, _, _ in paper.aside] == list(range(2, 22))
    again = Notebook(raises(KeyError("gone"), BlobFetched))
    async with running(again, paper):
        pass
    assert again.seen[:2] == [SeedRevealed(1, OTHER), BlobFetched(OTHER)]
    assert len(paper.aside) == 20


async def test_answer_that_is_set_aside_is_a_failure_of_its_effect() -> None:
    effect = FetchBlob(BLOB, ())

    def rules(event: Event) -> Wishes:
        if isinstance(event, BlobFetched):
            raise ValueError("not this one")
        return (effect,) if isinstance(event, SeedRevealed) else ()

    paper, machine, hand = Paper(), Notebook(rules), Hand(fetched)
    async with running(machine, paper, {FetchBlob: hand}) as driver:
        await driver.deliver(SeedRevealed(1, OTHER))
        await machine.until(lambda: any(isinstance(event, EffectFailed) for event in machine.seen))
        assert driver.pending == {}
    failed = machine.seen[-1]
    assert isinstance(failed, EffectFailed)
    assert (failed.about, failed.transient) == (BLOB, False)
    assert "not this one" in failed.reason
    assert paper.rows[-1] == (failed, paper.rows[-1][1], effect_key(effect))
    # Killed before that was on the disk, the node asks once more.
    hand = Hand(fetched)
    machine = Notebook(rules)
    async with running(machine, Paper(paper.rows[:-1]), {FetchBlob: hand}):
        await machine.until(lambda: any(isinstance(event, EffectFailed) for event in machine.seen))
    assert hand.asked == [effect]


async def test_peer_at_whose_word_a_role_raises_pays_and_gets_no_fold_for_each() -> None:
    net, paper, machine = Net(), Paper(), Notebook(raises(ValueError(), MessageReceived))
    now_ms = 0
    async with running(machine, paper, net=net, at_ms=lambda: now_ms) as driver:
        at_start = machine.folds
        for number in range(50):
            await driver.deliver(MessageReceived(PEER, ResultQuery(bytes([number]) * 32)))
        assert machine.folds - at_start == folding.FOLDS.burst
        # The kind is not taken from anybody, until a fold is left for it.
        assert len(paper.aside) == folding.FOLDS.burst
        assert [type(error) for _, error in net.blamed] == [Malformed] * len(paper.aside)
        await driver.deliver(BlobFetched(OTHER))
        now_ms += folding.FOLDS.period_ms
        await driver.deliver(MessageReceived(PEER, ResultQuery(BLOB)))
        assert machine.folds - at_start == folding.FOLDS.burst + 1
    assert BlobFetched(OTHER) in machine.seen


async def test_burst_of_words_at_which_a_role_raises_costs_no_more_folds() -> None:
    paper, machine = Paper(), Notebook(raises(ValueError(), MessageReceived))
    async with running(machine, paper, at_ms=lambda: 0) as driver:
        at_start = machine.folds
        paper.held = trio.Event()
        for number in range(50):
            await driver.report(MessageReceived(PEER, ResultQuery(bytes([number]) * 32)))
        paper.held.set()
        await driver.settled()
        assert machine.folds - at_start == folding.FOLDS.burst
    assert len(paper.aside) == 50
    assert all(event is None for event, _, _ in paper.rows)


async def test_word_that_cannot_be_judged_costs_its_peer_and_takes_no_place() -> None:
    class Hasty(Notebook):
        def judge(self, received: MessageReceived, now_ms: TimestampMs) -> Event | None:
            raise KeyError("nothing of this")

    net, paper = Net(), Paper()
    async with running(Hasty(nothing), paper, net=net) as driver:
        await driver.deliver(MessageReceived(PEER, ResultQuery(BLOB)))
    assert [(peer, type(error)) for peer, error in net.blamed] == [(PEER, Malformed)]
    assert paper.rows == []


async def test_bug_at_every_tick_is_told_now_and_then_and_mended_when_a_fold_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Restless(Notebook):
        def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
            if isinstance(event, Tick):
                raise RuntimeError("at every tick")
            return super().handle(event, now_ms)

    paper, machine = Paper(), Restless(nothing)
    async with running(machine, paper) as driver:
        at_start = machine.folds
        await driver.deliver(BlobFetched(BLOB))
        await trio.sleep(600)
        assert len(paper.aside) <= 11
        assert machine.folds - at_start <= folding.FOLDS.burst + 10
    assert machine.seen == [BlobFetched(BLOB)]


async def test_deadline_passes_at_its_time(autojump_clock: trio.testing.MockClock) -> None:
    wanted = (AwaitDeadline(LATE, 25_000), AwaitDeadline(EARLY, 3_000), AwaitDeadline(PAST, 0))
    machine, paper = Notebook(on(BlobFetched, *wanted)), Paper()
    async with running(machine, paper) as driver:
        await driver.deliver(BlobFetched(BLOB))
        await trio.sleep(30)
    assert machine.seen[1:] == [DeadlinePassed(PAST), DeadlinePassed(EARLY), DeadlinePassed(LATE)]
    assert machine.times[2:] == pytest.approx([3_000, 25_000], abs=20)
    assert [row[2] for row in paper.rows[1:]] == [effect_key(wanted[2]), effect_key(wanted[1]), effect_key(wanted[0])]


async def test_deadline_missed_while_the_daemon_was_down_passes_at_once(autojump_clock: trio.testing.MockClock) -> None:
    machine = Notebook(on(BlobFetched, AwaitDeadline(PAST, 1)))
    async with running(machine, Paper([(BlobFetched(BLOB), 0, None)])):
        await machine.until(lambda: len(machine.seen) == 2)
    assert machine.seen[1] == DeadlinePassed(PAST)


async def test_clock_that_was_set_forward_is_noticed(autojump_clock: trio.testing.MockClock) -> None:
    ahead_ms = 0
    machine = Notebook(on(BlobFetched, AwaitDeadline(LATE, 3_600_000)))
    built = Driver(machine, Paper(), {}, lambda: clock_ms() + ahead_ms, Net())
    await built.fold()
    async with trio.open_nursery() as nursery:
        await nursery.start(built.run)
        await built.deliver(BlobFetched(BLOB))
        ahead_ms = 3_600_000
        await trio.sleep(clockwork.LONGEST_SLEEP_S + 0.1)
        assert machine.seen[-1] == DeadlinePassed(LATE)
        nursery.cancel_scope.cancel()


async def test_second_ticks(autojump_clock: trio.testing.MockClock) -> None:
    ticks = 0

    class Counting(Notebook):
        def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
            nonlocal ticks
            ticks += isinstance(event, Tick)
            return ()

    async with running(Counting(nothing), Paper()):
        await trio.sleep(10.5)
    assert ticks == 10


async def test_observer_sees_events_and_a_slow_one_misses_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "BACKLOG", 2)
    async with running(Notebook(nothing), Paper()) as driver:
        observer = driver.subscribe()
        gone = driver.subscribe()
        gone.close()
        for number in range(4):
            await driver.deliver(BlockSeen(number, 0, 0))
        assert [observer.receive_nowait(), observer.receive_nowait()] == [BlockSeen(0, 0, 0), BlockSeen(1, 0, 0)]
        assert driver.missed == 2


async def test_overload_holds_facts_back_but_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "MAX_PENDING", 2)
    hand = Hand(fetched)
    hand.free = trio.Event()
    machine = Notebook(lambda event: (FetchBlob(event.seed, ()),) if isinstance(event, SeedRevealed) else ())
    async with running(machine, Paper(), {FetchBlob: hand}) as driver, trio.open_nursery() as nursery:
        await driver.deliver(SeedRevealed(1, BLOB))
        await driver.deliver(SeedRevealed(2, OTHER))
        for number in (3, 4):
            nursery.start_soon(driver.report, SeedRevealed(number, bytes([number]) * 32))
        await trio.testing.wait_all_tasks_blocked()
        assert len(hand.asked) == 2
        hand.free.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(hand.asked) == 4
