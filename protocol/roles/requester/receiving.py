"""Receiving: promises, tokens, results and receipts, and questions to a node that is silent."""

from dataclasses import dataclass, replace

from protocol.effects import AwaitDeadline, Effect, FetchBlob, OpenFrame, OpenResult, Send, SignMessage
from protocol.errors import RemoteProtocolError
from protocol.events import ResultOpened
from protocol.job import Stage, move
from protocol.params import RETRY_AFTER_DEADLINE_S
from protocol.roles.member import Member
from protocol.roles.requester.request_book import RequestBook
from protocol.roles.requester.requested import RequestedJob
from protocol.stages.assignment import JobDetails, SignedAccept, Withdrawal, bonus_of, charge_of
from protocol.stages.commitment import Receipt, ResultDelivery, ResultQuery, SignedReceipt, TokenFrame
from protocol.stages.stop_order import STOP_ORDER
from protocol.timers import ResultTimer
from protocol.wire.envelope import require_signer
from protocol.wire.ids import Cid, JobId, PeerId, TimestampMs

ASK_AFTER_MS = 10_000
"""A node at work that is silent for so long is asked for its result: its message may have been lost."""


@dataclass(slots=True)
class Receiving:
    """Messages of nodes at work, and the answers to them."""

    member: Member
    book: RequestBook

    def accepted(self, peer_id: PeerId, accept: SignedAccept, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Take a node's promise; withdraw a job that was given up meanwhile."""
        wanted = JobId(accept.accept.job_id)
        job = self.book.of_peer(wanted, peer_id)
        if (job is None and self.book.gave_up(wanted, peer_id)) or (job is not None and job.stage is Stage.UNSERVED):
            # Its promise, or our withdrawal, was late; two nodes must not do one job.
            return (Send(peer_id, Withdrawal(wanted)),)
        if job is None or job.details is None or job.stage is not Stage.ASSIGNED:
            return ()
        self.require_operator(job, accept.accept, accept.signature)
        job.promise = accept
        return self._runs(job, job.details, accept, now_ms)

    def _runs(self, job: RequestedJob, details: JobDetails, fact: object, now_ms: TimestampMs) -> tuple[Effect, ...]:
        move(job, fact, Stage.RUNNING, now_ms)
        job.accepted_ms = now_ms
        job.next_step_ms = max(0, details.deadline * 1000 - now_ms)
        assert job.job_id is not None
        return (AwaitDeadline(ResultTimer(job.job_id), details.deadline * 1000),)

    def ask_silent(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Ask nodes at work that are silent."""
        effects: list[Effect] = []
        for job in self.book.jobs.values():
            since = max(job.heard_ms, job.accepted_ms or now_ms)
            if job.stage is Stage.RUNNING and now_ms >= since + ASK_AFTER_MS:
                job.heard_ms = now_ms
                effects += self.ask_result(job)
        return tuple(effects)

    def ask_result(self, job: RequestedJob) -> tuple[Effect, ...]:
        """Ask a node what became of a job."""
        if job.stage not in (Stage.ASSIGNED, Stage.RUNNING) or job.delivery is not None:
            return ()
        assert job.peer_id is not None
        assert job.job_id is not None
        stop = (Send(job.peer_id, job.stop_order),) if job.stop_order else ()
        return *stop, Send(job.peer_id, ResultQuery(job.job_id))

    def frame(self, peer_id: PeerId, frame: TokenFrame, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Open sealed tokens."""
        job = self.book.of_peer(frame.job_id, peer_id)
        if job is None or job.stage is not Stage.RUNNING:
            return ()
        job.heard_ms = now_ms
        return (OpenFrame(frame.job_id, job.ask.input_cid, frame.seq, frame.sealed),)

    def count(self, job_id_: JobId, ids: tuple[int, ...]) -> None:
        """Count tokens that were opened."""
        job = self.book.by_job.get(job_id_)
        if job is not None and job.stage is Stage.RUNNING:
            job.new_tokens += len(ids)

    def delivered(self, peer_id: PeerId, delivery: ResultDelivery, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Open a result, or fetch it first; send the receipt again."""
        job = self.book.of_peer(delivery.result.job_id, peer_id)
        if job is not None and job.receipt is not None:
            # It has not heard the receipt.
            return self._send_receipt(job)
        if job is None or job.details is None or job.delivery is not None:
            return ()
        if job.stage not in (Stage.ASSIGNED, Stage.RUNNING):
            return ()
        self.require_operator(job, delivery.result, delivery.signature)
        # A result without a promise: the promise was lost.
        awaited = self._runs(job, job.details, delivery, now_ms) if job.stage is Stage.ASSIGNED else ()
        job.delivery = delivery
        if not delivery.sealed_result:
            return *awaited, FetchBlob(delivery.result.blob_cid, (peer_id,))
        return *awaited, self._open(job, delivery)

    def fetched(self, cid: Cid) -> tuple[Effect, ...]:
        """Open results that were fetched."""
        waiting = [job for job in self.book.by_job.values() if job.delivery and job.delivery.result.blob_cid == cid]
        return tuple(self._open(job, job.delivery) for job in waiting if job.delivery and job.stage is Stage.RUNNING)

    def _open(self, job: RequestedJob, delivery: ResultDelivery) -> Effect:
        result = delivery.result
        return OpenResult(
            job_id=result.job_id,
            input_cid=job.ask.input_cid,
            manifest=job.ask.manifest,
            kind=job.ask.kind,
            max_new_tokens=job.ask.max_new_tokens,
            blob_cid=result.blob_cid,
            sealed_result=delivery.sealed_result,
        )

    def opened(self, opened: ResultOpened, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Have a receipt signed for a good result."""
        job = self.book.by_job.get(JobId(opened.job_id))
        if job is None or job.delivery is None or job.details is None or job.stage is not Stage.RUNNING:
            return ()
        if not opened.problem and opened.result_hash != job.delivery.result.result_hash:
            opened = replace(opened, problem="the result is not the one that the node signed")
        if opened.finish == STOP_ORDER and job.stop_order is None:
            opened = replace(opened, problem="it ends early, and its client has not ordered that")
        if opened.problem:
            # No receipt; and the node may still put it on chain, so another one waits until that is impossible.
            job.reason = f"{job.node} delivered a bad result: {opened.problem}"
            return ()
        move(job, opened, Stage.DELIVERED, now_ms)
        job.new_tokens, job.finish = opened.new_tokens, opened.finish
        details, actual_ms = job.details, max(1, now_ms - (job.accepted_ms or now_ms))
        if opened.finish == STOP_ORDER:
            # It was not fast but short: it has the expected time, as a job without a receipt does, and no bonus.
            actual_ms = max(actual_ms, details.expected_ms)
        job.charge = charge_of(details.price, opened.new_tokens, details.max_new_tokens)
        if job.batch_id is not None:
            # Its batch came first, after an absence: that was billed as it was debited, and needs no receipt.
            move(job, opened, Stage.IN_BATCH, now_ms)
            return ()
        job.bonus = bonus_of(job.charge, details.bonus_cap, actual_ms, details.expected_ms)
        job.next_step_ms = RETRY_AFTER_DEADLINE_S * 1000
        receipt = Receipt(opened.job_id, opened.result_hash, job.charge, min(actual_ms, 2**32 - 1))
        return (SignMessage(receipt),)

    def receipted(self, receipt: Receipt, signature: bytes) -> tuple[Effect, ...]:
        """Send a signed receipt."""
        job = self.book.by_job.get(JobId(receipt.job_id))
        if job is None or job.peer_id is None:
            return ()
        job.receipt = SignedReceipt(receipt, signature)
        return self._send_receipt(job)

    def _send_receipt(self, job: RequestedJob) -> tuple[Effect, ...]:
        assert job.peer_id is not None
        assert job.receipt is not None
        return (Send(job.peer_id, job.receipt),)

    def require_operator(self, job: RequestedJob, message: object, signature: bytes) -> None:
        """Raises: RemoteProtocolError unless the job's node signed a message."""
        record = self.member.nodes.get(job.node) if job.node else None
        if record is None:
            raise RemoteProtocolError("the node is not registered")
        require_signer(message, signature, self.member.identity.domain, record.operator)
