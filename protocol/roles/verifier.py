"""The verifier: sits where the chain has drawn it, checks on its own, commits, and only then compares.

A turn: ask for the drawn leaves, run one pass over each, post the hash of what came out, get the fingerprints, score,
reveal. What a node cannot prove to belong to its batch scores zero. A node that shows a seat nothing is made to show it
on chain; a seat that cannot judge steps down (see `recourse`). What code alone can condemn is proved on chain as well
(see `prover`).
"""

import hashlib
from dataclasses import dataclass, field

from protocol import effects as fx
from protocol.effects import (
    AwaitDeadline,
    CommitSeat,
    Effect,
    FetchBlob,
    FetchModel,
    ReplaySample,
    ResolveCase,
    RevealSeat,
    Send,
)
from protocol.errors import Malformed, RemoteProtocolError
from protocol.events import (
    BatchSubmitted,
    BlobFetched,
    BlockSeen,
    CaseConvened,
    CaseDecided,
    CaseGrown,
    CaseResolved,
    DataAnswered,
    DataDemanded,
    DeadlinePassed,
    EffectFailed,
    Event,
    MessageReceived,
    ModelAdded,
    SampleOpened,
    SampleReplayed,
    SeatAdded,
    SeatCommitted,
    SeatRevealed,
    SeatSilenced,
)
from protocol.judging.kinds import is_check
from protocol.judging.margins import evidence_of_case
from protocol.messages import Message
from protocol.params import MAX_ANSWER_BYTES
from protocol.roles.cases import Case, DrawnLeaf, Revealed
from protocol.roles.identity import Identity, Settings
from protocol.roles.member import Member
from protocol.roles.prover import FraudProver
from protocol.roles.recourse import Recourse
from protocol.roles.replays import (
    after_fetch,
    fetch_or_open,
    leaf_evidence,
    open_sample,
    replay_sample,
    require_in_batch,
    score_leaf,
)
from protocol.stages.commitment import LeafStatus, mine_by
from protocol.stages.verification import (
    NOT_FOR_US,
    ProofOpening,
    ProofQuery,
    SampleOpening,
    SampleQuery,
    Verdict,
    checks_digest,
    seat_commitment,
)
from protocol.timers import AbstainTimer, DataDemandTimer, FraudProofTimer, ResolveTimer
from protocol.wire.codec import decode_named
from protocol.wire.envelope import is_signed_by, require_signer
from protocol.wire.ids import BatchId, Cid, PeerId, TimestampMs
from protocol.wire.names import by_name

ASK_AGAIN_MS = 3_000
TRY_AGAIN_MS = 15_000
"""How long what failed on this machine, or a fetch, rests before it is tried again."""
STAGGER_MS = 4_000
BATCHES_KEPT = 4_096
NOTHING_TO_CHECK_BPS = 10_000
ANSWERS = by_name((SampleOpening, ProofOpening))


