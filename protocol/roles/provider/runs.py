"""Runs: from the promise of a job to the end of its container."""

from dataclasses import dataclass, field, replace

from protocol.effects import (
    Effect,
    FetchModel,
    RunContainer,
    SealResult,
    Send,
    ShortenRun,
    SignMessage,
    StopContainer,
)
from protocol.events import ContainerExited
from protocol.job import Stage, move
from protocol.params import WITHDRAW_WITHIN_MS
from protocol.roles.member import Member
from protocol.roles.provider.provided import Jobs, ProvidedJob
from protocol.roles.provider.run_queue import WaitingRun, end_by_ms, plan_starts, run_ms
from protocol.roles.provider.settling import Settling
from protocol.stages.assignment import Accept, Refuse, RefuseCode, SignedAccept, Withdrawal, accept_within_ms, kind_of
from protocol.stages.blob import RUNTIME_BYTES
from protocol.stages.commitment import LeafStatus
from protocol.stages.execution import Outcome, RunSpec
from protocol.stages.request import GENERATE
from protocol.stages.stop_order import SignedStopOrder
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import Address, Cid, JobId, PeerId, TimestampMs

CLIENTS_KEPT = 4_096
TOO_LATE = "its batch could not have been mined in time"
HELD = "the owner has paused this node"


