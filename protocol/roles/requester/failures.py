"""Failures: refusals, deadlines and silence, after which a job goes to the next node or ends."""

from dataclasses import dataclass

from protocol import effects as fx
from protocol.events import DeadlinePassed, EffectFailed
from protocol.job import Stage, move
from protocol.params import MAX_RETRIES, RETRY_AFTER_DEADLINE_S
from protocol.roles.member import Member
from protocol.roles.requester.asking import Asking
from protocol.roles.requester.cooldown import ProviderCooldown
from protocol.roles.requester.lanes import Lanes
from protocol.roles.requester.ordering import Ordering
from protocol.roles.requester.receiving import Receiving
from protocol.roles.requester.request_book import RequestBook, unserved
from protocol.roles.requester.requested import RequestedJob
from protocol.roles.requester.stopping import STOPPED, UNDONE
from protocol.stages.assignment import RefuseCode, SignedRefuse, Withdrawal
from protocol.timers import (
    AcceptTimer,
    CallTimer,
    LastCallTimer,
    OffersTimer,
    OfflineTimer,
    RequestTimer,
    ResultTimer,
    RetryTimer,
    RoundTimer,
)
from protocol.wire.ids import Address, JobId, PeerId, TimestampMs
from protocol.wire.names import name_of

INPUT_REFUSED = "the input is not accepted: is the prompt too long for the model, or its schema one that nothing fits?"


