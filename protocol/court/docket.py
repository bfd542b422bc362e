"""The docket: every batch that the chain told of, its case and its audit, folded once for all roles and views.

Told twice: an event moves a batch, case, seat or audit forward by `phases`, or changes nothing. A seat, a round, a
challenge, a demand, a slash and an audit count by their first telling, so a watcher may tell any stretch of the past
again. Reorganisations: only final events arrive here. A batch that a reorganisation has given another id is another
batch; no entry is taken back.
"""

from dataclasses import dataclass, field

from protocol import events as ev
from protocol.court.phases import (
    BATCH_TRANSITIONS,
    CASE_TRANSITIONS,
    SEAT_TRANSITIONS,
    BatchPhase,
    CasePhase,
    SeatPhase,
    phase_after,
)
from protocol.params import BPS
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, BatchId

BATCHES_KEPT = 4_096

BatchEvent = ev.BatchChallenged | ev.MoneyEvent | ev.NodeSlashed | ev.CaseEvent | ev.AuditEvent
"""Events about a batch that was submitted."""


@dataclass(slots=True)
class DocketSeat:
    """A seat that a case ever had. since: when it was drawn, in seconds of the chain; scores: one a drawn leaf."""

    node: Address
    since: int
    phase: SeatPhase = SeatPhase.DRAWN
    scores: tuple[int, ...] = ()
    digest: bytes = b""
    llr_millinats: int = 0

    @property
    def is_bound(self) -> bool:
        """Whether it has committed to what it computed."""
        return self.phase in (SeatPhase.COMMITTED, SeatPhase.REVEALED)

    @property
    def has_revealed(self) -> bool:
        """Whether its scores are known."""
        return self.phase is SeatPhase.REVEALED

    def apply(self, event: ev.SeatEvent) -> bool:
        """Whether an event is news of this seat."""
        after = phase_after(SEAT_TRANSITIONS, self.phase, event)
        if after is None:
            return False
        self.phase = after
        if isinstance(event, ev.SeatRevealed):
            self.scores, self.digest, self.llr_millinats = event.scores, event.digest, event.llr_millinats
        return True


@dataclass(slots=True)
class DocketCase:
    """A case as every node sees it; times in seconds of the chain, 0 for what has not happened."""

    drawn: tuple[int, ...] = ()
    seats: dict[int, DocketSeat] = field(default_factory=dict)
    """Those of all rounds, silent ones too, by their numbers, which run on from round to round."""
    phase: CasePhase = CasePhase.SITTING
    round: int = 0
    first_seat: int = 0
    """The first seat of the present round."""
    appeal_until_s: int = 0
    """When a finding of fraud has waited long enough; 0 while there is none."""
    demand: ev.DataDemanded | None = None
    """The one demand for data on chain that a case may have."""
    answered_at_s: int = 0
    verdict: Verdict = Verdict.NONE
    median: int = 0

    @property
    def sitting(self) -> dict[int, DocketSeat]:
        """The seats whose turn it is: those of the present round that were not silenced."""
        silent = SeatPhase.SILENT
        return {
            number: seat for number, seat in self.seats.items() if number >= self.first_seat and seat.phase != silent
        }

    @property
    def revealed(self) -> dict[int, DocketSeat]:
        """The seats of all rounds that have revealed, in order."""
        return {number: seat for number, seat in sorted(self.seats.items()) if seat.has_revealed}

    @property
    def are_all_bound(self) -> bool:
        """Whether every sitting seat has committed: only then may any of them be shown a fingerprint, and reveal."""
        return all(seat.is_bound for seat in self.sitting.values())

    @property
    def have_all_revealed(self) -> bool:
        """Whether every sitting seat has revealed."""
        return all(seat.has_revealed for seat in self.sitting.values())

    @property
    def is_open(self) -> bool:
        """Whether there is no verdict yet."""
        return self.phase is not CasePhase.CLOSED

    def seat_of(self, node: Address) -> int | None:
        """The sitting seat of a node."""
        return next((number for number, seat in self.sitting.items() if seat.node == node), None)

    def apply(self, event: ev.CaseEvent) -> bool:
        """Whether an event is news of this case."""
        match event:
            case ev.SeatAdded(seat=number, node=node, timestamp=timestamp) if number not in self.seats:
                self.seats[number] = DocketSeat(node, timestamp)
                return True
            case ev.SeatCommitted() | ev.SeatRevealed() | ev.SeatSilenced():
                seat = self.seats.get(event.seat)
                return seat is not None and seat.apply(event)
        after = phase_after(CASE_TRANSITIONS, self.phase, event)
        if after is None or not self._is_next(event):
            return False
        self.phase = after
        match event:
            case ev.DataDemanded():
                self.demand = event
            case ev.DataAnswered(timestamp=timestamp):
                self.answered_at_s = timestamp
            case ev.CaseDecided(until=until):
                self.appeal_until_s = until
            case ev.CaseGrown():
                self.round, self.first_seat, self.appeal_until_s = event.round, event.first_seat, 0
            case ev.CaseResolved():
                self.verdict, self.median = event.verdict, event.median
        return True

    def _is_next(self, event: ev.CaseEvent) -> bool:
        """Whether an event that the phase allows was not told in an earlier round, or before that phase."""
        match event:
            case ev.DataDemanded():
                return self.demand is None
            case ev.CaseDecided():
                return not self.round
            case ev.CaseGrown(round=number):
                return number > self.round
            case ev.CaseResolved(verdict=verdict):
                return self.is_open or (self.verdict is Verdict.PASS and verdict is not Verdict.PASS)
            case _:
                return True