@dataclass(slots=True)
class Runs:
    """Promises jobs, starts them in turn and hears how they end."""

    member: Member
    settling: Settling
    jobs: Jobs
    _started: dict[Address, int] = field(default_factory=dict)
    _starts: int = 0

    def promise(self, wanted: JobId, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Promise a job whose input is here, unless its requester has turned to another node."""
        job = self.jobs.get(wanted)
        if job is None or job.accepted or job.stage is not Stage.ASSIGNED:
            return ()
        job.accepted = True
        if self.member.holds.stops_runs:
            return self.settling.decline(job, RefuseCode.PAUSED, LeafStatus.FAILED, HELD, now_ms)
        if self.is_late(job, now_ms):
            return self.settling.decline(job, RefuseCode.EXPIRED, LeafStatus.FAILED, "too late for a promise", now_ms)
        return (SignMessage(Accept(job.job_id, now_ms)),)

    def accept(self, accept: Accept, signature: bytes, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Send a signed promise and queue its job."""
        job = self.jobs.get(JobId(accept.job_id))
        if job is None or job.stage is not Stage.ASSIGNED:
            return ()
        if self.is_late(job, now_ms):
            return self.settling.decline(job, RefuseCode.EXPIRED, LeafStatus.FAILED, "too late for a promise", now_ms)
        move(job, accept, Stage.RUNNING, now_ms)
        job.promise, job.promised_ms = SignedAccept(accept, signature), now_ms
        return Send(job.reply_to, job.promise), *self.start_waiting(now_ms)

    def is_late(self, job: ProvidedJob, now_ms: TimestampMs) -> bool:
        """Whether the requester has turned to another node by now: a promise would have the client pay twice."""
        return now_ms > job.asked_ms + accept_within_ms(job.order.request.request.input_bytes)

    def withdrawn(self, peer_id: PeerId, withdrawal: Withdrawal, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Let go of a job that its requester has given to another node, as long as little work was done for it."""
        wanted = JobId(withdrawal.job_id)
        job = self.jobs.get(wanted)
        if job is None or not self.may_withdraw(job, peer_id, now_ms):
            return ()
        job.reason = "withdrawn by the requester"
        move(job, withdrawal, Stage.UNPAID, now_ms)
        # Its container keeps its slot until it is gone.
        stop = (StopContainer(job.job_id),) if job.running else ()
        return *stop, *self.settling.settle(job, None, LeafStatus.CLIENT_FAULT, now_ms), *self.start_waiting(now_ms)

    def may_withdraw(self, job: ProvidedJob | None, peer_id: PeerId, now_ms: TimestampMs) -> bool:
        """Whether little work was done for a job, so that its requester may take it back."""
        if job is None or job.peer_id != peer_id or not job.is_open:
            return False
        return job.run is None and not (job.promise and now_ms > job.promised_ms + WITHDRAW_WITHIN_MS)

    def stop_ordered(self, peer_id: PeerId, signed: SignedStopOrder, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """End a job's answer at its next token, as its client has ordered; a job that has not begun costs nothing."""
        job = self.jobs.get(JobId(signed.order.job_id))
        if job is None or not self.may_stop(job, peer_id):
            return ()
        if job.waits:
            code, status = RefuseCode.STOPPED, LeafStatus.CLIENT_FAULT
            ended = self.settling.decline(job, code, status, "stopped by its client before it began", now_ms)
            return *ended, *self.start_waiting(now_ms)
        job.stop_order = signed
        return (ShortenRun(job.job_id, signed.signature),)

    def may_stop(self, job: ProvidedJob, peer_id: PeerId) -> bool:
        """Whether a stop order of this peer changes anything: a job that only reads is done at once or not at all."""
        is_text = kind_of(job.order.details) == GENERATE
        return is_text and job.peer_id == peer_id and job.is_open and job.run is None and job.stop_order is None

    def start_waiting(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Start accepted jobs whose model is here, as many as containers can hold; give up those that are too late.

        Which of them share a container is for the machine to say: it is the same to them.
        """
        effects = self._give_up_late(now_ms)
        if self.member.holds.stops_runs:
            return tuple(effects)
        settings = self.member.settings
        running = [job.spec for job in self.jobs.values() if job.running]
        waiting = [
            WaitingRun(job.job_id, job.order.assignment.client, job.spec)
            for job in self.jobs.values()
            if job.is_queued and Cid(job.order.details.manifest) in self.member.models
        ]
        for run in plan_starts(running, waiting, self._started, settings.slots, settings.at_once):
            job = self.jobs[run.job_id]
            job.running = True
            limited = self._limited(run.spec, job, now_ms)
            job.stop_ms = TimestampMs(now_ms + limited.timeout_ms)
            self._starts += 1
            keep_newest(self._started, run.client, self._starts, CLIENTS_KEPT)
            effects.append(RunContainer(limited))
        return tuple(effects)

    def fetch_again(self, manifest: Cid, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """A model has left the store: fetch it for the jobs that wait for a container."""
        waiting = [job for job in self.jobs.values() if job.waits and Cid(job.order.details.manifest) == manifest]
        if not waiting or not self._may_fetch(waiting[0]):
            return ()
        peers = (*(job.peer_id for job in waiting), *self.member.holders(manifest, now_ms))
        return (FetchModel(manifest, tuple(dict.fromkeys(peers))),)

    def _may_fetch(self, job: ProvidedJob) -> bool:
        details = job.order.details
        return self.member.may_fetch(Cid(details.manifest), job.order.offer.offer.class_id, kind_of(details))

    def _give_up_late(self, now_ms: TimestampMs) -> list[Effect]:
        """Give up jobs in the queue that would end too late for a batch: their client would have the answer free."""
        effects: list[Effect] = []
        for job in self.jobs.values():
            if job.is_queued and now_ms + run_ms(job.order.offer.offer) > end_by_ms(job.order.details):
                refusal = Refuse(job.job_id, RefuseCode.FAILED, 0)
                effects += self.settling.give_up(job, refusal, Outcome.PROVIDER, TOO_LATE, now_ms)
        return effects

    def give_up_held(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Give up promised jobs whose containers stand still, or may not start: other nodes do them."""
        effects: list[Effect] = []
        for job in self.jobs.values():
            if job.stage is Stage.RUNNING and job.run is None:
                # Its container keeps its slot until it is gone.
                effects += (StopContainer(job.job_id),) if job.running else ()
                refusal = Refuse(job.job_id, RefuseCode.FAILED, 0)
                effects += self.settling.give_up(job, refusal, Outcome.PROVIDER, HELD, now_ms)
        return tuple(effects)

    def _limited(self, spec: RunSpec, job: ProvidedJob, now_ms: TimestampMs) -> RunSpec:
        """A run that ends in time for its batch, and in the memory that its model needs whatever its client allows.

        A limit of 0 would be none: a client may sign 0, and a manifest may state it.
        """
        manifest = self.member.models[Cid(spec.manifest)]
        needs_bytes = max(spec.memory_bytes, manifest.needs_bytes, RUNTIME_BYTES)
        return replace(
            spec,
            timeout_ms=min(spec.timeout_ms, end_by_ms(job.order.details) - now_ms),
            memory_bytes=min(self.member.settings.memory_bytes, needs_bytes),
        )

    def exited(self, exited: ContainerExited, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """A container has ended: seal its result, or give its job up."""
        job = self.jobs.get(JobId(exited.job_id))
        if job is None or job.run is not None:
            return ()
        job.running, job.run, job.fingerprint = False, exited.result, exited.fingerprint
        after = self.start_waiting(now_ms)
        if job.stage is not Stage.RUNNING:
            return after
        if exited.result.outcome is Outcome.OK and now_ms > end_by_ms(job.order.details):
            # This node was away meanwhile.
            return *self.settling.give_up(job, exited, Outcome.PROVIDER, TOO_LATE, now_ms), *after
        if exited.result.outcome is Outcome.OK:
            return SealResult(job.job_id, job.order.details.input_cid), *after
        return *self.settling.give_up(job, exited, exited.result.outcome, exited.result.detail, now_ms), *after
