"""The auditor: checks those who have checked.

Where the chain draws it for a case that passed, it asks each seat for what it was shown and what it computed, runs its
own pass, and compares. A seat whose digest is not that of what it shows, or that computed something else, has not
looked; one that let a fraud pass has lied. What the node's fingerprint is worth by this pass is said as well; to whom
no seat has shown a leaf says so.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from protocol import effects as fx
from protocol.effects import (
    AwaitDeadline,
    CloseAudit,
    CommitAudit,
    ConveneAudit,
    Effect,
    FetchModel,
    RevealAudit,
    Send,
)
from protocol.events import (
    AuditCommitted,
    AuditConvened,
    AuditEnded,
    AuditNotDrawn,
    AuditRevealed,
    BlobFetched,
    BlockSeen,
    CaseResolved,
    DeadlinePassed,
    EffectFailed,
    Event,
    MessageReceived,
    ModelAdded,
    SampleOpened,
    SampleReplayed,
)
from protocol.judging.kinds import is_check
from protocol.messages import Message
from protocol.params import AUDIT_LATEST_EPOCHS, AUDITORS
from protocol.roles.audits import Audit, AuditedSeat
from protocol.roles.cases import DrawnLeaf
from protocol.roles.identity import Identity, Settings
from protocol.roles.member import Member
from protocol.roles.replays import after_fetch, fetch_or_open, replay_sample, require_in_batch, score_leaf
from protocol.roles.verifier import Verifier
from protocol.stages.commitment import LeafStatus
from protocol.stages.sampling import epoch_of, seed_block
from protocol.stages.verification import (
    NOTHING_SHOWN_BPS,
    AuditQuery,
    CheckOpening,
    ProofOpening,
    SampleOpening,
    Verdict,
    audit_commitment,
)
from protocol.timers import AuditTimer, CloseAuditTimer, CommitAuditTimer, ConveneAuditTimer, RevealAuditTimer
from protocol.wire.ids import BatchId, Cid, PeerId, TimestampMs

ASK_AGAIN_MS = 3_000
STAGGER_S = 4
WAITING_KEPT = 1_024
AUDITS_KEPT = 256
LATE_PARTS = (3, 4)
"""After so much of its turn an auditor commits to what it has: who has shown nothing by then has nothing to show."""
NOTHING_TO_CHECK_BPS = 10_000


@dataclass(slots=True)
class Auditor:
    """The audits of this node, and the cases that may become one."""

    identity: Identity
    settings: Settings
    member: Member
    verifier: Verifier
    _waiting: dict[BatchId, int] = field(default_factory=dict)
    """Cases that passed, each with the epoch whose seed says whether they are audited."""
    _trying: set[BatchId] = field(default_factory=set)
    _over: dict[BatchId, None] = field(default_factory=dict)
    """Cases that passed and are no business of this node any more, however often they are told."""
    _tried_at: dict[BatchId, int] = field(default_factory=dict, compare=False)
    """The heads when this node last asked to convene."""
    _moments: set[BatchId] = field(default_factory=set, compare=False)
    """Those for which the time to try was asked for since this process began; heads are not in the journal."""
    _audits: dict[BatchId, Audit] = field(default_factory=dict)

    @property
    def audits(self) -> tuple[Audit, ...]:
        """Every audit that this node was drawn for, oldest first."""
        return tuple(self._audits.values())

    def expects(self, peer_id: PeerId, message: Message) -> bool:
        """Whether a message shows what an audit of this node still waits for."""
        if not isinstance(message, SampleOpening | ProofOpening | CheckOpening):
            return False
        audit = self._audits.get(BatchId(message.batch_id))
        if audit is None or audit.findings is not None or message.leaf_index not in audit.leaves:
            return False
        return self._seat_of(audit, peer_id) is not None

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """What an event makes the auditor want."""
        match event:
            case CaseResolved(batch_id=batch_id, verdict=Verdict.PASS, block=block):
                self._passed(BatchId(batch_id), block)
            case AuditConvened():
                return self._convened(event, now_ms)
            case AuditNotDrawn(batch_id):
                self._forget(BatchId(batch_id))
            case MessageReceived(peer_id, SampleOpening() as opening):
                return self._sample(peer_id, opening)
            case MessageReceived(peer_id, ProofOpening() as proof):
                return self._proof(peer_id, proof)
            case MessageReceived(peer_id, CheckOpening() as shown):
                return self._check(peer_id, shown)
            case BlobFetched(cid):
                return self._fetched(cid)
            case ModelAdded():
                return tuple(effect for audit in self._audits.values() for effect in self._replay_waiting(audit))
            case SampleOpened():
                return self._opened(event)
            case SampleReplayed():
                return self._replayed(event)
            case AuditCommitted(batch_id, auditor) | AuditRevealed(batch_id, auditor):
                if audit := self._audits.get(BatchId(batch_id)):
                    (audit.committed if isinstance(event, AuditCommitted) else audit.revealed).add(auditor)
                    return self._reveal_when_done(audit)
            case AuditEnded(batch_id=batch_id):
                if audit := self._audits.get(BatchId(batch_id)):
                    audit.ended = True
            case DeadlinePassed(ConveneAuditTimer(batch_id)):
                return self._try(BatchId(batch_id))
            case DeadlinePassed((CommitAuditTimer() | RevealAuditTimer() | CloseAuditTimer()) as timer):
                return self._due(timer)
            case EffectFailed():
                self._failed(event)
            case BlockSeen():
                return self._look(now_ms)
            case _:
                pass
        return ()

    # --- before -------------------------------------------------------------------------------------------------------
    def _passed(self, batch_id: BatchId, block: int) -> None:
        """A case passed: if this node may audit it, see once its seed is there."""
        case, batch = self.verifier.case(batch_id), self.verifier.batch(batch_id)
        if case is None or batch is None or batch.uncalibrated or batch_id in self._audits or batch_id in self._over:
            return
        sat = any(each.node == self.identity.node_id for each in case.revealed.values())
        if sat or case.node == self.identity.node_id or case.class_id not in self.member.device.class_ids:
            return
        while len(self._waiting) >= WAITING_KEPT:
            self._waiting.pop(next(iter(self._waiting)))
        self._waiting[batch_id] = epoch_of(block, self.member.rules.epoch)

    def _forget(self, batch_id: BatchId) -> None:
        self._waiting.pop(batch_id, None)
        self._trying.discard(batch_id)
        self._moments.discard(batch_id)
        self._tried_at.pop(batch_id, None)
        while len(self._over) >= WAITING_KEPT:
            self._over.pop(next(iter(self._over)))
        self._over[batch_id] = None

    def _convened(self, event: AuditConvened, now_ms: TimestampMs) -> tuple[Effect, ...]:
        batch_id = BatchId(event.batch_id)
        self._forget(batch_id)
        case = self.verifier.case(batch_id)
        if case is None or batch_id in self._audits or self.identity.node_id not in event.auditors:
            return ()
        while len(self._audits) >= AUDITS_KEPT:
            self._audits.pop(next(iter(self._audits)))
        audit = Audit(
            batch_id=batch_id,
            class_id=case.class_id,
            place=event.auditors.index(self.identity.node_id),
            since=event.timestamp,
            seats={
                seat: AuditedSeat(each.node, each.digest, case.scores[seat], each.evidence)
                for seat, each in sorted(case.revealed.items())
            },
            leaves={index: DrawnLeaf() for index in case.drawn},
        )
        self._audits[batch_id] = audit
        return self._ask(audit, now_ms)

    def _ask(self, audit: Audit, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Every seat that has not shown everything is asked."""
        audit.asked_ms = now_ms
        query = AuditQuery(audit.batch_id, self.member.hpke_key)
        lacking = audit.lacks()
        peers = (
            self.member.peer_of(seat.node)
            for seat in audit.seats.values()
            if lacking and (len(seat.checks) < len(audit.leaves) or self._is_unopened(audit))
        )
        return tuple(Send(peer_id, query) for peer_id in peers if peer_id)

    def _is_unopened(self, audit: Audit) -> bool:
        return any(leaf.opening is None or leaf.score is None for leaf in audit.leaves.values())

    # --- what chain time makes due ------------------------------------------------------------------------------------
    def _look(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        effects: list[Effect] = []
        rules, head = self.member.rules, self.member.head
        for batch_id, epoch in self._waiting.items():
            in_time = epoch_of(head, rules.epoch) <= epoch + AUDIT_LATEST_EPOCHS
            tried = batch_id in self._trying
            if (
                in_time
                and not tried
                and batch_id not in self._moments
                and head > seed_block(epoch, rules.epoch, rules.lag)
            ):
                self._moments.add(batch_id)
                effects.append(AwaitDeadline(ConveneAuditTimer(batch_id), now_ms))
            elif in_time and tried and self.member.is_overdue(self._tried_at.setdefault(batch_id, head)):
                # It was mined and has fallen out, or it would have been told by now.
                effects += self._convene(batch_id)
        for audit in self._audits.values():
            if not audit.ended:
                effects += self._look_at(audit, now_ms)
        return tuple(effects)

    def _look_at(self, audit: Audit, now_ms: TimestampMs) -> tuple[Effect, ...]:
        window, now_s = self.member.rules.seat_window_s, self.member.timestamp
        late = audit.since + window * LATE_PARTS[0] // LATE_PARTS[1]
        timer: AuditTimer | None = None
        if audit.findings is None and late < now_s <= audit.since + window:
            timer = CommitAuditTimer(audit.batch_id)
        elif audit.is_bound and not audit.revealing and now_s > audit.since + window:
            timer = RevealAuditTimer(audit.batch_id)
        elif not audit.closing and now_s > audit.since + 2 * window + audit.place * STAGGER_S:
            timer = CloseAuditTimer(audit.batch_id)
        asked: tuple[Effect, ...] = ()
        if timer is not None and audit.timer != timer:
            audit.timer = timer
            asked = (AwaitDeadline(timer, now_ms),)
        if audit.asked_at is not None and self.member.is_overdue(audit.asked_at):
            return *asked, *self._ask_transaction_again(audit)
        if audit.findings is None and audit.lacks() and now_ms - audit.asked_ms >= ASK_AGAIN_MS:
            return *asked, *self._ask(audit, now_ms)
        return asked

    def _ask_transaction_again(self, audit: Audit) -> tuple[Effect, ...]:
        """What should have been told by now is asked for once more."""
        audit.asked_at = self.member.head
        if audit.findings is not None and not audit.is_bound:
            return (self._commitment(audit),)
        if audit.revealing and audit.place not in audit.revealed:
            return (self._revelation(audit),)
        return (CloseAudit(audit.batch_id),) if audit.closing else ()

    def _due(self, timer: AuditTimer) -> tuple[Effect, ...]:
        audit = self._audits.get(BatchId(timer.batch_id))
        if audit is None or audit.ended:
            return ()
        audit.timer = timer
        match timer:
            case CommitAuditTimer():
                return self._commit(audit)
            case RevealAuditTimer() if audit.is_bound and not audit.revealing:
                return self._reveal(audit)
            case CloseAuditTimer() if not audit.closing:
                return self._close(audit)
            case _:
                return ()

    def _try(self, batch_id: BatchId) -> tuple[Effect, ...]:
        if batch_id not in self._waiting or batch_id in self._trying:
            return ()
        self._trying.add(batch_id)
        return self._convene(batch_id)

    def _convene(self, batch_id: BatchId) -> tuple[Effect, ...]:
        batch = self.verifier.batch(batch_id)
        if batch is None:
            return ()
        self._tried_at[batch_id] = self.member.head
        return (ConveneAudit(batch_id, batch.node, batch.slot, batch.contents, self.identity.node_id),)

    # --- what seats show ----------------------------------------------------------------------------------------------
    def _seat_of(self, audit: Audit, peer_id: PeerId) -> int | None:
        return next((seat for seat, each in audit.seats.items() if self.member.operates(peer_id, each.node)), None)

    def _find(self, peer_id: PeerId, batch_id: bytes, index: int) -> tuple[Audit, int, DrawnLeaf] | None:
        audit = self._audits.get(BatchId(batch_id))
        seat = self._seat_of(audit, peer_id) if audit else None
        if audit is None or seat is None or audit.findings is not None or index not in audit.leaves:
            return None
        return audit, seat, audit.leaves[index]

    def _sample(self, peer_id: PeerId, opening: SampleOpening) -> tuple[Effect, ...]:
        """The first seat that shows a leaf as it is in the batch; papers that are not those cost it."""
        found = self._find(peer_id, opening.batch_id, opening.leaf_index)
        batch = self.verifier.batch(opening.batch_id)
        if found is None or batch is None:
            return ()
        audit, seat, leaf = found
        if leaf.opening is not None or opening.leaf_index in audit.seats[seat].spoilt:
            return ()
        require_in_batch(opening, batch)
        leaf.opening, audit.shown_by[opening.leaf_index] = opening, seat
        job = opening.entry.job
        if opening.entry.leaf.status != LeafStatus.OK or job is None:
            leaf.score, leaf.check = NOTHING_TO_CHECK_BPS, b""
            return self._commit_when_done(audit)
        return (fetch_or_open(opening, (peer_id,)),)

    def _fetched(self, cid: bytes) -> tuple[Effect, ...]:
        effects: list[Effect] = []
        for audit in self._audits.values():
            for index, leaf in audit.leaves.items():
                job = leaf.opening.entry.job if leaf.opening else None
                if leaf.opening is None or job is None or leaf.check is not None or audit.findings is not None:
                    continue
                shown_by = audit.seats[audit.shown_by[index]]
                effects += after_fetch(leaf.opening, cid, self.member.peer_of(shown_by.node))
        return tuple(effects)

    def _opened(self, opened: SampleOpened) -> tuple[Effect, ...]:
        audit = self._audits.get(BatchId(opened.batch_id))
        leaf = audit.leaves.get(opened.leaf_index) if audit else None
        if audit is None or leaf is None or leaf.opening is None or leaf.check is not None:
            return ()
        if opened.problem:
            # What this seat has shown is not what it was shown; another one may do better.
            audit.seats[audit.shown_by.pop(opened.leaf_index)].spoilt.add(opened.leaf_index)
            leaf.opening = None
            return ()
        leaf.new_tokens = opened.new_tokens
        job = leaf.opening.entry.job
        assert job is not None
        if Cid(job.details.manifest) in self.member.models:
            return (self._replay(audit, opened.leaf_index, leaf),)
        holder = self.member.peer_of(audit.seats[audit.shown_by[opened.leaf_index]].node)
        return (FetchModel(job.details.manifest, (holder,) if holder else ()),)

    def _replay(self, audit: Audit, index: int, leaf: DrawnLeaf) -> Effect:
        return replay_sample(audit.batch_id, index, leaf, audit.class_id, self.settings, self.member.rules)

    def _replay_waiting(self, audit: Audit) -> tuple[Effect, ...]:
        return tuple(
            self._replay(audit, index, leaf)
            for index, leaf in audit.leaves.items()
            if leaf.new_tokens and leaf.manifest is not None and leaf.manifest in self.member.models
        )

    def _replayed(self, replayed: SampleReplayed) -> tuple[Effect, ...]:
        audit = self._audits.get(BatchId(replayed.batch_id))
        leaf = audit.leaves.get(replayed.leaf_index) if audit else None
        if audit is None or leaf is None or leaf.check is not None:
            return ()
        if replayed.problem:
            leaf.condemn(replayed.problem)
        elif is_check(leaf.kind, replayed.check, leaf.new_tokens):
            leaf.check = replayed.check
            self._score(audit, leaf)
        return self._commit_when_done(audit)

    def _proof(self, peer_id: PeerId, opening: ProofOpening) -> tuple[Effect, ...]:
        """The fingerprint is bound by what the node has signed, so any seat may show it."""
        found = self._find(peer_id, opening.batch_id, opening.leaf_index)
        if found is None:
            return ()
        audit, _, leaf = found
        if leaf.score is None:
            leaf.proof = opening.proof
            self._score(audit, leaf)
        return self._commit_when_done(audit)

    def _score(self, audit: Audit, leaf: DrawnLeaf) -> None:
        job = leaf.opening.entry.job if leaf.opening else None
        if job is None or not leaf.check or not leaf.proof:
            return
        calibration = self.member.calibration(Cid(job.details.manifest), audit.class_id)
        points, problem = score_leaf(leaf, leaf.proof, audit.class_id, calibration)
        # A seat may have shown another fingerprint than the node's: that is held against no party.
        leaf.score = None if problem else points
        leaf.proof = b"" if problem else leaf.proof

    def _check(self, peer_id: PeerId, shown: CheckOpening) -> tuple[Effect, ...]:
        found = self._find(peer_id, shown.batch_id, shown.leaf_index)
        if found is None:
            return ()
        audit, seat, _ = found
        audit.seats[seat].checks.setdefault(shown.leaf_index, shown.check)
        return self._commit_when_done(audit)

    # --- what is found ------------------------------------------------------------------------------------------------
    def _commit_when_done(self, audit: Audit) -> tuple[Effect, ...]:
        return () if audit.findings is not None or audit.lacks() else self._commit(audit)

    def _commit(self, audit: Audit) -> tuple[Effect, ...]:
        if audit.findings is not None:
            return ()
        off = tuple(seat for seat in audit.seats if not audit.is_honest(seat, self.member.calibration))
        scores = [leaf.score for leaf in audit.leaves.values()]
        known = [score for score in scores if score is not None]
        audit.findings = (off, min(known) if len(known) == len(scores) else NOTHING_SHOWN_BPS)
        audit.asked_at = self.member.head
        return (self._commitment(audit),)

    def _commitment(self, audit: Audit) -> CommitAudit:
        assert audit.findings is not None
        off, score = audit.findings
        sealed = audit_commitment(audit.batch_id, audit.place, off, score, self._salt(audit))
        return CommitAudit(audit.batch_id, audit.place, sealed)

    def _salt(self, audit: Audit) -> bytes:
        return hashlib.sha256(b"vcoin/audit/1" + self.settings.secret + audit.batch_id).digest()

    def _reveal_when_done(self, audit: Audit) -> tuple[Effect, ...]:
        """Once all have committed; and when all have revealed it may end, at the first one's call."""
        everybody: Iterable[int] = range(AUDITORS)
        if audit.committed.issuperset(everybody) and not audit.revealing:
            return self._reveal(audit)
        if audit.revealed.issuperset(everybody) and not audit.place and not audit.closing:
            return self._close(audit)
        return ()

    def _reveal(self, audit: Audit) -> tuple[Effect, ...]:
        if audit.findings is None:
            return ()
        audit.revealing, audit.asked_at = True, self.member.head
        return (self._revelation(audit),)

    def _revelation(self, audit: Audit) -> RevealAudit:
        assert audit.findings is not None
        off, score = audit.findings
        return RevealAudit(audit.batch_id, audit.place, off, score, self._salt(audit))

    def _close(self, audit: Audit) -> tuple[Effect, ...]:
        audit.closing, audit.asked_at = True, self.member.head
        return (CloseAudit(audit.batch_id),)

    def _failed(self, failed: EffectFailed) -> None:
        """What failed for now is tried again, with the blocks; what was refused for good is not."""
        batch_id = BatchId(failed.about)
        match failed.effect:
            case fx.ConveneAudit if failed.transient:
                self._trying.discard(batch_id)
                self._moments.discard(batch_id)
            case fx.ConveneAudit:
                self._forget(batch_id)
            case fx.CommitAudit | fx.RevealAudit | fx.CloseAudit if audit := self._audits.get(batch_id):
                audit.timer = None
                if not failed.transient:
                    return
                audit.revealing = audit.revealing and failed.effect is not RevealAudit
                audit.closing = audit.closing and failed.effect is not CloseAudit
            case _:
                pass
