"""Which cases this node has audited: those that passed, once the seed is there that says so."""

from dataclasses import dataclass, field

from protocol.court.docket import Docket
from protocol.effects import AwaitDeadline, ConveneAudit, Effect
from protocol.events import EffectFailed
from protocol.params import AUDIT_LATEST_EPOCHS
from protocol.roles.member import Member
from protocol.stages.sampling import epoch_of, seed_block
from protocol.timers import ConveneAuditTimer
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import BatchId, TimestampMs

CASES_KEPT = 1_024


@dataclass(slots=True)
class AuditConvening:
    """The cases that may become an audit of this node."""

    member: Member
    docket: Docket
    _waiting: dict[BatchId, int] = field(default_factory=dict)
    """Cases that passed, each with the epoch whose seed says whether they are audited."""
    _trying: set[BatchId] = field(default_factory=set)
    _over: dict[BatchId, None] = field(default_factory=dict)
    """Cases that passed and are no business of this node any more, however often they are told."""
    _tried_at: dict[BatchId, int] = field(default_factory=dict, compare=False)
    """The heads when this node last asked to convene."""
    _timers: set[BatchId] = field(default_factory=set, compare=False)
    """Those for which the time to try was asked for since this process began; heads are not in the journal."""

    def passed(self, batch_id: BatchId, block: int) -> None:
        """A case passed in a block: if this node may audit it, see once its seed is there."""
        batch = self.docket.batch(batch_id)
        if batch is None or batch.case is None or batch_id in self._over or batch.submitted.uncalibrated:
            return
        own, submitted = self.member.identity.node_id, batch.submitted
        sat = any(seat.node == own for seat in batch.case.revealed.values())
        if sat or submitted.node == own or submitted.class_id not in self.member.device.class_ids:
            return
        keep_newest(self._waiting, batch_id, epoch_of(block, self.member.rules.epoch), CASES_KEPT)

    def forget(self, batch_id: BatchId) -> None:
        """A case is audited, or is not to be."""
        self._waiting.pop(batch_id, None)
        self._trying.discard(batch_id)
        self._timers.discard(batch_id)
        self._tried_at.pop(batch_id, None)
        keep_newest(self._over, batch_id, None, CASES_KEPT)

    def look(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Return the effects that a new block makes due."""
        effects: list[Effect] = []
        rules, head = self.member.rules, self.member.head
        for batch_id, epoch in self._waiting.items():
            if epoch_of(head, rules.epoch) > epoch + AUDIT_LATEST_EPOCHS:
                continue
            if batch_id in self._trying:
                if self.member.is_overdue(self._tried_at.setdefault(batch_id, head)):
                    # It was mined and has fallen out, or it would have been told by now.
                    effects += self._convene(batch_id)
            elif batch_id not in self._timers and head > seed_block(epoch, rules.epoch, rules.lag):
                self._timers.add(batch_id)
                effects.append(AwaitDeadline(ConveneAuditTimer(batch_id), now_ms))
        return tuple(effects)

    def convene(self, batch_id: BatchId) -> tuple[Effect, ...]:
        """The time to try has come; once."""
        if batch_id not in self._waiting or batch_id in self._trying:
            return ()
        self._trying.add(batch_id)
        return self._convene(batch_id)

    def failed(self, failed: EffectFailed) -> None:
        """Try again with a later block after a transient failure; forget the case after a refusal."""
        batch_id = BatchId(failed.about)
        if failed.transient:
            self._trying.discard(batch_id)
            self._timers.discard(batch_id)
        else:
            self.forget(batch_id)

    def _convene(self, batch_id: BatchId) -> tuple[Effect, ...]:
        batch = self.docket.batch(batch_id)
        if batch is None:
            return ()
        self._tried_at[batch_id] = self.member.head
        submitted = batch.submitted
        return (
            ConveneAudit(batch_id, submitted.node, submitted.slot, submitted.contents, self.member.identity.node_id),
        )
