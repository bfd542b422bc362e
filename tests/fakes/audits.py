"""Audits as plain Python: cases that passed and are checked once more, and who sat in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from chain.abi.enums import BatchState, SeatState
from protocol.events import AuditCommitted, AuditConvened, AuditEnded, AuditRevealed
from protocol.params import (
    AUDIT_LATEST_EPOCHS,
    AUDITORS,
    BPS,
    NO_SHOW_BPS,
    PENALTY_LIGHT,
    REVIEW_ABOVE_BPS,
)
from protocol.stages.commitment import BatchContents
from protocol.stages.sampling import draw_order, epoch_of, is_audited, seed_block
from protocol.stages.verification import NOTHING_SHOWN_BPS, Verdict, audit_commitment
from protocol.wire.ids import ZERO_HASH, Address, BatchId
from tests.fakes.contracts import MemoryBatch, Refused
from tests.fakes.court import EPOCH_BITS, TICKETS_PER_SEAT
from tests.fakes.fraud_proofs import FraudProofs

LIE_DIVISOR = 10
LIE_PAYS = 40
NO_AUDIT = frozenset({"NotDrawn", "NotPassed", "TooFewAuditors", "TooLate", "WrongState", "WrongContents"})
"""The state that excludes a court for good."""


@dataclass(frozen=True)
class MemoryAuditor:
    """One of the three, and what it has found."""

    node: Address
    state: SeatState = SeatState.DRAWN
    commitment: bytes = ZERO_HASH
    off: tuple[int, ...] = ()
    score: int = 0


@dataclass(frozen=True)
class MemoryAudit:
    """An audit since it was convened; `due` is what its auditors share at its end."""

    node: Address
    slot: int
    since: int
    due: int
    auditors: tuple[MemoryAuditor, ...]
    ended: bool = False

    def count(self, state: SeatState) -> int:
        return sum(each.state is state for each in self.auditors)

    @property
    def heard(self) -> list[MemoryAuditor]:
        return [each for each in self.auditors if each.state is SeatState.REVEALED]

    @property
    def finds_fraud(self) -> bool:
        """Whether all three have seen the node's leaves and find them false."""
        return len(self.heard) == AUDITORS and all(each.score <= REVIEW_ABOVE_BPS for each in self.heard)

    def finds_off(self, seat: int) -> bool:
        """Whether two say so of a seat."""
        return sum(seat in each.off for each in self.heard) > 1


