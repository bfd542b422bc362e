"""A seat's turn: ask for the drawn leaves, run one pass over each, commit, get the fingerprints, score, reveal.

A leaf that its node cannot prove to belong to the batch scores zero.
"""

import hashlib
from dataclasses import dataclass, field

from protocol import effects as fx
from protocol.court.phases import CasePhase
from protocol.errors import Malformed, RemoteProtocolError
from protocol.events import SampleOpened, SampleReplayed
from protocol.judging.margins import case_llr
from protocol.params import MAX_ANSWER_BYTES
from protocol.roles.member import Member
from protocol.roles.verifier.checking import Checking, condemn_or_keep, fetch_or_open, require_in_batch
from protocol.roles.verifier.fraud_proofs import FraudProver
from protocol.roles.verifier.seat import Sitting
from protocol.stages.commitment import LeafStatus, SettledJob, mine_by
from protocol.stages.verification import (
    NOT_FOR_US,
    FingerprintOpening,
    FingerprintQuery,
    SampleOpening,
    SampleQuery,
    checks_digest,
    seat_commitment,
)
from protocol.wire.codec import decode_named
from protocol.wire.envelope import is_signed_by, require_signer
from protocol.wire.ids import PeerId, TimestampMs
from protocol.wire.names import by_name

NOTHING_TO_CHECK_BPS = 10_000
ANSWERS = by_name((SampleOpening, FingerprintOpening))


