"""The auditor: checks the seats of a case that passed, if the chain draws this node for it.

It asks each seat for what it was shown and what it computed, runs its own pass, and compares. A seat whose digest is
not that of what it shows, or that computed something else, has not looked; one that let a fraud pass has lied. The
auditor also says what the node's fingerprint is worth by its own pass, or that no seat has shown it a leaf.
"""

import hashlib
from dataclasses import dataclass, field

from protocol import effects as fx
from protocol import events as ev
from protocol.court.docket import Docket, DocketAudit
from protocol.messages import Message
from protocol.params import AUDITORS
from protocol.roles.member import Member
from protocol.roles.verifier.audit import Audit, AuditedSeat
from protocol.roles.verifier.convening import AuditConvening
from protocol.roles.verifier.examination import Examination
from protocol.roles.verifier.leaf import DrawnLeaf
from protocol.stages.verification import (
    NOTHING_SHOWN_BPS,
    AuditQuery,
    CheckOpening,
    FingerprintOpening,
    SampleOpening,
    Verdict,
    audit_commitment,
)
from protocol.timers import AuditTimer, CloseAuditTimer, CommitAuditTimer, ConveneAuditTimer, RevealAuditTimer
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import BatchId, PeerId, TimestampMs

ASK_AGAIN_MS = 3_000
STAGGER_S = 4
AUDITS_KEPT = 256
LATE_PARTS = (3, 4)
"""After so much of its turn an auditor commits to what it has: a seat that has shown nothing by then shows nothing."""