@dataclass
class Audits(FraudProofs):
    """Contracts with a court, with what overrules it, and with what checks its seats."""

    audits: dict[BatchId, MemoryAudit] = field(default_factory=dict)

    def fork(self) -> Self:
        other = super().fork()
        other.audits = dict(self.audits)
        return other

    def audit_epoch(self, name: BatchId) -> int:
        """The epoch in which a case passed, by the bits of it that are kept: the latest such one that has begun."""
        self.require(name in self.cases and self.cases[name].verdict is Verdict.PASS, "NotPassed")
        now = epoch_of(self.block, self.profile.epoch_blocks)
        return now - (now - self.cases[name].passed_in) % (1 << EPOCH_BITS)

    def is_audited(self, name: BatchId) -> bool:
        """Whether a case that passed is drawn, by a seed that need not be sealed yet. Raises: Refused."""
        epoch = self.audit_epoch(name)
        source = self._seed_block(epoch)
        self.require(epoch in self.seeds or self.block > source, "NoSeed")
        return is_audited(self.seeds.get(epoch) or self.hash_of(source), name)

    def has_none(self, name: BatchId, node: Address, slot: int, contents: BatchContents, auditor: Address) -> bool:
        """Whether it is known that this auditor has nothing to convene; who audits a drawn case a sealed seed says."""
        try:
            if not self.is_audited(name):
                return True
            if self.audit_epoch(name) not in self.seeds:
                return False
            drawn = self.preview_auditors(node, slot, contents)
            self.fork().convene_audit(node, slot, contents)
        except Refused as refused:
            return str(refused) in NO_AUDIT
        return auditor not in drawn

    def seal_for_audit(self, name: BatchId) -> None:
        """As a node that has looked at the hash itself: one block after it could."""
        epoch = self.audit_epoch(name)
        if epoch not in self.seeds:
            self.require(self.block > self._seed_block(epoch) + 1, "NoSeed")
            self.seal(epoch)

    def preview_auditors(self, node: Address, slot: int, contents: BatchContents) -> list[Address]:
        batch = self.batch(node, slot)
        epoch = self.audit_epoch(batch.batch_id)
        ago = epoch_of(self.block, self.profile.epoch_blocks) - epoch
        self.require(ago <= AUDIT_LATEST_EPOCHS, "TooLate")
        self.require(epoch in self.seeds, "NoSeed")
        self.require(is_audited(self.seeds[epoch], batch.batch_id), "NotDrawn")
        self.require(contents == batch.contents, "WrongContents")
        drawn = self._draw_auditors(batch, self.seeds[epoch])
        self.require(len(drawn) == AUDITORS, "TooFewAuditors")
        return drawn

    def convene_audit(self, node: Address, slot: int, contents: BatchContents) -> None:
        batch = self.batch(node, slot)
        name = batch.batch_id
        self.require(name not in self.audits, "AlreadyConvened")
        nodes = self.preview_auditors(node, slot, contents)
        passed = batch.state in (BatchState.PASSED, BatchState.FINAL)
        self.require(passed and not batch.batch.uncalibrated, "WrongState")
        latest = batch.timestamp + self.profile.unbonding_seconds - 2 * self.profile.seat_seconds
        self.require(self.timestamp <= latest, "TooLate")
        if batch.state is BatchState.PASSED:
            batch.state = BatchState.AUDITED
        auditors = tuple(MemoryAuditor(each) for each in nodes)
        self.audits[name] = MemoryAudit(node, slot, self.timestamp, self._seats_due(self.cases[name]), auditors)
        self.emit(AuditConvened(name, node, tuple(nodes), self.timestamp))

    def commit_audit(self, sender: Address, name: BatchId, index: int, commitment: bytes) -> None:
        own = self._own_place(sender, name, index)
        self.require(commitment != ZERO_HASH, "ZeroCommitment")
        self.require(own.state is SeatState.DRAWN, "AlreadyCommitted")
        self.require(self.timestamp <= self._audit_turn_end(name), "TooLate")
        self._keep(name, index, replace(own, state=SeatState.COMMITTED, commitment=commitment))
        self.emit(AuditCommitted(name, index))

    def reveal_audit(
        self, sender: Address, name: BatchId, index: int, off: Sequence[int], score: int, salt: bytes
    ) -> None:
        own = self._own_place(sender, name, index)
        self.require(own.state is SeatState.COMMITTED, "NotCommitted")
        waiting = self.timestamp <= self._audit_turn_end(name) and self.audits[name].count(SeatState.DRAWN)
        self.require(not waiting, "TurnNotOver")
        self.require(own.commitment == audit_commitment(name, index, off, score, salt), "CommitmentMismatch")
        self.require(score <= BPS or score == NOTHING_SHOWN_BPS, "ScoreOutOfRange")
        self._keep(name, index, replace(own, state=SeatState.REVEALED, off=tuple(off), score=score))
        self.emit(AuditRevealed(name, index))

    def close_audit(self, name: BatchId) -> None:
        audit = self._running(name)
        over = self.timestamp > self._audit_turn_end(name) + self.profile.seat_seconds
        self.require(over or len(audit.heard) == AUDITORS, "TurnNotOver")
        self.audits[name] = replace(audit, ended=True)
        batch = self.batches[audit.node, audit.slot]
        held = batch.batch_id == name and batch.state is BatchState.AUDITED
        fraud = audit.finds_fraud and held
        # First what brings money into the pool, then what takes it out.
        if fraud:
            self.condemn(batch)
        caught = self._fine_seats(name, audit)
        self._fine_silent(name, audit)
        self.emit(AuditEnded(name, caught, fraud))
        if held and not fraud:
            batch.state = BatchState.PASSED
        self._share(audit.due, [each.node for each in audit.heard])

    # ---- inside

    def _seed_block(self, epoch: int) -> int:
        return seed_block(epoch, self.profile.epoch_blocks, self.profile.lag_blocks)

    def _draw_auditors(self, batch: MemoryBatch, seed: bytes) -> list[Address]:
        case = self.cases[batch.batch_id]
        excluded = self._excluded(batch, case.drawn) | {seat.node for seat in case.seats}
        wanted = AUDITORS
        if not case.round:
            listed = sum(each.from_block < batch.block for each in self.verifiers)
            wanted = min(wanted, listed - len(case.seats))
        order = draw_order(
            seed,
            batch.batch_id,
            batch.block,
            self.verifiers,
            frozenset(excluded),
            TICKETS_PER_SEAT * wanted,
            case.passed_in,
        )
        return order[:wanted]

    def _running(self, name: BatchId) -> MemoryAudit:
        self.require(name in self.audits, "NoSuchAudit")
        self.require(not self.audits[name].ended, "AuditOver")
        return self.audits[name]

    def _own_place(self, sender: Address, name: BatchId, index: int) -> MemoryAuditor:
        auditors = self._running(name).auditors
        self.require(index < len(auditors) and auditors[index].node == sender, "NotAuditor")
        return auditors[index]

    def _keep(self, name: BatchId, index: int, auditor: MemoryAuditor) -> None:
        audit = self.audits[name]
        auditors = (*audit.auditors[:index], auditor, *audit.auditors[index + 1 :])
        self.audits[name] = replace(audit, auditors=auditors)

    def _audit_turn_end(self, name: BatchId) -> int:
        return self.audits[name].since + self.profile.seat_seconds

    def _fine_seats(self, name: BatchId, audit: MemoryAudit) -> tuple[int, ...]:
        seats = self.cases[name].seats
        bound = [index for index, seat in enumerate(seats) if seat.state is SeatState.REVEALED]
        caught = tuple(index for index in bound if audit.finds_off(index))
        for index in caught:
            node = seats[index].node
            self._fine(node, self._lie_bps(node, audit.due // len(bound)), name)
        return caught

    def _lie_bps(self, node: Address, pay: int) -> int:
        loss, stake, most = LIE_PAYS * pay * BPS, self.node(node).stake, self.profile.slash_bps
        if loss * LIE_DIVISOR <= most * stake:
            return most // LIE_DIVISOR
        return most if loss >= most * stake else -(-loss // stake)

    def _fine_silent(self, name: BatchId, audit: MemoryAudit) -> None:
        if audit.count(SeatState.DRAWN) == AUDITORS:
            return
        for each in audit.auditors:
            if each.state is not SeatState.REVEALED:
                self._fine(each.node, NO_SHOW_BPS, name)

    def _fine(self, node: Address, bps: int, name: BatchId) -> None:
        if bps:
            self.slash(node, name, bps)
        self.penalise(node, PENALTY_LIGHT, lost_case=False)
