"""The requests of this node, by what was asked and by the job that each became."""

from dataclasses import dataclass, field

from protocol.effects import Effect
from protocol.job import TERMINAL
from protocol.roles.requester.requested import RequestedJob
from protocol.wire.ids import JobId, PeerId, RequestId, TimestampMs

DONE_KEPT = 1_024


@dataclass(slots=True)
class RequestBook:
    """The book that the parts of the requester share."""

    jobs: dict[bytes, RequestedJob] = field(default_factory=dict)
    by_job: dict[JobId, RequestedJob] = field(default_factory=dict)

    def current(self, wanted: JobId) -> RequestedJob | None:
        """The request whose present attempt this is."""
        found = self.by_job.get(wanted)
        return found if found is not None and found.job_id == wanted else None

    def of_peer(self, job: bytes, peer_id: PeerId) -> RequestedJob | None:
        """The request whose present attempt is with this peer."""
        found = self.by_job.get(JobId(job))
        return found if found is not None and found.peer_id == peer_id and found.job_id == job else None

    def is_with(self, job: bytes, peer_id: PeerId) -> bool:
        """Whether a job of ours is or was with this peer."""
        return self.of_peer(job, peer_id) is not None or self.gave_up(JobId(job), peer_id)

    def gave_up(self, wanted: JobId, peer_id: PeerId) -> bool:
        """Whether an attempt with this peer was given up."""
        job = self.by_job.get(wanted)
        return job is not None and wanted in job.given_up and job.given_up[wanted].peer_id == peer_id

    def by_request(self, wanted: RequestId) -> RequestedJob | None:
        """The request of an id."""
        return next((job for job in self.jobs.values() if job.request_id == wanted), None)

    def forget_old(self) -> None:
        """Forget the oldest requests that have ended."""
        done = [ask_id for ask_id, job in self.jobs.items() if job.stage in TERMINAL]
        for ask_id in done[: max(0, len(done) - DONE_KEPT)]:
            job = self.jobs.pop(ask_id)
            if job.job_id is not None:
                self.by_job.pop(job.job_id, None)


def unserved(job: RequestedJob, reason: str, now_ms: TimestampMs) -> tuple[Effect, ...]:
    """End a request that no node serves: nothing more is wanted for it."""
    job.end_unserved(reason, now_ms)
    return ()