@dataclass(slots=True)
class Auditor:
    """The audits of this node."""

    member: Member
    docket: Docket
    _audits: dict[BatchId, Audit] = field(default_factory=dict)
    _convening: AuditConvening = field(init=False)
    _examination: Examination = field(init=False)

    def __post_init__(self) -> None:
        self._convening = AuditConvening(self.member, self.docket)
        self._examination = Examination(self.member, self.docket, self._audits)

    @property
    def audits(self) -> tuple[Audit, ...]:
        """Every audit that this node was drawn for, oldest first."""
        return tuple(self._audits.values())

    def expects(self, peer_id: PeerId, message: Message) -> bool:
        """Whether a message shows what an audit of this node still waits for."""
        if not isinstance(message, SampleOpening | FingerprintOpening | CheckOpening):
            return False
        return self._examination.find(peer_id, message.batch_id, message.leaf_index) is not None

    def handle(self, event: ev.Event, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Return the effects that an event calls for."""
        match event:
            case ev.CaseResolved(batch_id=batch_id, verdict=Verdict.PASS, block=block):
                self._convening.passed(BatchId(batch_id), block)
            case ev.AuditConvened():
                return self._convened(event, now_ms)
            case ev.AuditNotDrawn(batch_id):
                self._convening.forget(BatchId(batch_id))
            case ev.MessageReceived(peer_id, SampleOpening() as opening):
                done, effects = self._examination.sample(peer_id, opening)
                return effects or self._commit_when_done(done)
            case ev.MessageReceived(peer_id, FingerprintOpening() as proof):
                return self._commit_when_done(self._examination.take_fingerprint(peer_id, proof))
            case ev.MessageReceived(peer_id, CheckOpening() as shown):
                return self._commit_when_done(self._examination.take_check(peer_id, shown))
            case ev.BlobFetched(cid):
                return self._examination.fetched(cid)
            case ev.ModelAdded():
                return self._examination.run_waiting()
            case ev.SampleOpened():
                return self._examination.take_content(event)
            case ev.SampleReplayed():
                return self._commit_when_done(self._examination.take_pass(event))
            case ev.AuditCommitted(batch_id=batch_id) | ev.AuditRevealed(batch_id=batch_id):
                return self._reveal_when_done(self._audits.get(BatchId(batch_id)))
            case ev.DeadlinePassed(ConveneAuditTimer(batch_id)):
                return self._convening.convene(BatchId(batch_id))
            case ev.DeadlinePassed((CommitAuditTimer() | RevealAuditTimer() | CloseAuditTimer()) as timer):
                return self._due(timer)
            case ev.EffectFailed(effect=fx.ConveneAudit):
                self._convening.failed(event)
            case ev.EffectFailed():
                self._failed(event)
            case ev.BlockSeen():
                looks = (self._look_at(audit, now_ms) for audit in self._audits.values())
                return *self._convening.look(now_ms), *(effect for look in looks for effect in look)
        return ()

    def _convened(self, event: ev.AuditConvened, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        batch_id = BatchId(event.batch_id)
        self._convening.forget(batch_id)
        case = self.docket.case(batch_id)
        if case is None or self.member.identity.node_id not in event.auditors:
            return ()
        audit = Audit(
            batch_id=batch_id,
            place=event.auditors.index(self.member.identity.node_id),
            seats={
                number: AuditedSeat(seat.node, seat.digest, seat.scores, seat.llr_millinats)
                for number, seat in case.revealed.items()
            },
            leaves={index: DrawnLeaf() for index in case.drawn},
        )
        keep_newest(self._audits, batch_id, audit, AUDITS_KEPT)
        return self._ask(audit, now_ms)

    def _public(self, audit: Audit) -> DocketAudit:
        """The audit as every node sees it; one that the docket has forgotten has ended."""
        batch = self.docket.batch(audit.batch_id)
        return batch.audit if batch and batch.audit else DocketAudit((), 0, ended=True)

    def _is_bound(self, audit: Audit) -> bool:
        return audit.place in self._public(audit).committed

    def _ask(self, audit: Audit, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Every seat that has not shown everything is asked."""
        audit.asked_ms = now_ms
        query = AuditQuery(audit.batch_id, self.member.hpke_key)
        peers = (self.member.peer_of(audit.seats[seat].node) for seat in audit.lacking_seats())
        return tuple(fx.Send(peer_id, query) for peer_id in peers if peer_id)

    # --- what chain time makes due ------------------------------------------------------------------------------------
    def _look_at(self, audit: Audit, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        public, window, now_s = self._public(audit), self.member.rules.seat_window_s, self.member.timestamp
        if public.ended:
            return ()
        late = public.since + window * LATE_PARTS[0] // LATE_PARTS[1]
        timer: AuditTimer | None = None
        if audit.findings is None and late < now_s <= public.since + window:
            timer = CommitAuditTimer(audit.batch_id)
        elif self._is_bound(audit) and not audit.revealing and now_s > public.since + window:
            timer = RevealAuditTimer(audit.batch_id)
        elif not audit.closing and now_s > public.since + 2 * window + audit.place * STAGGER_S:
            timer = CloseAuditTimer(audit.batch_id)
        asked: tuple[fx.Effect, ...] = ()
        if timer is not None and audit.timer != timer:
            audit.timer = timer
            asked = (fx.AwaitDeadline(timer, now_ms),)
        if audit.asked_at_block is not None and self.member.is_overdue(audit.asked_at_block):
            return *asked, *self._ask_transaction_again(audit)
        if audit.findings is None and audit.lacks() and now_ms - audit.asked_ms >= ASK_AGAIN_MS:
            return *asked, *self._ask(audit, now_ms)
        return asked

    def _ask_transaction_again(self, audit: Audit) -> tuple[fx.Effect, ...]:
        """Ask again for a transaction whose event is overdue."""
        audit.asked_at_block = self.member.head
        if audit.findings is not None and not self._is_bound(audit):
            return (self._commitment(audit),)
        if audit.revealing and audit.place not in self._public(audit).revealed:
            return (self._revelation(audit),)
        return (fx.CloseAudit(audit.batch_id),) if audit.closing else ()

    def _due(self, timer: AuditTimer) -> tuple[fx.Effect, ...]:
        audit = self._audits.get(BatchId(timer.batch_id))
        if audit is None or self._public(audit).ended:
            return ()
        audit.timer = timer
        match timer:
            case CommitAuditTimer():
                return self._commit(audit)
            case RevealAuditTimer() if self._is_bound(audit) and not audit.revealing:
                return self._reveal(audit)
            case CloseAuditTimer() if not audit.closing:
                return self._close(audit)
            case _:
                return ()

    # --- what is found ------------------------------------------------------------------------------------------------
    def _commit_when_done(self, audit: Audit | None) -> tuple[fx.Effect, ...]:
        return self._commit(audit) if audit and not audit.lacks() else ()

    def _commit(self, audit: Audit) -> tuple[fx.Effect, ...]:
        batch = self.docket.batch(audit.batch_id)
        if audit.findings is not None or batch is None:
            return ()
        class_id, constants = batch.submitted.class_id, self.member.calibration
        off = tuple(seat for seat in audit.seats if not audit.is_honest(seat, class_id, constants))
        scores = [leaf.score for leaf in audit.leaves.values()]
        known = [score for score in scores if score is not None]
        audit.findings = (off, min(known) if len(known) == len(scores) else NOTHING_SHOWN_BPS)
        audit.asked_at_block = self.member.head
        return (self._commitment(audit),)

    def _commitment(self, audit: Audit) -> fx.CommitAudit:
        assert audit.findings is not None
        off, score = audit.findings
        sealed = audit_commitment(audit.batch_id, audit.place, off, score, self._salt(audit))
        return fx.CommitAudit(audit.batch_id, audit.place, sealed)

    def _salt(self, audit: Audit) -> bytes:
        return hashlib.sha256(b"vcoin/audit/1" + self.member.settings.secret + audit.batch_id).digest()

    def _reveal_when_done(self, audit: Audit | None) -> tuple[fx.Effect, ...]:
        """Once all have committed; and when all have revealed it may end, at the first one's call."""
        if audit is None:
            return ()
        public, everyone = self._public(audit), frozenset(range(AUDITORS))
        if public.committed >= everyone and not audit.revealing:
            return self._reveal(audit)
        if public.revealed >= everyone and not audit.place and not audit.closing:
            return self._close(audit)
        return ()

    def _reveal(self, audit: Audit) -> tuple[fx.Effect, ...]:
        if audit.findings is None:
            return ()
        audit.revealing, audit.asked_at_block = True, self.member.head
        return (self._revelation(audit),)

    def _revelation(self, audit: Audit) -> fx.RevealAudit:
        assert audit.findings is not None
        off, score = audit.findings
        return fx.RevealAudit(audit.batch_id, audit.place, off, score, self._salt(audit))

    def _close(self, audit: Audit) -> tuple[fx.Effect, ...]:
        audit.closing, audit.asked_at_block = True, self.member.head
        return (fx.CloseAudit(audit.batch_id),)

    def _failed(self, failed: ev.EffectFailed) -> None:
        """Allow a second try with a later block after a transient failure; none after a refusal."""
        audit = self._audits.get(BatchId(failed.about))
        if audit is None or failed.effect not in (fx.CommitAudit, fx.RevealAudit, fx.CloseAudit):
            return
        audit.timer = None
        if failed.transient:
            audit.revealing = audit.revealing and failed.effect is not fx.RevealAudit
            audit.closing = audit.closing and failed.effect is not fx.CloseAudit
