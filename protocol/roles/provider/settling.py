"""Settling: how an ended job becomes a leaf of a batch, and how it is shown."""

from dataclasses import dataclass

from protocol.effects import Effect
from protocol.job import JobState, Stage, move
from protocol.roles.identity import Identity
from protocol.roles.provider.provided import Jobs, ProvidedJob
from protocol.roles.provider.refusals import Refusals
from protocol.roles.settler.settler import Settler
from protocol.stages.assignment import Refuse, RefuseCode, kind_of, verify_fee
from protocol.stages.commitment import (
    LeafStatus,
    Result,
    SettledJob,
    SignedReceipt,
    leaf_of,
    require_receipt,
    unpaid_leaf,
)
from protocol.stages.execution import Outcome
from protocol.stages.token_rules import milli_of
from protocol.wire.envelope import require_signer
from protocol.wire.ids import ZERO_HASH, JobId, PeerId, RequestId, TimestampMs, Wei

FORGONE = "no receipt came, and no batch took the job before its client could pay another node for it"
RECLAIMED = "its client reclaimed the lane before a batch took the job"


@dataclass(slots=True)
class Settling:
    """Hands ended jobs to their batches."""

    identity: Identity
    settler: Settler
    refusals: Refusals
    jobs: Jobs

    def take_receipt(self, peer_id: PeerId, signed: SignedReceipt, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Settle a job with its client's receipt. Raises: BadSignature or Malformed."""
        job = self.jobs.get(JobId(signed.receipt.job_id))
        if job is None or job.result is None or job.run is None or job.peer_id != peer_id:
            return ()
        self.require_receipt(job, signed)
        job.receipted = True
        return self.settle(job, signed, LeafStatus.OK, now_ms)

    def require_receipt(self, job: ProvidedJob, signed: SignedReceipt) -> None:
        """Raises: BadSignature or Malformed for a receipt that is not its client's for this result."""
        assert job.result is not None
        assert job.run is not None
        require_signer(signed.receipt, signed.signature, self.identity.domain, job.order.assignment.signer)
        require_receipt(signed.receipt, job.result, job.order.details, job.run.new_tokens)

    def no_receipt(self, wanted: JobId, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Settle a job whose deadline has passed without a receipt."""
        job = self.jobs.get(wanted)
        if job is None or job.stage is not Stage.DELIVERED:
            return ()
        return self.settle(job, None, LeafStatus.OK, now_ms)

    def settle(
        self, job: ProvidedJob, receipt: SignedReceipt | None, status: LeafStatus, now_ms: TimestampMs
    ) -> tuple[Effect, ...]:
        """Hand an ended job to its batch."""
        delivered = job.run.new_tokens if job.run else 0
        result = job.result or Result(job.job_id, ZERO_HASH, ZERO_HASH, ZERO_HASH)
        if status is LeafStatus.OK:
            leaf = leaf_of(job.order, result, delivered, receipt.receipt if receipt else None)
        else:
            leaf = unpaid_leaf(job.order.assignment, status)
        papers = SettledJob(
            job_id=job.job_id,
            assignment=job.order.assignment,
            details=job.order.details,
            signature=job.order.signature,
            receipt=receipt,
            result=result,
            salt=job.salt,
        )
        return self.settler.add(leaf, papers, job.order, now_ms)

    def decline(
        self, job: ProvidedJob, code: RefuseCode, status: LeafStatus, reason: str, now_ms: TimestampMs
    ) -> tuple[Effect, ...]:
        """Give a job back that was not begun, and settle its place in the lane with charge 0."""
        job.reason, job.refusal = reason, code
        move(job, Refuse(job.job_id, code, 0), Stage.UNPAID, now_ms)
        return *self.settle(job, None, status, now_ms), *self.refusals.refuse(job.job_id, job.reply_to, code)

    def give_up(
        self, job: ProvidedJob, fact: object, outcome: Outcome, detail: str, now_ms: TimestampMs
    ) -> tuple[Effect, ...]:
        """Say so at once, and settle the job's place in the lane with charge 0."""
        at_fault = outcome is not Outcome.CLIENT
        job.reason = f"{outcome}: {detail}"
        move(job, fact, Stage.UNPAID, now_ms)
        status = LeafStatus.FAILED if at_fault else LeafStatus.CLIENT_FAULT
        job.refusal = code = RefuseCode.FAILED if at_fault else RefuseCode.CLIENT_FAULT
        return *self.settle(job, None, status, now_ms), *self.refusals.refuse(job.job_id, job.reply_to, code)

    def stage(self, job: ProvidedJob) -> Stage:
        """The stage of a job, in its batch as well."""
        return self.settler.stage_of(job.job_id) or (Stage.UNPAID if self._is_forgone(job) else job.stage)

    def _is_forgone(self, job: ProvidedJob) -> bool:
        """Whether it was done and charges nothing, since no batch came in time."""
        leaf = self.settler.leaf_of(job.job_id)
        return job.stage is Stage.DELIVERED and leaf is not None and leaf.status != LeafStatus.OK

    def _reason(self, job: ProvidedJob) -> str:
        if not self._is_forgone(job):
            return job.reason
        return RECLAIMED if job.receipted else FORGONE

    def view(self, job: ProvidedJob) -> JobState:
        """A job as it is shown."""
        leaf, details = self.settler.leaf_of(job.job_id), job.order.details
        charge, batch = Wei(leaf.charge if leaf else 0), self.settler.own.batch_with(job.job_id)
        return JobState(
            request_id=RequestId(job.order.details.request_id),
            job_id=job.job_id,
            ask_id=b"",
            stage=self.stage(job),
            node=job.order.assignment.node,
            client=job.order.assignment.client,
            manifest=job.order.details.manifest,
            input_cid=job.order.details.input_cid,
            kind=kind_of(job.order.details),
            max_new_tokens=job.order.details.max_new_tokens,
            temperature=milli_of(job.order.details.temperature),
            new_tokens=job.run.new_tokens if job.run else 0,
            finish=job.run.finish if job.run else "",
            checked=details.checked,
            max_price=Wei(details.price),
            price=Wei(details.price),
            most=Wei(details.max_total),
            charge=charge,
            fee=verify_fee(charge, checked=details.checked),
            bonus=Wei(leaf.bonus if leaf else 0),
            debit=Wei(0),
            attempt=job.order.details.attempt,
            batch_id=batch.batch_id if batch else None,
            position=batch.job_ids.index(job.job_id) if batch and batch.batch_id else None,
            reason=self._reason(job),
            asked_ms=job.asked_ms,
            history=(*job.history, *(batch.history if batch else ())),
            next_step_ms=None,
        )
