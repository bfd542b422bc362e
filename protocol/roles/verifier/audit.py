"""An audit that this node is drawn for: the seats, what they have shown, and what speaks against each."""

from collections.abc import Callable
from dataclasses import dataclass, field

from protocol.judging.kinds import differ
from protocol.judging.margins import case_llr
from protocol.params import PASS_ABOVE_BPS
from protocol.roles.verifier.checking import leaf_llr
from protocol.roles.verifier.leaf import DrawnLeaf
from protocol.stages.verification import Calibration, checks_digest, is_check_shown
from protocol.timers import Timer
from protocol.wire.ids import Address, BatchId, Cid, TimestampMs

LLR_APART_MILLINATS = 4_000
"""Two passes over one leaf on one class say nearly the same; half of what a leaf can say at all is no noise."""

Constants = Callable[[Cid, int], Calibration]
"""The noise constants of a model on a device class."""


@dataclass(slots=True)
class AuditedSeat:
    """A seat that revealed, and what it has shown since; `spoilt`: leaves of which it showed something else."""

    node: Address
    digest: bytes
    scores: tuple[int, ...]
    """Its score for each drawn leaf, in their order."""
    llr_millinats: int
    """Its log-likelihood ratio of all margins, in thousandths of a nat."""
    checks: dict[int, bytes] = field(default_factory=dict)
    spoilt: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Audit:
    """An audit that this node is drawn for."""

    batch_id: BatchId
    place: int
    """This node's, among the auditors."""
    seats: dict[int, AuditedSeat]
    leaves: dict[int, DrawnLeaf]
    shown_by: dict[int, int] = field(default_factory=dict)
    """The seat whose opening of a leaf is used."""
    findings: tuple[tuple[int, ...], int] | None = None
    """Bound to: the seats that did not compute, and the score."""
    revealing: bool = False
    closing: bool = False
    timer: Timer | None = field(default=None, compare=False)
    """The timer that was asked for last since this process began; chain time is not in the journal."""
    asked_ms: TimestampMs = field(default=TimestampMs(0), compare=False)
    asked_at_block: int | None = field(default=None, compare=False)
    """The head when this auditor last asked for a transaction."""

    def lacks(self) -> bool:
        """Whether anything that a seat could still show would change what is found."""
        unjudged = any(leaf.check is None or leaf.score is None for leaf in self.leaves.values())
        return unjudged or any(len(seat.checks) < len(self.leaves) for seat in self.seats.values())

    def lacking_seats(self) -> tuple[int, ...]:
        """The seats that may still show something: all, while a leaf or its fingerprint is missing."""
        if not self.lacks():
            return ()
        unopened = any(leaf.opening is None or leaf.score is None for leaf in self.leaves.values())
        return tuple(seat for seat, each in self.seats.items() if unopened or len(each.checks) < len(self.leaves))

    def is_honest(self, seat: int, class_id: int, constants: Constants) -> bool:
        """Whether a seat seems to have run its own pass over each leaf that it let pass, and to have reported it truly.

        A seat may find a leaf bad without a pass: by its papers, or because the node showed nothing. A seat has lied if
        it let a leaf pass that is fraud by this pass and the node's fingerprint: honest seats differ by less than that.
        """
        sat = self.seats[seat]
        if not all(is_check_shown(leaf.new_tokens) for leaf in self.leaves.values()):
            return True
        if len(sat.checks) < len(self.leaves):
            return False
        if checks_digest([sat.checks[index] for index in self.leaves]) != sat.digest:
            return False
        if self._misstates(sat, class_id, constants):
            return False
        let_pass = [index for index, score in zip(self.leaves, sat.scores, strict=True) if score > PASS_ABOVE_BPS]
        if any(self.leaves[index].is_fraud for index in let_pass):
            return False
        return not any(_differs(self.leaves[index], sat.checks[index], class_id, constants) for index in let_pass)

    def _misstates(self, sat: AuditedSeat, class_id: int, constants: Constants) -> bool:
        """Whether a seat has reported another log-likelihood ratio than its own passes give.

        Invented margins show by their distance from this node's own.
        """
        total = 0
        for index, leaf in self.leaves.items():
            job, theirs = leaf.job, sat.checks[index]
            if job is None or not theirs:
                continue
            if not leaf.check:
                # No local pass of this leaf (model or device missing), so nothing to compare with.
                return False
            calibration = constants(Cid(job.details.manifest), class_id)
            if calibration.margins is None:
                return False
            said = leaf_llr(leaf.kind, theirs, leaf.new_tokens, calibration)
            if abs(said - leaf_llr(leaf.kind, leaf.check, leaf.new_tokens, calibration)) > LLR_APART_MILLINATS:
                return True
            total += said
        return case_llr((total,)) != sat.llr_millinats


def _differs(leaf: DrawnLeaf, check: bytes, class_id: int, constants: Constants) -> bool:
    if leaf.check is None or leaf.job is None:
        # No local pass of this leaf, or nothing to compute.
        return False
    calibration = constants(Cid(leaf.job.details.manifest), class_id)
    return differ(leaf.kind, leaf.check, check, leaf.new_tokens, calibration)
