"""Delivery: tokens as they are written, the result, and both again where they were not heard."""

from dataclasses import dataclass

from protocol.effects import AwaitDeadline, Effect, SealFrame, Send, SignMessage
from protocol.events import ResultSealed
from protocol.job import Stage, move
from protocol.params import MAX_INLINE_BYTES
from protocol.roles.member import Member
from protocol.roles.provider.provided import Jobs
from protocol.roles.provider.refusals import Refusals
from protocol.roles.provider.run_queue import ends_at_ms
from protocol.stages.commitment import Result, ResultDelivery, TokenFrame, output_commit
from protocol.timers import ReceiptTimer
from protocol.wire.ids import JobId, PeerId, TimestampMs

DELIVER_AGAIN_MS = 10_000


@dataclass(slots=True)
class Delivery:
    """Messages to requesters about the work on their jobs."""

    member: Member
    refusals: Refusals
    jobs: Jobs

    def stream(self, wanted: JobId, ids: tuple[int, ...], now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Seal new tokens, unless the run may be cut off."""
        job = self.jobs.get(wanted)
        if job is None or not job.running:
            return ()
        job.progress.count(len(ids), now_ms)
        speed_ms, most = self.member.device.ms_of(job.order.offer.offer.class_id), job.order.details.max_new_tokens
        if job.progress.is_muted or ends_at_ms(job.progress, speed_ms, most, now_ms) > job.stop_ms:
            # It may be cut off, and nothing of it would be paid. If it ends in time, the result has all of it.
            job.progress.is_muted = True
            return ()
        seq, job.frames = job.frames, job.frames + 1
        return (SealFrame(wanted, job.order.details.input_cid, seq, ids),)

    def send_frame(self, wanted: JobId, seq: int, sealed: bytes) -> tuple[Effect, ...]:
        """Send sealed tokens."""
        job = self.jobs.get(wanted)
        return (Send(job.reply_to, TokenFrame(wanted, seq, sealed)),) if job else ()

    def commit(self, sealed: ResultSealed) -> tuple[Effect, ...]:
        """Have a sealed result signed."""
        job = self.jobs.get(JobId(sealed.job_id))
        if job is None or job.run is None or job.result is not None:
            return ()
        job.sealed_result, job.salt = sealed.sealed_result, sealed.salt
        class_id = job.order.offer.offer.class_id
        commit = output_commit(
            job.order.assignment.node,
            job.job_id,
            class_id,
            job.run.result_hash,
            job.run.fingerprint_hash,
            sealed.blob_cid,
            sealed.salt,
        )
        job.result = Result(job.job_id, job.run.result_hash, commit, sealed.blob_cid)
        return (SignMessage(job.result),)

    def deliver(self, result: Result, signature: bytes, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Send a signed result; asks for the moment at which a receipt is overdue."""
        job = self.jobs.get(JobId(result.job_id))
        if job is None:
            return ()
        move(job, result, Stage.DELIVERED, now_ms)
        inline = job.sealed_result if len(job.sealed_result) <= MAX_INLINE_BYTES else b""
        job.delivery, job.sent_ms = ResultDelivery(result, signature, inline), now_ms
        deadline = AwaitDeadline(ReceiptTimer(job.job_id), job.order.details.deadline * 1000)
        return Send(job.reply_to, job.delivery), deadline

    def tell_again(self, peer_id: PeerId, wanted: JobId) -> tuple[Effect, ...]:
        """The last message about a job again, for a requester that may have missed it."""
        job = self.jobs.get(wanted)
        if job is None or job.peer_id != peer_id:
            return ()
        if job.refusal is not None:
            return self.refusals.refuse(job.job_id, job.reply_to, job.refusal)
        said = job.delivery or job.promise
        return (Send(job.reply_to, said),) if said else ()

    def deliver_unheard(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Send results again whose receipt has not come, as long as it would count."""
        effects: list[Effect] = []
        for job in self.jobs.values():
            if job.stage is not Stage.DELIVERED or job.receipted or job.delivery is None:
                continue
            if job.sent_ms + DELIVER_AGAIN_MS <= now_ms < job.order.details.deadline * 1000:
                job.sent_ms = now_ms
                effects.append(Send(job.reply_to, job.delivery))
        return tuple(effects)