@dataclass(slots=True)
class DocketAudit:
    """The audit of a case that passed; since: when it was convened, in seconds of the chain."""

    auditors: tuple[Address, ...]
    since: int
    committed: set[int] = field(default_factory=set)
    revealed: set[int] = field(default_factory=set)
    ended: bool = False

    def apply(self, event: ev.AuditEvent) -> bool:
        """Whether an event is news of this audit."""
        match event:
            case ev.AuditEnded() if not self.ended:
                self.ended = True
            case ev.AuditCommitted(auditor=place) if place not in self.committed:
                self.committed.add(place)
            case ev.AuditRevealed(auditor=place) if place not in self.revealed:
                self.revealed.add(place)
            case _:
                return False
        return True


@dataclass(slots=True)
class DocketBatch:
    """A batch of any node, with its case and audit once they are convened; amounts in wei."""

    submitted: ev.BatchSubmitted
    phase: BatchPhase = BatchPhase.PENDING
    challenged: bool = False
    """Whether a client has put up a bond to have every leaf checked."""
    case: DocketCase | None = None
    audit: DocketAudit | None = None
    settled: ev.BatchSettled | None = None
    refunded: int = 0
    slashed: int = 0
    """Stake that its node has lost; silent seats lose stake in the same case, which does not count here."""

    @property
    def batch_id(self) -> BatchId:
        """Its name, and that of its case."""
        return BatchId(self.submitted.batch_id)

    @property
    def rate_bps(self) -> int:
        """The share of its leaves that is drawn, in basis points."""
        return BPS if self.challenged else self.submitted.rate_bps

    @property
    def is_over(self) -> bool:
        """Whether its money has reached its place."""
        return not BATCH_TRANSITIONS[self.phase]

    @property
    def is_condemned(self) -> bool:
        """Whether its clients get their money back: it is void, or has a verdict that makes it so."""
        return self.phase is BatchPhase.VOID or self.verdict not in (Verdict.NONE, Verdict.PASS)

    @property
    def verdict(self) -> Verdict:
        """The verdict; NONE while there is none."""
        return self.case.verdict if self.case else Verdict.NONE

    @property
    def drawn(self) -> tuple[int, ...]:
        """The leaves that its case is about; none before it is convened."""
        return self.case.drawn if self.case else ()

    def apply(self, event: BatchEvent) -> bool:
        """Whether an event is news of this batch."""
        match event:
            case ev.BatchSettled() | ev.BatchVoided() | ev.BatchRefunded():
                return self._move(event)
            case ev.BatchChallenged() if not self.challenged:
                self.challenged = True
            case ev.NodeSlashed(node=node, amount=amount) if node == self.submitted.node and not self.slashed:
                self.slashed = amount
            case ev.CaseConvened() if self.case is None:
                seats = {number: DocketSeat(node, event.timestamp) for number, node in enumerate(event.seats)}
                self.case = DocketCase(event.drawn, seats)
            case ev.CaseResolved() if self.case is None:
                # A fraud proof may condemn a batch before any court sits over it.
                self.case = DocketCase()
                return self.case.apply(event)
            case ev.AuditConvened() if self.audit is None:
                self.audit = DocketAudit(event.auditors, event.timestamp)
            case ev.AuditCommitted() | ev.AuditRevealed() | ev.AuditEnded():
                return self.audit is not None and self.audit.apply(event)
            case ev.BatchChallenged() | ev.NodeSlashed() | ev.CaseConvened() | ev.AuditConvened():
                return False
            case _:
                return self.case is not None and self.case.apply(event)
        return True

    def _move(self, event: ev.MoneyEvent) -> bool:
        after = phase_after(BATCH_TRANSITIONS, self.phase, event)
        if after is None:
            return False
        self.phase = after
        if isinstance(event, ev.BatchSettled):
            self.settled = event
        elif isinstance(event, ev.BatchRefunded):
            self.refunded = event.amount
        return True


@dataclass(slots=True)
class Docket:
    """Batches by their ids, oldest first. Beyond `BATCHES_KEPT` those go first whose money has reached its place."""

    batches: dict[BatchId, DocketBatch] = field(default_factory=dict)
    _held: set[BatchId] = field(default_factory=set)

    def batch(self, batch_id: bytes) -> DocketBatch | None:
        """A batch of any node."""
        return self.batches.get(BatchId(batch_id))

    def case(self, batch_id: bytes) -> DocketCase | None:
        """The case about a batch."""
        batch = self.batch(batch_id)
        return batch.case if batch else None

    def hold(self, batch_id: bytes) -> None:
        """Keep a batch until its money has reached its place: this node has a part in it."""
        self._held.add(BatchId(batch_id))

    def apply(self, event: ev.Event) -> bool:
        """Take an event in.

        Returns: False if the event is about a batch and changes nothing, so that no role need hear it; else True.
        """
        if isinstance(event, ev.BatchSubmitted):
            return self._submitted(event)
        if not isinstance(event, BatchEvent):
            return True
        batch = self.batch(event.batch_id)
        if batch is None or not batch.apply(event):
            return False
        if batch.is_over:
            self._held.discard(batch.batch_id)
        return True

    def _submitted(self, event: ev.BatchSubmitted) -> bool:
        # No contract has an empty batch, or draws one of a stratum with a broken size.
        possible = event.leaf_count > 0 and event.rate_bps > 0 and BPS % event.rate_bps == 0
        if BatchId(event.batch_id) in self.batches or not possible:
            return False
        if len(self.batches) >= BATCHES_KEPT:
            free = (name for name in self.batches if name not in self._held)
            over = (name for name, batch in self.batches.items() if batch.is_over)
            oldest = next(over, None) or next(free, None)
            if oldest is not None:
                del self.batches[oldest]
        self.batches[BatchId(event.batch_id)] = DocketBatch(event)
        return True
