"""The requester: turns what its user asks into a signed request, hires the best able node, pays for what arrived.

It tries at most three nodes for a request. A node that refuses or fails frees the way at once; one that goes silent
keeps it until its payment order is dead, so that no job is paid twice.
"""

from dataclasses import dataclass, field

from protocol import events as ev
from protocol.court.docket import Docket
from protocol.effects import Effect
from protocol.job import JobState
from protocol.messages import Message
from protocol.roles.member import Member
from protocol.roles.requester.asking import Asking
from protocol.roles.requester.cooldown import ProviderCooldown
from protocol.roles.requester.failures import Failures
from protocol.roles.requester.lanes import Lanes
from protocol.roles.requester.ordering import Ordering
from protocol.roles.requester.payments import Payments
from protocol.roles.requester.receiving import Receiving
from protocol.roles.requester.request_book import RequestBook
from protocol.roles.requester.requested import RequestedJob
from protocol.roles.requester.stopping import Stopping
from protocol.stages.assignment import Assignment, LaneOpen, SignedAccept, SignedRefuse
from protocol.stages.commitment import Receipt, ResultDelivery, TokenFrame
from protocol.stages.lane_notice import LaneCounted
from protocol.stages.offer import SignedOffer
from protocol.stages.request import Request
from protocol.stages.stop_order import StopOrder
from protocol.timers import AheadTimer
from protocol.wire.ids import Cid, JobId, PeerId, RequestId, TimestampMs


@dataclass(slots=True)
class Requester:
    """The client's side of a job. Its parts share one book of requests."""

    member: Member
    docket: Docket
    _book: RequestBook = field(default_factory=RequestBook)
    _lanes: Lanes = field(init=False)
    _payments: Payments = field(init=False)
    _asking: Asking = field(init=False)
    _ordering: Ordering = field(init=False)
    _receiving: Receiving = field(init=False)
    _failures: Failures = field(init=False)

    def __post_init__(self) -> None:
        member, book, cooldown = self.member, self._book, ProviderCooldown()
        self._lanes = Lanes(member)
        self._payments = Payments(member, self.docket, cooldown, book.by_job)
        self._asking = Asking(member, book)
        self._ordering = Ordering(member, cooldown, self._lanes, book, self._asking)
        self._receiving = Receiving(member, book)
        self._failures = Failures(member, cooldown, self._lanes, book, self._asking, self._ordering, self._receiving)

    @property
    def jobs(self) -> tuple[JobState, ...]:
        """Every request of ours, oldest first."""
        return tuple(job.view(self.member.identity.client) for job in self._book.jobs.values())

    def job(self, wanted: JobId) -> RequestedJob | None:
        """The request whose present attempt this is."""
        return self._book.current(wanted)

    def start(self) -> tuple[Effect, ...]:
        """Ask, after an absence, what became of the jobs that were under way."""
        return tuple(effect for job in self._book.jobs.values() for effect in self._receiving.ask_result(job))

    def expects(self, peer_id: PeerId, message: Message) -> bool:
        """Whether something may come of a message, at a glance: signatures are not checked here."""
        match message:
            case SignedOffer(offer):
                job = self._book.by_request(RequestId(offer.request_id))
                if job is None or not job.is_unassigned:
                    return False
                return offer.node_id in self.member.nodes and job.offer_of(offer.node_id) != message
            case SignedAccept(accept):
                return self._book.is_with(accept.job_id, peer_id)
            case SignedRefuse(refuse):
                return self._book.is_with(refuse.job_id, peer_id)
            case ResultDelivery(result):
                return self._book.is_with(result.job_id, peer_id)
            case LaneCounted():
                return self._lanes.is_of(peer_id, message)
            case TokenFrame(job_id=job):
                return self._book.is_with(job, peer_id)
            case _:
                return False

    def handle(self, event: ev.Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """The effects that an event asks of the requester."""
        match event:
            case ev.Tick():
                return self._tick(now_ms)
            case ev.JobAsked():
                return self._asking.ask(event, now_ms)
            case ev.JobStopAsked():
                return Stopping(self._book).ask(event, now_ms)
            case ev.MessageSigned(StopOrder() as stop, signature):
                return Stopping(self._book).signed(stop, signature)
            case ev.MessageSigned(Request() as request, signature):
                return self._asking.publish(request, signature, now_ms)
            case ev.MessageReceived(peer_id, SignedOffer() as signed):
                self._asking.collect(peer_id, signed, now_ms)
            case ev.DeadlinePassed(AheadTimer(node)):
                return self._ordering.ahead.begin(node, now_ms)
            case ev.DeadlinePassed():
                return self._failures.deadline(event, now_ms)
            case ev.MessageSigned(LaneOpen() as lane, signature):
                return self._ordering.show_lane(lane, signature)
            case ev.MessageReceived(_, LaneCounted() as counted):
                return self._ordering.lane_counted(counted, now_ms)
            case ev.BlockSeen():
                return *self._lanes.send_overdue(), *self._payments.handle(event, now_ms)
            case ev.LaneSeen():
                return self._ordering.lane_changed(event, now_ms)
            case ev.KeySealed(input_cid, hpke_key, sealed_key):
                return self._ordering.order(Cid(input_cid), hpke_key, sealed_key, now_ms)
            case ev.MessageSigned(Assignment() as assignment, signature):
                return self._ordering.assign(assignment, signature, now_ms)
            case ev.MessageReceived(peer_id, SignedAccept() as accept):
                return self._receiving.accepted(peer_id, accept, now_ms)
            case ev.MessageReceived(peer_id, SignedRefuse() as refuse):
                return self._failures.refused(peer_id, refuse, now_ms)
            case ev.MessageReceived(peer_id, TokenFrame() as frame):
                return self._receiving.frame(peer_id, frame, now_ms)
            case ev.FrameOpened(job, _, ids):
                self._receiving.count(JobId(job), ids)
            case ev.MessageReceived(peer_id, ResultDelivery() as delivery):
                return self._receiving.delivered(peer_id, delivery, now_ms)
            case ev.BlobFetched(cid):
                return self._receiving.fetched(Cid(cid))
            case ev.ResultOpened():
                return self._receiving.opened(event, now_ms)
            case ev.MessageSigned(Receipt() as receipt, signature):
                return self._receiving.receipted(receipt, signature)
            case ev.EffectFailed():
                return (*self._failures.failed(event, now_ms), *self._payments.handle(event, now_ms))
            case _:
                return self._payments.handle(event, now_ms)
        return ()

    def _tick(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        return (
            *self._asking.call_last(now_ms),
            *self._receiving.ask_silent(now_ms),
            *self._failures.look_for_dead(now_ms),
            *self._failures.look_for_dead_orders(now_ms),
            *self._ordering.ahead.look(now_ms),
        )