@dataclass(slots=True)
class Failures:
    """Jobs whose node fails: another try, a withdrawal or an end."""

    member: Member
    cooldown: ProviderCooldown
    lanes: Lanes
    book: RequestBook
    asking: Asking
    ordering: Ordering
    receiving: Receiving

    def refused(self, peer_id: PeerId, refuse: SignedRefuse, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Take a node's refusal: turn to the next node, unless the input is at fault."""
        job = self.book.of_peer(refuse.refuse.job_id, peer_id)
        if job is None or job.stage not in (Stage.ASSIGNED, Stage.RUNNING):
            return ()
        self.receiving.require_operator(job, refuse.refuse, refuse.signature)
        code = refuse.refuse.code
        if code == RefuseCode.LANE and job.node is not None:
            # Until its lane is final, the node counts it no more.
            self.lanes.counted.pop(job.node, None)
        word = RefuseCode(code).name.lower() if code in tuple(RefuseCode) else str(code)
        if code == RefuseCode.CLIENT_FAULT:
            return unserved(job, INPUT_REFUSED, now_ms)
        return self._try_next(job, refuse, f"{job.node} refused: {word}", now_ms)

    def look_for_dead(self, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Ask for a moment at which jobs of nodes that beat no more are moved; it is in the journal, a beat is not."""
        if not self.member.hears_anybody(now_ms):
            # A node that hears no peer is cut off itself.
            return ()
        return tuple(
            fx.AwaitDeadline(OfflineTimer(job.job_id), now_ms)
            for job in self.book.jobs.values()
            if job.stage is Stage.RUNNING and job.job_id is not None
            if job.node in self.member.peers and job.delivery is None
            if not self.member.is_alive(job.node, now_ms)
        )

    def look_for_dead_orders(self, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Ask for a moment at which silent jobs are moved that no batch may bring on chain any more.

        By the chain's own time, and once the blocks until then are final: a batch in them would be paid beside.
        """
        effects: list[fx.Effect] = []
        for job in self.book.jobs.values():
            if job.stage is not Stage.RUNNING or not job.details or not job.job_id or job.batch_id is not None:
                continue
            if self.member.timestamp > job.details.deadline + RETRY_AFTER_DEADLINE_S:
                job.dead_block = job.dead_block or self.member.head
                if self.member.final >= job.dead_block:
                    effects.append(fx.AwaitDeadline(RetryTimer(job.job_id), now_ms))
        return tuple(effects)

    def deadline(self, passed: DeadlinePassed, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """A timer of this requester has passed."""
        match passed.timer:
            case CallTimer(ask_id) | LastCallTimer(ask_id) | OffersTimer(ask_id) as timer:
                job = self.book.jobs.get(ask_id)
                return self._round_due(job, timer, now_ms) if job and job.signed and job.awaits(timer) else ()
            case RequestTimer(ask_id):
                job = self.book.jobs.get(ask_id)
                if job and job.is_unassigned:
                    return unserved(job, "the request's deadline has passed", now_ms)
            case AcceptTimer(job_id) | ResultTimer(job_id) | OfflineTimer(job_id) | RetryTimer(job_id):
                job = self.book.by_job.get(JobId(job_id))
                return self._order_due(job, passed, now_ms) if job and job.job_id == job_id else ()
        return ()

    def _round_due(self, job: RequestedJob, timer: RoundTimer, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        match timer:
            case LastCallTimer():
                return () if job.called else self.asking.call_in_turn(job, now_ms)
            case CallTimer():
                return self.asking.call(job, now_ms)
            case OffersTimer():
                return self.ordering.hire(job, now_ms)

    def _order_due(self, job: RequestedJob, passed: DeadlinePassed, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        match passed.timer:
            case AcceptTimer() if job.stage is Stage.ASSIGNED:
                return self._try_next(job, passed, f"{job.node} did not accept in time", now_ms)
            case ResultTimer() if job.stage is Stage.RUNNING:
                job.reason = _why_overdue(job)
                job.next_step_ms = RETRY_AFTER_DEADLINE_S * 1000
            case OfflineTimer() if job.stage is Stage.RUNNING and job.delivery is None and job.batch_id is None:
                return self._try_next(job, passed, f"{job.node} is offline", now_ms)
            case RetryTimer() if job.stage is Stage.RUNNING and job.batch_id is None:
                # In a batch, its node has it checked: it has the answer, and a second node would be paid beside it.
                return self._try_next(job, passed, _why_overdue(job), now_ms)
        return ()

    def failed(self, failed: EffectFailed, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """An effect for a job has failed."""
        match failed.effect:
            case fx.Send | fx.FetchBlob:
                job = self.book.by_job.get(JobId(failed.about))
                if job is not None and job.job_id == failed.about and job.stage is Stage.ASSIGNED:
                    return self._try_next(job, failed, f"{job.node} is not reachable", now_ms)
            case fx.OpenResult:
                job = self.book.by_job.get(JobId(failed.about))
                if job is not None:
                    job.reason = f"the result could not be opened: {failed.reason}"
            case fx.SealKey | fx.OpenLane | fx.SignMessage:
                node = self.lanes.stop_opening(failed.about)
                for job in self.book.jobs.values():
                    # Of the jobs with a node whose lane was not opened, those that it pays for anyway go on.
                    if job.waits_for(failed.about) and not (node and self.ordering.missing(job) <= 0):
                        unserved(job, f"{name_of(failed.effect)} failed: {failed.reason}", now_ms)
        return ()

    def _try_next(self, job: RequestedJob, fact: object, reason: str, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        assert job.node is not None
        if not self._may_be_asked_again(job.node, fact):
            job.tried.add(job.node)
        if not _is_no_miss(fact):
            self.cooldown.add(job.node, now_ms)
        withdrawn = self._withdraw(job) if job.stage is Stage.ASSIGNED and not isinstance(fact, SignedRefuse) else ()
        if job.stop_asked:
            is_free = isinstance(fact, SignedRefuse) and fact.refuse.code == RefuseCode.STOPPED
            return *withdrawn, *unserved(job, STOPPED if is_free else f"{UNDONE}: {reason}", now_ms)
        job.attempt += 1
        job.reason = reason
        if job.attempt >= MAX_RETRIES:
            return *withdrawn, *unserved(job, f"{MAX_RETRIES} nodes failed, the last one: {reason}", now_ms)
        move(job, fact, Stage.REQUESTED, now_ms)
        return *withdrawn, *self.asking.again(job, now_ms)

    def _may_be_asked_again(self, node: Address, fact: object) -> bool:
        """Whether an order came late, after an absence, or before a lane that is under way."""
        if not isinstance(fact, SignedRefuse):
            return False
        code = fact.refuse.code
        return code == RefuseCode.EXPIRED or (code == RefuseCode.LANE and node in self.lanes.opening)

    def _withdraw(self, job: RequestedJob) -> tuple[fx.Effect, ...]:
        assert job.peer_id is not None
        assert job.job_id is not None
        return (fx.Send(job.peer_id, Withdrawal(job.job_id)),)


def _why_overdue(job: RequestedJob) -> str:
    """The fault of the attempt's answer, or its absence; after an absence either moment may be first."""
    return job.reason or f"{job.node} was silent past the deadline"


def _is_no_miss(fact: object) -> bool:
    """A node that has no room, or does not take this order, has not failed."""
    return isinstance(fact, SignedRefuse) and fact.refuse.code != RefuseCode.FAILED
