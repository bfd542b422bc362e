"""Payments: what becomes of the jobs that this node's client paid for, once they are in a batch.

A batch that is void is refunded by anyone's call; the one with an interest makes it.
"""

from dataclasses import dataclass, field

from protocol import effects as fx
from protocol import events as ev
from protocol.court.docket import Docket, DocketBatch
from protocol.job import Stage, move, verdict_stage
from protocol.params import BPS
from protocol.roles.member import Member
from protocol.roles.requester.cooldown import ProviderCooldown
from protocol.roles.requester.requested import RequestedJob
from protocol.wire.ids import BatchId, JobId, TimestampMs, Wei


@dataclass(slots=True)
class Payments:
    """The client's jobs in batches. `cooldown` and `jobs` are shared with the requester."""

    member: Member
    docket: Docket
    cooldown: ProviderCooldown
    jobs: dict[JobId, RequestedJob]
    _open: dict[BatchId, None] = field(default_factory=dict)
    """Batches that hold a job of ours, or cost us money, until they are settled or refunded; oldest first."""
    _asked: dict[BatchId, tuple[type[fx.Effect], int]] = field(default_factory=dict)
    """The effect that was asked for last for a batch, and the head at that moment."""
    _doubted: dict[BatchId, int] = field(default_factory=dict)
    """Batches that settle a job of ours otherwise than we have seen it, and its place; until a bond is up for them."""
    _bonded: dict[BatchId, fx.EndChallenge] = field(default_factory=dict)
    """How to get the bond of a batch back."""
    _returned: set[BatchId] = field(default_factory=set)
    """Bonds that came back in a block that may still fall out."""
    _late: dict[BatchId, list[tuple[RequestedJob, int]]] = field(default_factory=dict)

    def handle(self, event: ev.Event, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Follow a batch that holds a job of ours; of what the docket follows, only news is heard."""
        match event:
            case ev.BatchSubmitted(batch_id=batch_id):
                self._in_batch(event, now_ms)
                return self._challenge(BatchId(batch_id))
            case ev.BatchChallenged(batch_id=batch_id):
                self._doubted.pop(BatchId(batch_id), None)
            case ev.TransactionMined(effect=fx.ChallengeLeaf, about=name) if batch := self._batch(name):
                # From now on the bond is ours to ask back, however we hear of the batch's end.
                told = batch.submitted
                self._bonded[BatchId(name)] = fx.EndChallenge(batch.batch_id, told.node, told.slot, told.block)
            case ev.TransactionMined(effect=fx.EndChallenge, about=name) if BatchId(name) in self._bonded:
                # Its block may fall out, and no event tells of a bond: it is asked for once more, when that is final.
                if BatchId(name) in self._returned:
                    del self._bonded[BatchId(name)]
                self._returned ^= {BatchId(name)}
            case ev.CaseConvened(batch_id=batch_id, drawn=drawn):
                for job in self._in(batch_id):
                    if job.position in drawn:
                        move(job, event, Stage.DRAWN, now_ms)
            case ev.CaseResolved(batch_id, verdict, _):
                for job in self._in(batch_id):
                    move(job, event, verdict_stage(verdict), now_ms)
                return self._refund(BatchId(batch_id))
            case ev.BatchVoided(batch_id, _):
                for job in self._in(batch_id):
                    move(job, event, Stage.FAILED, now_ms)
                return self._refund(BatchId(batch_id))
            case ev.BatchSettled(batch_id=batch_id) if self._batch(batch_id) is not None:
                self._end(BatchId(batch_id))
                # It has passed: its bond is the pool's.
                self._bonded.pop(BatchId(batch_id), None)
                for job in self._in(batch_id):
                    if job.stage is Stage.RUNNING:
                        job.reason = f"checked and paid, but its answer never came; {job.node} has it"
                    move(job, event, Stage.SPENDABLE, now_ms)
                    if job.node is not None:
                        self.cooldown.forgive(job.node)
            case ev.BatchRefunded(batch_id, _, amount) if (batch := self._batch(batch_id)) is not None:
                self._end(batch.batch_id)
                self._refunded(batch.submitted, event, amount, now_ms)
                return self._end_challenge(BatchId(batch_id))
            case ev.BlockSeen(timestamp=timestamp):
                refunds = [effect for batch_id in sorted(self._open) for effect in self._refund(batch_id)]
                doubted = [effect for batch_id in tuple(self._doubted) for effect in self._challenge(batch_id)]
                over = [effect for batch_id in sorted(self._bonded) for effect in self._end_challenge(batch_id)]
                return (*refunds, *doubted, *over, *self._void_starved(timestamp))
        return ()

    def _batch(self, batch_id: bytes) -> DocketBatch | None:
        """A batch of ours that is not over."""
        return self.docket.batch(batch_id) if BatchId(batch_id) in self._open else None

    def _follow(self, batch_id: BatchId) -> None:
        self._open[batch_id] = None
        self.docket.hold(batch_id)

    def _in_batch(self, batch: ev.BatchSubmitted, now_ms: TimestampMs) -> None:
        first = 0
        for debit, jobs in zip(batch.contents.debits, batch.lane_jobs, strict=False):
            if debit.client == self.member.identity.client and debit.signer == self.member.identity.signer:
                for job in self.jobs.values():
                    if job.node == batch.node and jobs - debit.leaves < job.index <= jobs:
                        job.position = first + job.index - (jobs - debit.leaves) - 1
                        job.batch_id = BatchId(batch.batch_id)
                        if batch.unreceipted:
                            # The receipt did not get there in time, and without one there is no bonus.
                            job.bonus = Wei(0)
                        move(job, batch, Stage.IN_BATCH, now_ms)
                        self._follow(job.batch_id)
                        if _is_doubtful(job, batch):
                            self._doubted[job.batch_id] = job.position
                self._bill_late(batch, range(jobs - debit.leaves + 1, jobs + 1), debit.amount)
            first += debit.leaves

    def _bill_late(self, batch: ev.BatchSubmitted, indices: range, debit: int) -> None:
        """Charge a debit beyond the bills of a lane's jobs to its orders without a receipt of ours."""
        billed, unbilled = 0, []
        for job_id, job in self.jobs.items():
            given_up = job.given_up.get(job_id)
            node, index = (given_up.node, given_up.index) if given_up else (job.node, job.index)
            if node != batch.node or index not in indices or (given_up is None and job.job_id != job_id):
                continue
            if given_up is None and job.receipt is not None:
                billed += job.own_bill
            else:
                unbilled.append(job)
        if debit > billed and unbilled:
            # Its refund, if it comes to that, is ours to ask for.
            self._follow(BatchId(batch.batch_id))
            # Which of several it was the chain does not say.
            unbilled[0].late_cost = Wei(unbilled[0].late_cost + debit - billed)
            self._late.setdefault(BatchId(batch.batch_id), []).append((unbilled[0], debit - billed))

    def _refunded(self, batch: ev.BatchSubmitted, event: ev.BatchRefunded, amount: int, now_ms: TimestampMs) -> None:
        """All is back; or all but the fee, where a client pays for every check and seats had doubts."""
        value = sum(debit.amount for debit in batch.contents.debits)
        kept = value - amount
        for job in self._in(batch.batch_id):
            move(job, event, Stage.REFUNDED, now_ms)
            if kept:
                job.check_cost = Wei(job.own_bill * kept // value)
            job.charge = job.bonus = Wei(0)
            if job.stage is Stage.RUNNING:
                job.batch_id = None
        for job, cost in self._late.pop(BatchId(batch.batch_id), ()):
            job.late_cost = Wei(job.late_cost - (cost - cost * kept // value))

    def _end(self, batch_id: BatchId) -> None:
        """A batch of ours is settled or refunded."""
        del self._open[batch_id]
        self._asked.pop(batch_id, None)

    def _challenge(self, batch_id: BatchId) -> tuple[fx.Effect, ...]:
        """Have a doubtful batch checked while that is possible; asked once, and again after a while."""
        batch, position = self._batch(batch_id), self._doubted.get(batch_id)
        if batch is None or position is None:
            return ()
        told = batch.submitted
        is_over = self.member.timestamp >= told.timestamp + self.member.rules.challenge_window_s
        if is_over or not self._may_ask(fx.ChallengeLeaf, batch_id):
            return ()
        return (fx.ChallengeLeaf(batch_id, told.node, told.slot, told.contents, position),)

    def _end_challenge(self, batch_id: BatchId) -> tuple[fx.Effect, ...]:
        """Ask for the bond of a batch that was refunded."""
        bonded = self._bonded.get(batch_id)
        if bonded is None or batch_id in self._open or not self._may_ask(fx.EndChallenge, batch_id):
            return ()
        return (bonded,)

    def _refund(self, batch_id: BatchId) -> tuple[fx.Effect, ...]:
        """Ask for the money of a batch of ours if it is void."""
        batch = self._batch(batch_id)
        if batch is None or not batch.is_condemned or not self._may_ask(fx.RefundBatch, batch_id):
            return ()
        told = batch.submitted
        return (fx.RefundBatch(batch_id, told.node, told.slot, told.contents),)

    def _void_starved(self, timestamp: int) -> tuple[fx.Effect, ...]:
        effects: list[fx.Effect] = []
        for batch_id in self._open:
            batch = self._batch(batch_id)
            if batch is None or timestamp <= batch.submitted.timestamp + self.member.rules.starved_s:
                continue
            # A batch that was drawn and never judged; one that was not drawn is its node's to finalize.
            drawn = batch.rate_bps == BPS or any(job.stage is Stage.DRAWN for job in self._in(batch_id))
            if drawn and not batch.is_condemned and self._may_ask(fx.VoidStarved, batch_id):
                told = batch.submitted
                effects.append(fx.VoidStarved(batch_id, told.node, told.slot, told.contents))
        return tuple(effects)

    def _may_ask(self, what: type[fx.Effect], batch_id: BatchId) -> bool:
        asked, head = self._asked.get(batch_id, (None, 0))
        if asked is what and not self.member.is_overdue(head):
            return False
        self._asked[batch_id] = (what, self.member.head)
        return True

    def _in(self, batch_id: bytes) -> list[RequestedJob]:
        return [job for job in self.jobs.values() if job.batch_id == batch_id]


def _is_doubtful(job: RequestedJob, batch: ev.BatchSubmitted) -> bool:
    """Whether a node settles a job otherwise than its client has seen it, in a batch that no draw needs to look at.

    It claims a receipt that this client never gave: the answer never came, or was not what was streamed. Or the
    check that was ordered is left out. A batch of one whole stratum is drawn in part anyway, and takes no challenge.
    """
    unseen = job.receipt is None and not batch.unreceipted
    unchecked = job.ask.checked and not batch.checked
    return (unseen or unchecked) and batch.leaf_count * batch.rate_bps < BPS
