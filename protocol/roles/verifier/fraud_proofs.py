"""Fraud proofs: a seat sends one if code alone can condemn what it was shown, whatever the other seats find.

A proof earns its sender nothing: the batch's clients get their money back, and a liar is out of the market. The seats
take turns, so that one of them pays for the call; the timer of the turn is in the journal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.effects import AwaitDeadline, Effect, ProveFraud
from protocol.events import EffectFailed
from protocol.judging.fraud_proofs import (
    BatchView,
    FraudKind,
    OpenedLeaf,
    Papers,
    are_miscounted,
    declared,
    fraud_kinds_in,
    is_in_batch,
    stands_early,
)
from protocol.roles.identity import Identity
from protocol.roles.verifier.leaf import DrawnLeaf
from protocol.roles.verifier.seat import Sitting
from protocol.stages.verification import SampleOpening, Verdict
from protocol.timers import FraudProofTimer
from protocol.wire.ids import TimestampMs

TURN_MS = 4_000
AGAIN_MS = 15_000
"""How long a proof that failed for now rests."""


@dataclass(frozen=True, slots=True)
class FraudProver:
    """Fraud proofs of this node's seats; the seat holds all state."""

    identity: Identity

    def proof_in(self, sitting: Sitting, opening: SampleOpening) -> ProveFraud | None:
        """Find a lie that an opening proves; of several the first, which needs the fewest papers.

        A leaf that merely stands early is not held against its node here: see `stands_early`.
        """
        batch = sitting.batch.submitted
        opened, papers = _opened(opening), _papers_of(opening)
        # No paper of an opening has the node's own signature on it, so whose that would be plays no part.
        fraud_kinds = fraud_kinds_in(opened, batch, papers, batch.node, batch.node, self.identity.domain)
        early = stands_early(opened, batch.contents)
        fraud_kind = next(
            (fraud_kind for fraud_kind in fraud_kinds if not (fraud_kind is FraudKind.WRONG_PLACE and early)),
            FraudKind.NONE,
        )
        leaves = _too_many(sitting.own.leaves, opened, batch) if fraud_kind is FraudKind.NONE else (opened,)
        if not leaves:
            return None
        return ProveFraud(
            batch_id=batch.batch_id,
            node=batch.node,
            slot=batch.slot,
            contents=batch.contents,
            fraud_kind=fraud_kind or FraudKind.MISCOUNTED,
            leaves=leaves,
            papers=papers,
        )

    def wait(self, sitting: Sitting, proof: ProveFraud, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Ask for this seat's turn to send a proof; one a case is enough."""
        if sitting.own.fraud_proof is not None:
            return ()
        sitting.own.fraud_proof = proof
        return (AwaitDeadline(FraudProofTimer(sitting.batch_id), now_ms + sitting.rank * TURN_MS),)

    def send(self, sitting: Sitting) -> tuple[Effect, ...]:
        """The turn has come. A batch that has passed can be condemned, too; one that is void already cannot."""
        own = sitting.own
        if own.fraud_proof is None or own.proving or sitting.case.verdict not in (Verdict.NONE, Verdict.PASS):
            return ()
        own.proving = True
        return (own.fraud_proof,)

    def failed(self, sitting: Sitting, failed: EffectFailed, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """A proof that failed for now is sent again; one that the contract refuses is not."""
        if sitting.own.fraud_proof is None or not failed.transient:
            return ()
        sitting.own.proving = False
        return (AwaitDeadline(FraudProofTimer(sitting.batch_id), now_ms + AGAIN_MS),)


def _opened(opening: SampleOpening) -> OpenedLeaf:
    return OpenedLeaf(opening.leaf_index, opening.entry.leaf, opening.siblings)


def _papers_of(opening: SampleOpening) -> Papers:
    job = opening.entry.job
    if job is None:
        return Papers()
    return Papers(job.assignment, job.details, job.receipt.receipt if job.receipt else None)


def _too_many(leaves: Mapping[int, DrawnLeaf], opened: OpenedLeaf, batch: BatchView) -> tuple[OpenedLeaf, ...]:
    """Leaves of this one's status, it among them, that are one more than the batch declared; none if they are not."""
    known = (_opened(leaf.opening) for leaf in leaves.values() if leaf.opening is not None)
    others = [each for each in known if each.position != opened.position and each.leaf.status == opened.leaf.status]
    found = [each for each in (opened, *others) if is_in_batch(each, batch)][: declared(batch, opened.leaf.status) + 1]
    if opened not in found or not are_miscounted([each.leaf for each in found], batch):
        return ()
    return tuple(sorted(found, key=lambda each: each.position))
