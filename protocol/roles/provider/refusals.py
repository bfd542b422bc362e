"""Refusals: signed words to a requester that its job is not done here, and when there may be room for it."""

from dataclasses import dataclass, field

from protocol.effects import Effect, Send, SignMessage
from protocol.roles.member import Member
from protocol.roles.provider.provided import Jobs
from protocol.stages.assignment import Refuse, RefuseCode, SignedRefuse
from protocol.stages.execution import side_by_side_ms
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import JobId

REFUSALS_KEPT = 256
MAX_RETRY_AFTER_MS = 3_600_000


@dataclass(slots=True)
class Refusals:
    """Refusals on their way: signed first, then sent."""

    member: Member
    jobs: Jobs
    _refusing: dict[JobId, str] = field(default_factory=dict)

    def refuse(self, job: JobId, to: str, code: RefuseCode) -> tuple[Effect, ...]:
        """Have a refusal signed, for where its requester is dialled."""
        keep_newest(self._refusing, job, to, REFUSALS_KEPT)
        retry_after_ms = self._free_in_ms() if code is RefuseCode.BUSY else 0
        return (SignMessage(Refuse(job, code, min(retry_after_ms, MAX_RETRY_AFTER_MS))),)

    def send(self, refuse: Refuse, signature: bytes) -> tuple[Effect, ...]:
        """Send a signed refusal."""
        to = self._refusing.pop(JobId(refuse.job_id), None)
        return (Send(to, SignedRefuse(refuse, signature)),) if to else ()

    def _free_in_ms(self) -> int:
        """How long what waits and runs here takes, divided by the slots: when there will be room, roughly."""
        jobs = [job for job in self.jobs.values() if job.running or job.waits]
        settings = self.member.settings
        orders, together = [job.order for job in jobs], min(settings.at_once, len(jobs))
        speed = self.member.device.ms_of
        alone_ms = sum(speed(each.offer.offer.class_id) * each.details.max_new_tokens for each in orders)
        return side_by_side_ms(alone_ms, together) // (max(1, together) * settings.slots)