@dataclass(slots=True)
class SeatTurn:
    """The way of this node's seats from their first question to their scores."""

    member: Member
    prover: FraudProver = field(init=False)
    checking: Checking = field(init=False)

    def __post_init__(self) -> None:
        self.prover = FraudProver(self.member.identity)
        self.checking = Checking(self.member)

    # --- the drawn leaves -------------------------------------------------------------------------------------------
    def ask(self, sitting: Sitting, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Ask for the drawn leaves."""
        sitting.own.asked_ms = now_ms
        peer_id = self.member.peer_of(sitting.node)
        return (fx.Send(peer_id, SampleQuery(sitting.batch_id, self.member.hpke_key)),) if peer_id else ()

    def check(
        self,
        sitting: Sitting,
        opening: SampleOpening,
        holders: tuple[PeerId, ...],
        now_ms: TimestampMs,
        *,
        on_chain: bool = False,
    ) -> tuple[fx.Effect, ...]:
        """Check the opening of a leaf; `on_chain`: it was shown there at this seat's demand.

        Raises: RemoteProtocolError if it is no leaf of the batch, or its client has not ordered it.
        """
        batch, leaf = sitting.batch.submitted, sitting.own.leaves.get(opening.leaf_index)
        if leaf is None or not (leaf.is_unshown if on_chain else leaf.opening is None):
            return ()
        if proof := self.prover.proof_in(sitting, opening):
            # Before its papers are asked for: a leaf that lies by itself need not come with the right ones.
            leaf.opening, leaf.on_chain = opening, on_chain
            leaf.condemn(f"code can prove it: {proof.fraud_kind.name.lower().replace('_', ' ')}")
            return *self.prover.wait(sitting, proof, now_ms), *self.commit_when_done(sitting)
        require_in_batch(opening, batch)
        job, charged = opening.entry.job, opening.entry.leaf.status == LeafStatus.OK
        if job is not None and charged:
            require_signer(job.assignment, job.signature, self.member.identity.domain, job.assignment.signer)
        leaf.opening, leaf.on_chain, leaf.failed = opening, on_chain, None
        if job is None or not charged:
            leaf.score, leaf.check = NOTHING_TO_CHECK_BPS, b""
            return self.commit_when_done(sitting)
        if problem := self._paper_problem(sitting, opening, job):
            leaf.score, leaf.check, leaf.problem = 0, b"", problem
            return self.commit_when_done(sitting)
        return (fetch_or_open(opening, holders),)

    def _paper_problem(self, sitting: Sitting, opening: SampleOpening, job: SettledJob) -> str:
        """Why a paid leaf is worth nothing by its papers alone; empty if it is not."""
        batch, late_s = sitting.batch.submitted, mine_by(opening.entry)
        if late_s and (not batch.unreceipted or batch.timestamp > late_s):
            # Its client may have paid another node, and was not told that nothing of its own stands behind this.
            return "no receipt, and not brought on chain as that demands"
        if (given := job.receipt) and not is_signed_by(
            given.receipt, given.signature, self.member.identity.domain, job.assignment.signer
        ):
            # No code on chain sees that: its signature stands in no leaf.
            return "its client has not signed the receipt"
        return ""

    def take_content(self, sitting: Sitting, opened: SampleOpened) -> tuple[fx.Effect, ...]:
        """The content of a leaf was unsealed, or cannot be."""
        leaf = sitting.own.leaves.get(opened.leaf_index)
        if leaf is None or leaf.opening is None or leaf.check is not None:
            return ()
        if opened.problem == NOT_FOR_US and not leaf.on_chain and sitting.case.demand is None:
            # No other machine can see that: it is to be shown on chain.
            leaf.failed = fx.OpenSample
            return ()
        if opened.problem:
            leaf.condemn(opened.problem)
            return self.commit_when_done(sitting)
        return self.checking.run_opened(sitting.batch.submitted, opened, leaf, self.member.peer_of(sitting.node))

    def take_pass(self, sitting: Sitting, replayed: SampleReplayed) -> tuple[fx.Effect, ...]:
        """Our own pass over a leaf is done."""
        leaf = sitting.own.leaves.get(replayed.leaf_index)
        if leaf is None or leaf.check is not None:
            return ()
        condemn_or_keep(leaf, replayed)
        return self.commit_when_done(sitting)

    # --- commit, compare, reveal ------------------------------------------------------------------------------------
    def commit_when_done(self, sitting: Sitting) -> tuple[fx.Effect, ...]:
        """Bind this seat to what it has computed, once that is all."""
        own, case = sitting.own, sitting.case
        checks = [leaf.check for leaf in own.leaves.values() if leaf.check is not None]
        bound = own.committing or sitting.is_bound or own.seat is None
        if bound or case.phase is CasePhase.STOPPED or len(checks) < len(case.drawn):
            return ()
        assert own.seat is not None
        own.committing, own.asked_at_block = True, self.member.head
        own.digest = checks_digest([own.leaves[index].check or b"" for index in case.drawn])
        batch = sitting.batch.submitted
        own.llr_millinats = case_llr(self.checking.llr_millinats(batch, leaf) for leaf in own.leaves.values())
        salt = self._salt(sitting)
        commitment = seat_commitment(sitting.batch_id, case.round, own.seat, own.digest, salt, own.llr_millinats)
        return (fx.CommitSeat(sitting.batch_id, own.seat, commitment),)

    def ask_fingerprints(self, sitting: Sitting) -> tuple[fx.Effect, ...]:
        """Ask for the fingerprints of the drawn leaves."""
        peer_id = self.member.peer_of(sitting.node)
        return (fx.Send(peer_id, FingerprintQuery(sitting.batch_id)),) if peer_id else ()

    def compare(self, sitting: Sitting, opening: FingerprintOpening) -> tuple[fx.Effect, ...]:
        """Score a leaf by its fingerprint; not before this seat is bound."""
        leaf = sitting.own.leaves.get(opening.leaf_index)
        if leaf is None or leaf.opening is None or leaf.score is not None or not sitting.is_bound:
            return ()
        leaf.fingerprint = opening.fingerprint
        leaf.score, leaf.problem = self.checking.score(sitting.batch.submitted, leaf, opening.fingerprint)
        return self.reveal_when_done(sitting)

    def reveal_when_done(self, sitting: Sitting) -> tuple[fx.Effect, ...]:
        """Tell this seat's scores, once they are all known and every seat is bound."""
        own, case = sitting.own, sitting.case
        scores = [own.leaves[index].score for index in case.drawn] if own.leaves else []
        known = tuple(score for score in scores if score is not None)
        waits = own.revealing or case.phase is CasePhase.STOPPED or len(known) < len(case.drawn)
        if waits or own.seat is None or not sitting.are_all_bound:
            return ()
        own.revealing, own.asked_at_block = True, self.member.head
        salt = self._salt(sitting)
        return (fx.RevealSeat(sitting.batch_id, own.seat, own.digest, known, salt, own.llr_millinats),)

    # --- what the node shows on chain -------------------------------------------------------------------------------
    def take_answer(self, sitting: Sitting, data: bytes, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Look at an answer on chain; rubbish in answer to this seat's own demand proves nothing."""
        demand = sitting.case.demand
        assert demand is not None
        mine, index = demand.seat == sitting.own.seat, demand.leaf_index
        effects: tuple[fx.Effect, ...] = ()
        try:
            message = decode_named(ANSWERS, data, MAX_ANSWER_BYTES)
            if (message.batch_id, message.leaf_index) != (sitting.batch_id, index):
                raise Malformed("another leaf than the one that was demanded")
            if isinstance(message, FingerprintOpening):
                effects = self.compare(sitting, message)
            elif mine:
                # An opening for another seat is sealed to that seat.
                peer_id = self.member.peer_of(sitting.node)
                effects = self.check(sitting, message, (peer_id,) if peer_id else (), now_ms, on_chain=True)
            problem = "not what was demanded"
        except RemoteProtocolError as error:
            problem = f"shown on chain: {error}"
        leaf = sitting.own.leaves.get(index)
        if leaf is None or not mine or not sitting.lacks(index) or sitting.proves_no_leaf(index):
            return effects
        if sitting.is_bound and not leaf.fits_on_chain:
            return effects
        leaf.condemn(problem)
        return *self.commit_when_done(sitting), *self.reveal_when_done(sitting)

    def _salt(self, sitting: Sitting) -> bytes:
        number = sitting.case.round
        later = bytes([number]) if number else b""
        return hashlib.sha256(b"vcoin/seat/1" + self.member.settings.secret + sitting.batch_id + later).digest()
