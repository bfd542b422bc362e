"""Stopping: the user wants no more of a job, which then costs nothing, or what was written by then."""

from dataclasses import dataclass

from protocol.effects import Effect, Send, SignMessage
from protocol.events import JobStopAsked
from protocol.job import Stage
from protocol.params import WITHDRAW_WITHIN_MS
from protocol.roles.requester.request_book import RequestBook, unserved
from protocol.roles.requester.requested import RequestedJob
from protocol.stages.assignment import Withdrawal
from protocol.stages.request import GENERATE
from protocol.stages.stop_order import SignedStopOrder, StopOrder
from protocol.wire.ids import JobId, TimestampMs

STOPPED = "stopped before its first token: it costs nothing"
UNDONE = "stopped, and its node brought no answer"
SURELY_WITHDRAWN_MS = WITHDRAW_WITHIN_MS // 2
"""After a promise a withdrawal is sent for so long: it has to reach the node while the node still takes it."""


@dataclass(slots=True)
class Stopping:
    """Jobs that their user has stopped."""

    book: RequestBook

    def ask(self, asked: JobStopAsked, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """End a job for which nothing was written; order its node to stop at the next token of any other."""
        job = self.book.jobs.get(asked.ask_id)
        if job is None or job.stop_asked or not may_stop(job):
            return ()
        job.stop_asked = True
        if job.is_unassigned:
            return unserved(job, STOPPED, now_ms)
        assert job.job_id is not None
        assert job.peer_id is not None
        if job.stage is Stage.ASSIGNED or self._is_fresh(job, asked, now_ms):
            return Send(job.peer_id, Withdrawal(job.job_id)), *unserved(job, STOPPED, now_ms)
        return (SignMessage(StopOrder(job.job_id)),)

    def _is_fresh(self, job: RequestedJob, asked: JobStopAsked, now_ms: TimestampMs) -> bool:
        """Whether a node has only just promised a job and has written nothing, so that it takes a withdrawal."""
        return not asked.written and job.accepted_ms is not None and now_ms <= job.accepted_ms + SURELY_WITHDRAWN_MS

    def signed(self, order: StopOrder, signature: bytes) -> tuple[Effect, ...]:
        """Send a signed order to stop."""
        job = self.book.current(JobId(order.job_id))
        if job is None or job.stage is not Stage.RUNNING or job.peer_id is None:
            return ()
        job.stop_order = SignedStopOrder(order, signature)
        return (Send(job.peer_id, job.stop_order),)


def may_stop(job: RequestedJob) -> bool:
    """Whether there is anything to stop: a job that only reads is done at once or not at all, once it is promised."""
    if job.is_unassigned or job.stage is Stage.ASSIGNED:
        return True
    return job.stage is Stage.RUNNING and job.ask.kind == GENERATE and job.delivery is None