@dataclass(slots=True)
class Verifier:
    """The seats of this node, and all cases it has seen."""

    identity: Identity
    settings: Settings
    member: Member
    _batches: dict[BatchId, BatchSubmitted] = field(default_factory=dict)
    _cases: dict[BatchId, Case] = field(default_factory=dict)
    _recourse: Recourse = field(init=False)
    _prover: FraudProver = field(init=False)

    def __post_init__(self) -> None:
        self._recourse = Recourse(self.settings, self.member)
        self._prover = FraudProver(self.identity)

    def case(self, batch_id: bytes) -> Case | None:
        """A case that was seen."""
        return self._cases.get(BatchId(batch_id))

    def batch(self, batch_id: bytes) -> BatchSubmitted | None:
        """A batch of any node, as it was submitted."""
        return self._batches.get(BatchId(batch_id))

    @property
    def cases(self) -> tuple[Case, ...]:
        """Every case seen, oldest first."""
        return tuple(self._cases.values())

    def expects(self, peer_id: PeerId, message: Message) -> bool:
        """Whether a message opens something that this node's seat still waits for."""
        if not isinstance(message, SampleOpening | ProofOpening):
            return False
        case = self._cases.get(BatchId(message.batch_id))
        leaf = case.leaves.get(message.leaf_index) if case else None
        if case is None or leaf is None or not self.member.operates(peer_id, case.node):
            return False
        return leaf.opening is None if isinstance(message, SampleOpening) else leaf.score is None

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """What an event makes the verifier want."""
        match event:
            case BatchSubmitted(batch_id=batch_id):
                while len(self._batches) >= BATCHES_KEPT:
                    self._batches.pop(next(iter(self._batches)))
                self._batches[BatchId(batch_id)] = event
            case CaseConvened():
                return self._convened(event, now_ms)
            case MessageReceived(peer_id, SampleOpening() as opening):
                return self._sample(peer_id, opening, now_ms)
            case BlobFetched(cid):
                return self._fetched(cid)
            case ModelAdded():
                return tuple(effect for case in self._cases.values() for effect in self._replay_waiting(case))
            case DataDemanded():
                self._demanded(event)
            case DataAnswered():
                return self._answered(event, now_ms)
            case SampleOpened():
                return self._opened(event)
            case SampleReplayed():
                return self._replayed(event)
            case MessageReceived(peer_id, ProofOpening() as opening):
                return self._proof(peer_id, opening)
            case EffectFailed():
                return self._failed(event, now_ms)
            case DeadlinePassed(ResolveTimer(batch_id)):
                return self._resolve(BatchId(batch_id))
            case DeadlinePassed(FraudProofTimer(batch_id)):
                case_ = self._cases.get(BatchId(batch_id))
                return self._prover.send(case_) if case_ else ()
            case DeadlinePassed((AbstainTimer() | DataDemandTimer()) as timer):
                return self._take_recourse(timer)
            case BlockSeen():
                return tuple(effect for case in self._cases.values() for effect in self._ask_again(case, now_ms))
            case _:
                return self._follow(event, now_ms)
        return ()

    # --- a seat is drawn --------------------------------------------------------------------------------------------
    def _convened(self, event: CaseConvened, now_ms: TimestampMs) -> tuple[Effect, ...]:
        if BatchId(event.batch_id) in self._cases:
            # Told twice: what this seat has found out and bound itself to stays.
            return ()
        while len(self._cases) >= BATCHES_KEPT:
            self._cases.pop(next(iter(self._cases)))
        case = Case(
            batch_id=BatchId(event.batch_id),
            node=event.node,
            class_id=event.class_id,
            drawn=event.drawn,
            seats=dict(enumerate(event.seats)),
            seats_told=len(event.seats),
        )
        self._cases[case.batch_id] = case
        mine = next((seat for seat, node in case.seats.items() if node == self.identity.node_id), None)
        return self._sit(case, mine, event.timestamp, now_ms) if mine is not None else ()

    def _sit(self, case: Case, seat: int, since: int, now_ms: TimestampMs) -> tuple[Effect, ...]:
        if case.seat is not None:
            return ()
        case.seat, case.since = seat, since
        case.leaves = {index: DrawnLeaf() for index in case.drawn}
        return self._ask(case, now_ms)

    def _ask(self, case: Case, now_ms: TimestampMs) -> tuple[Effect, ...]:
        case.asked_ms = now_ms
        peer_id = self.member.peer_of(case.node)
        return (Send(peer_id, SampleQuery(case.batch_id, self.member.hpke_key)),) if peer_id else ()

    def _ask_again(self, case: Case, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """A node that did not hear the question, or not in time, hears it again."""
        if case.seat is None or case.verdict is not Verdict.NONE:
            return ()
        batch = self._batches.get(case.batch_id)
        moments = self._recourse.look(case, batch, now_ms) if batch else ()
        if now_ms - case.asked_ms < ASK_AGAIN_MS:
            return moments
        return *moments, *self._next_question(case, now_ms)

    def _next_question(self, case: Case, now_ms: TimestampMs) -> tuple[Effect, ...]:
        if (until := case.appeal_until or case.data_until) and (ended := self._end_waiting(case, until, now_ms)):
            return ended
        if case.appeal_until:
            return ()
        if case.asked_at is not None and self.member.is_overdue(case.asked_at):
            again = self._ask_transaction_again(case)
            if again:
                return again
        if not case.is_bound and not case.committing:
            case.tries += 1
            lacking = any(leaf.opening is None for leaf in case.leaves.values())
            again = self._try_again(case, now_ms)
            return *(self._ask(case, now_ms) if lacking else ()), *again, *self._commit_when_done(case)
        if case.is_bound and not case.revealing:
            case.asked_ms = now_ms
            case.tries += 1
            return self._reveal_when_done(case) or self._ask_proof(case)
        return ()

    def _try_again(self, case: Case, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """What failed on this machine, or could not be fetched, may work by now."""
        if now_ms - case.tried_ms < TRY_AGAIN_MS:
            return ()
        case.tried_ms = now_ms
        holders = tuple(filter(None, [self.member.peer_of(case.node)]))
        effects: list[Effect] = []
        for index, leaf in case.leaves.items():
            match leaf.failed:
                case fx.FetchBlob:
                    effects.append(FetchBlob(leaf.missing, holders))
                case fx.FetchModel if leaf.manifest and leaf.manifest not in self.member.models:
                    effects.append(FetchModel(leaf.manifest, holders))
                case fx.OpenSample if leaf.opening is not None:
                    effects.append(open_sample(leaf.opening))
                case fx.ReplaySample if case.class_id in self.member.device.class_ids:
                    effects.append(self._replay(case, index, leaf))
        return tuple(effects)

    def _end_waiting(self, case: Case, until: int, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """No appeal or answer came: the seats take turns, so that one of them pays for the call."""
        batch = self._batches.get(case.batch_id)
        assert case.seat is not None
        if batch is None or self.member.timestamp <= until + case.seat * STAGGER_MS // 1000:
            return ()
        case.asked_ms = now_ms
        return (ResolveCase(case.batch_id, batch.contents),)

    def _ask_transaction_again(self, case: Case) -> tuple[Effect, ...]:
        """What should have been told by now is asked for once more."""
        if case.committing and case.seat not in case.commitments:
            case.committing = False
            return self._commit_when_done(case)
        if case.revealing and case.seat not in case.scores:
            case.revealing = False
            return self._reveal_when_done(case)
        # Where it has not been told of any demand, its own has fallen out.
        case.demanding = case.demanding and case.demanded is not None
        return ()

    def _take_recourse(self, timer: AbstainTimer | DataDemandTimer) -> tuple[Effect, ...]:
        batch_id = BatchId(timer.batch_id)
        case, batch = self._cases.get(batch_id), self._batches.get(batch_id)
        if case is None or batch is None or case.verdict is not Verdict.NONE:
            return ()
        if isinstance(timer, DataDemandTimer):
            return self._recourse.demand(case, timer)
        return self._recourse.leave(case, batch, timer)

    # --- checking ---------------------------------------------------------------------------------------------------
    def _sample(self, peer_id: PeerId, opening: SampleOpening, now_ms: TimestampMs) -> tuple[Effect, ...]:
        case = self._cases.get(BatchId(opening.batch_id))
        if case is None or not self.member.operates(peer_id, case.node):
            return ()
        return self._check(case, opening, (peer_id,), now_ms)

    def _check(
        self,
        case: Case,
        opening: SampleOpening,
        holders: tuple[PeerId, ...],
        now_ms: TimestampMs,
        *,
        on_chain: bool = False,
    ) -> tuple[Effect, ...]:
        batch = self._batches.get(case.batch_id)
        if batch is None:
            return ()
        leaf = case.leaves.get(opening.leaf_index)
        if leaf is None or not (leaf.is_unshown if on_chain else leaf.opening is None):
            return ()
        if proof := self._prover.proof_in(case, opening, batch):
            # Before its papers are asked for: a leaf that lies by itself need not come with the right ones.
            leaf.opening, leaf.on_chain = opening, on_chain
            leaf.condemn(f"code can prove it: {proof.lie.name.lower().replace('_', ' ')}")
            return *self._prover.wait(case, proof, now_ms), *self._commit_when_done(case)
        require_in_batch(opening, batch)
        leaf.opening, leaf.on_chain, leaf.failed = opening, on_chain, None
        job, late_s = opening.entry.job, mine_by(opening.entry)
        if opening.entry.leaf.status != LeafStatus.OK or job is None:
            # Nothing was charged, so there is nothing to check.
            leaf.score, leaf.check = NOTHING_TO_CHECK_BPS, b""
            return self._commit_when_done(case)
        require_signer(job.assignment, job.signature, self.identity.domain, job.assignment.signer)
        if late_s and (not batch.unreceipted or batch.timestamp > late_s):
            # Its client may have paid another node, and was not told that nothing of its own stands behind this.
            leaf.score, leaf.check, leaf.problem = 0, b"", "no receipt, and not brought on chain as that demands"
            return self._commit_when_done(case)
        if (given := job.receipt) and not is_signed_by(
            given.receipt, given.signature, self.identity.domain, job.assignment.signer
        ):
            # No code on chain sees that: its signature stands in no leaf.
            leaf.score, leaf.check, leaf.problem = 0, b"", "its client has not signed the receipt"
            return self._commit_when_done(case)
        return (fetch_or_open(opening, holders),)

    def _fetched(self, cid: bytes) -> tuple[Effect, ...]:
        effects: list[Effect] = []
        for case in self._cases.values():
            for leaf in case.leaves.values():
                job = leaf.opening.entry.job if leaf.opening else None
                if leaf.opening is None or job is None or leaf.check is not None:
                    continue
                if leaf.failed is FetchBlob and leaf.missing == cid:
                    leaf.failed, leaf.missing = None, b""
                effects += after_fetch(leaf.opening, cid, self.member.peer_of(case.node))
        return tuple(effects)

    def _opened(self, opened: SampleOpened) -> tuple[Effect, ...]:
        case = self._cases.get(BatchId(opened.batch_id))
        leaf = case.leaves.get(opened.leaf_index) if case else None
        if case is None or leaf is None or leaf.opening is None or leaf.check is not None:
            return ()
        if opened.problem == NOT_FOR_US and not leaf.on_chain and case.demanded is None:
            # No other party can see that: it is to be shown on chain.
            leaf.failed = fx.OpenSample
            return ()
        if opened.problem:
            leaf.condemn(opened.problem)
            return self._commit_when_done(case)
        leaf.new_tokens, leaf.failed = opened.new_tokens, None
        job = leaf.opening.entry.job
        assert job is not None
        if Cid(job.details.manifest) not in self.member.models:
            holders = self.member.peer_of(case.node)
            return (FetchModel(job.details.manifest, (holders,) if holders else ()),)
        return (self._replay(case, opened.leaf_index, leaf),)

    def _replay(self, case: Case, index: int, leaf: DrawnLeaf) -> ReplaySample:
        return replay_sample(case.batch_id, index, leaf, case.class_id, self.settings, self.member.rules)

    def _replay_waiting(self, case: Case) -> tuple[Effect, ...]:
        return tuple(
            self._replay(case, index, leaf)
            for index, leaf in case.leaves.items()
            if leaf.opening is not None
            and leaf.opening.entry.job is not None
            and leaf.check is None
            and leaf.new_tokens
            and Cid(leaf.opening.entry.job.details.manifest) in self.member.models
        )

    def _replayed(self, replayed: SampleReplayed) -> tuple[Effect, ...]:
        case = self._cases.get(BatchId(replayed.batch_id))
        leaf = case.leaves.get(replayed.leaf_index) if case else None
        if case is None or leaf is None or leaf.check is not None:
            return ()
        if replayed.problem:
            # The runner refused what the node claims to have run: no honest node gets there.
            leaf.condemn(replayed.problem)
        elif not is_check(leaf.kind, replayed.check, leaf.new_tokens):
            # Our own runner is at fault, not the node.
            leaf.failed = ReplaySample
        else:
            leaf.check, leaf.failed = replayed.check, None
        return self._commit_when_done(case)

    # --- commit, compare, reveal ------------------------------------------------------------------------------------
    def _commit_when_done(self, case: Case) -> tuple[Effect, ...]:
        checks = [leaf.check for leaf in case.leaves.values() if leaf.check is not None]
        if case.committing or case.is_bound or case.seat is None or case.data_until or len(checks) < len(case.drawn):
            return ()
        case.committing, case.asked_at = True, self.member.head
        case.digest = checks_digest([case.leaves[index].check or b"" for index in case.drawn])
        case.evidence = evidence_of_case(self._evidence(case, leaf) for leaf in case.leaves.values())
        salt = self._salt(case)
        commitment = seat_commitment(case.batch_id, case.round, case.seat, case.digest, salt, case.evidence)
        return (CommitSeat(case.batch_id, case.seat, commitment),)

    def _evidence(self, case: Case, leaf: DrawnLeaf) -> int:
        job = leaf.opening.entry.job if leaf.opening else None
        if job is None or not leaf.check:
            return 0
        calibration = self.member.calibration(Cid(job.details.manifest), case.class_id)
        return leaf_evidence(leaf.kind, leaf.check, leaf.new_tokens, calibration)

    def _salt(self, case: Case) -> bytes:
        later = bytes([case.round]) if case.round else b""
        return hashlib.sha256(b"vcoin/seat/1" + self.settings.secret + case.batch_id + later).digest()

    def _ask_proof(self, case: Case) -> tuple[Effect, ...]:
        peer_id = self.member.peer_of(case.node)
        return (Send(peer_id, ProofQuery(case.batch_id)),) if peer_id else ()

    def _proof(self, peer_id: PeerId, opening: ProofOpening) -> tuple[Effect, ...]:
        case = self._cases.get(BatchId(opening.batch_id))
        return self._compare(case, opening) if case and self.member.operates(peer_id, case.node) else ()

    def _demanded(self, demand: DataDemanded) -> None:
        """A seat has the node show a leaf on chain, which it may once a case; everybody's turn waits."""
        case = self._cases.get(BatchId(demand.batch_id))
        if case is None or case.demanded is not None:
            return
        case.demanded, case.demanded_leaf, case.data_until = demand.seat, demand.leaf_index, demand.until

    def _answered(self, answered: DataAnswered, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """What the node has shown on chain counts as if it had come from it; every turn begins anew."""
        case = self._cases.get(BatchId(answered.batch_id))
        if case is None or not case.data_until:
            return ()
        case.data_until = 0
        if case.seat is None:
            return ()
        taken = self._take_answer(case, answered.data, now_ms)
        return taken or (*self._commit_when_done(case), *self._reveal_when_done(case))

    def _take_answer(self, case: Case, data: bytes, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Look at an answer on chain; rubbish in answer to this seat's own demand proves nothing."""
        mine, index = case.demanded == case.seat, case.demanded_leaf
        peer_id = self.member.peer_of(case.node)
        effects: tuple[Effect, ...] = ()
        try:
            message = decode_named(ANSWERS, data, MAX_ANSWER_BYTES)
            if (message.batch_id, message.leaf_index) != (case.batch_id, index):
                raise Malformed("another leaf than the one that was demanded")
            if isinstance(message, ProofOpening):
                effects = self._compare(case, message)
            elif mine:
                # What others were shown is sealed to them.
                effects = self._check(case, message, (peer_id,) if peer_id else (), now_ms, on_chain=True)
            problem = "not what was demanded"
        except RemoteProtocolError as error:
            problem = f"shown on chain: {error}"
        leaf = case.leaves.get(index)
        if leaf is None:
            return effects
        too_large = case.is_bound and not leaf.fits_on_chain
        if not mine or not case.lacks(index) or case.proves_no_leaf(index) or too_large:
            return effects
        leaf.condemn(problem)
        return *self._commit_when_done(case), *self._reveal_when_done(case)

    def _compare(self, case: Case, opening: ProofOpening) -> tuple[Effect, ...]:
        leaf = case.leaves.get(opening.leaf_index)
        if leaf is None or leaf.opening is None or leaf.score is not None:
            return ()
        if case.seat not in case.commitments:
            return ()
        assert leaf.opening.entry.job is not None
        calibration = self.member.calibration(Cid(leaf.opening.entry.job.details.manifest), case.class_id)
        leaf.proof = opening.proof
        leaf.score, leaf.problem = score_leaf(leaf, opening.proof, case.class_id, calibration)
        return self._reveal_when_done(case)

    def _reveal_when_done(self, case: Case) -> tuple[Effect, ...]:
        ready = case.seat in case.seats and case.are_all_bound
        scores = [case.leaves[index].score for index in case.drawn] if case.leaves else []
        known = tuple(score for score in scores if score is not None)
        if not ready or case.revealing or case.data_until or len(known) < len(case.drawn) or case.seat is None:
            return ()
        case.revealing, case.asked_at = True, self.member.head
        return (RevealSeat(case.batch_id, case.seat, case.digest, known, self._salt(case), case.evidence),)

    # --- the case as everybody sees it ------------------------------------------------------------------------------
    def _follow(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        case = self._cases.get(BatchId(getattr(event, "batch_id", b"")))
        if case is None:
            return ()
        match event:
            case SeatAdded(seat=seat, node=node) if seat >= case.seats_told:
                case.seats[seat], case.seats_told = node, seat + 1
                if node == self.identity.node_id:
                    return self._sit(case, seat, event.timestamp, now_ms)
            case SeatSilenced(seat=seat):
                case.seats.pop(seat, None)
                if seat == case.seat:
                    case.leave()
                return self._reveal_when_done(case)
            case SeatCommitted(seat=seat) if seat not in case.commitments:
                case.commitments.add(seat)
                if seat == case.seat:
                    case.asked_ms = now_ms
                    return (*self._ask_proof(case), *self._reveal_when_done(case))
                return self._reveal_when_done(case)
            case SeatRevealed(_, seat, node, scores, digest, evidence) if seat not in case.scores:
                case.scores[seat] = scores
                case.revealed[seat] = Revealed(node, digest, evidence)
                if set(case.scores) >= set(case.seats) and case.seat is not None:
                    # The seats take turns, so that one of them pays for the call.
                    return (AwaitDeadline(ResolveTimer(case.batch_id), now_ms + case.seat * STAGGER_MS),)
            case CaseGrown(round=number) if number > case.round:
                # Its seats follow, perhaps this node among them again.
                case.round, case.appeal_until, case.seats = number, 0, {}
                case.leave()
            case CaseDecided(until=until) if not case.round:
                case.appeal_until = until
            case CaseResolved(verdict=verdict, median=median) if case.verdict in (Verdict.NONE, Verdict.PASS):
                # A proof overrules the court that let it pass; that it had passed may be told again after it.
                case.verdict, case.median = verdict, median
            case _:
                pass
        return ()

    def _resolve(self, batch_id: BatchId) -> tuple[Effect, ...]:
        case, batch = self._cases.get(batch_id), self._batches.get(batch_id)
        if case is None or batch is None or case.verdict is not Verdict.NONE:
            return ()
        return (ResolveCase(batch_id, batch.contents),) if set(case.scores) >= set(case.seats) else ()

    def _failed(self, failed: EffectFailed, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """What failed for now is tried again; what was refused for good, once its block would be final."""
        match failed.effect:
            case fx.FetchBlob | fx.FetchModel:
                self._not_fetched(failed)
            case fx.ProveFraud if case := self._cases.get(BatchId(failed.about)):
                return self._prover.failed(case, failed, now_ms)
            case fx.OpenSample | fx.ReplaySample if case := self._cases.get(BatchId(failed.about)):
                # Which leaf it was is not told; those that go on will say so.
                for leaf in case.leaves.values():
                    if leaf.manifest is not None and bool(leaf.new_tokens) is (failed.effect is ReplaySample):
                        leaf.failed = leaf.failed or failed.effect
            case _ if failed.transient and (case := self._cases.get(BatchId(failed.about))):
                case.committing = case.committing and failed.effect is not CommitSeat
                case.revealing = case.revealing and failed.effect is not RevealSeat
                case.leaving = case.leaving and failed.effect is not fx.AbstainSeat
                case.demanding = case.demanding and failed.effect is not fx.DemandData
        return ()

    def _not_fetched(self, failed: EffectFailed) -> None:
        for case in self._cases.values():
            for leaf in case.leaves.values():
                job = leaf.opening.entry.job if leaf.opening else None
                if job is None or leaf.check is not None:
                    continue
                if failed.effect is FetchModel and failed.about == leaf.manifest:
                    leaf.failed = failed.effect
                elif failed.effect is FetchBlob and failed.about in (job.details.input_cid, job.result.blob_cid):
                    leaf.failed, leaf.missing = failed.effect, failed.about
