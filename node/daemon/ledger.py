"""What the daemon remembers beside its machine, to show it: what was asked, how cases went, where the money went.

A fold over the same events as the machine, so that the journal gives it back after a restart. It decides nothing.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from protocol.effects import Effect
from protocol.events import (
    BatchRefunded,
    BatchSettled,
    BatchSubmitted,
    BatchVoided,
    CaseConvened,
    CaseDecided,
    CaseGrown,
    CaseResolved,
    Event,
    JobAsked,
    MessageReceived,
    NodeSlashed,
    SeatAdded,
    SeatCommitted,
    SeatRevealed,
    SeatSilenced,
)
from protocol.roles.machine import Machine
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, BatchId, TimestampMs

KEPT = 4_096
"""Asks and batches; the oldest go first."""
DECIDED = "found guilty, open to an appeal"


@dataclass(slots=True)
class SeatStory:
    """A seat of a case: drawn, committed, revealed or silent."""

    node: Address
    state: str = "drawn"
    scores: tuple[int, ...] = ()


@dataclass(slots=True)
class BatchStory:
    """A batch of any node, and the case about it; amounts in wei."""

    submitted: BatchSubmitted
    state: str = "pending"
    drawn: tuple[int, ...] = ()
    seats: dict[int, SeatStory] = field(default_factory=dict)
    verdict: Verdict = Verdict.NONE
    median: int = 0
    settled: BatchSettled | None = None
    refunded: int = 0
    slashed: int = 0


class Ledger:
    """The stories, each by its id."""

    def __init__(self) -> None:
        self.asks: OrderedDict[bytes, JobAsked] = OrderedDict()
        self.batches: OrderedDict[BatchId, BatchStory] = OrderedDict()

    def observe(self, event: Event) -> None:
        """Take one event into the stories."""
        match event:
            case JobAsked(ask_id=ask_id):
                self.asks[ask_id] = event
                _shorten(self.asks)
            case BatchSubmitted(batch_id=batch_id):
                self.batches[BatchId(batch_id)] = BatchStory(event)
                _shorten(self.batches)
            case _:
                story = self.batches.get(BatchId(getattr(event, "batch_id", b"")))
                if story is not None:
                    _continue(story, event)


class Witness:
    """A machine whose events the ledger sees, too, also those of the fold. For the driver it is the machine."""

    def __init__(self, machine: Machine, ledger: Ledger) -> None:
        self._machine = machine
        self._ledger = ledger

    def start(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """As the machine."""
        return self._machine.start(now_ms)

    def expects(self, received: MessageReceived) -> bool:
        """As the machine."""
        return self._machine.expects(received)

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """As the machine. Raises: RemoteProtocolError."""
        self._ledger.observe(event)
        return self._machine.handle(event, now_ms)


def _continue(story: BatchStory, event: Event) -> None:
    match event:
        case CaseConvened(drawn=drawn, seats=seats):
            story.state, story.drawn = "in court", drawn
            story.seats = {seat: SeatStory(node) for seat, node in enumerate(seats)}
        case SeatAdded(seat=seat, node=node):
            story.seats[seat] = SeatStory(node)
        case SeatSilenced(seat=seat, node=node):
            story.seats.setdefault(seat, SeatStory(node)).state = "silent"
        case SeatCommitted(seat=seat) if seat in story.seats:
            story.seats[seat].state = "committed"
        case SeatRevealed(seat=seat, node=node, scores=scores):
            story.seats[seat] = SeatStory(node, "revealed", scores)
        case CaseGrown():
            story.state = "in court"
        case CaseDecided():
            story.state = DECIDED
        case CaseResolved(verdict=verdict, median=median):
            story.state, story.verdict, story.median = "closed", verdict, median
        case BatchSettled():
            story.state, story.settled = "final", event
        case BatchVoided():
            story.state = "void"
        case BatchRefunded(amount=amount):
            story.state, story.refunded = "refunded", amount
        case NodeSlashed(node=node, amount=amount) if node == story.submitted.node:
            # Seats that stayed silent lose stake in the same case.
            story.slashed += amount
        case _:
            pass


def _shorten(stories: OrderedDict[bytes, JobAsked] | OrderedDict[BatchId, BatchStory]) -> None:
    while len(stories) > KEPT:
        stories.popitem(last=False)
