"""Asking: requests are signed and called out in rounds, and offers for them collected."""

from dataclasses import dataclass, field, replace

from protocol.effects import AwaitDeadline, Effect, PublishRequest, SignMessage
from protocol.events import JobAsked
from protocol.job import Stage, move
from protocol.network.budgets import Paces, Rate
from protocol.network.gossip import REQUESTS
from protocol.params import MAX_TEMPERATURE_MILLI, OFFER_WINDOW_MS, WIDE_OFFER_WINDOW_MS
from protocol.roles.member import Member
from protocol.roles.requester.hiring import why_stopped
from protocol.roles.requester.request_book import RequestBook, unserved
from protocol.roles.requester.requested import RequestedJob
from protocol.stages.offer import SignedOffer
from protocol.stages.request import GENERATE, KINDS, Request, SignedRequest, request_id
from protocol.stages.token_rules import milli_of
from protocol.timers import CallTimer, LastCallTimer, OffersTimer, RequestTimer
from protocol.wire.envelope import require_signer
from protocol.wire.ids import Address, PeerId, RequestId, TimestampMs

OFFER_ROUNDS_MS = (OFFER_WINDOW_MS, WIDE_OFFER_WINDOW_MS, 1_000, 2_000)
"""How long each call for offers waits; from the second on it is wide."""
OWN_REQUESTS = Rate(REQUESTS.amount * 0.9, REQUESTS.period_ms, REQUESTS.burst * 0.8)
"""How fast calls go out: below what peers pass on, since on their way some come closer together."""
MAX_OFFERS = 64


@dataclass(slots=True)
class Asking:
    """The rounds of offers of each request."""

    member: Member
    book: RequestBook
    _turns: Paces[None] = field(default_factory=lambda: Paces[None](OWN_REQUESTS, 1))

    def ask(self, ask: JobAsked, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Turn what the user asks into a request to be signed, unless no node would take it."""
        if ask.ask_id in self.book.jobs:
            return ()
        job = RequestedJob(ask, now_ms)
        self.book.forget_old()
        self.book.jobs[ask.ask_id] = job
        job.history.append((Stage.REQUESTED, now_ms))
        if self.member.identity.client is None or self.member.identity.signer is None:
            return unserved(job, "this node has no client wallet", now_ms)
        if milli_of(ask.temperature) > MAX_TEMPERATURE_MILLI:
            return unserved(job, f"the temperature is 0 to {MAX_TEMPERATURE_MILLI} thousandths", now_ms)
        if ask.kind >= len(KINDS) or (ask.temperature and ask.kind != GENERATE):
            return unserved(job, "no node serves that kind of job, or not at a temperature", now_ms)
        if self.member.is_intake_stopped(now_ms):
            return unserved(job, why_stopped(self.member), now_ms)
        try:
            return (SignMessage(self._request(ask, self.member.identity.client, self.member.identity.signer)),)
        except ValueError as error:
            return unserved(job, str(error), now_ms)

    def _request(self, ask: JobAsked, client: Address, signer: Address) -> Request:
        """Raises: ValueError for what no node would run."""
        return Request(
            client=client,
            signer=signer,
            manifest=ask.manifest,
            kind=ask.kind,
            max_new_tokens=ask.max_new_tokens,
            input_bytes=ask.input_bytes,
            max_price=ask.max_price,
            max_memory=ask.max_memory,
            classes=ask.classes,
            timeout_ms=ask.timeout_ms,
            deadline=ask.deadline,
            min_reputation=ask.min_reputation,
            requester_peer=self.member.identity.addresses[0],
            nonce=ask.nonce,
        )

    def publish(self, request: Request, signature: bytes, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Begin the first round of offers of a signed request."""
        job = next(
            (job for job in self.book.jobs.values() if job.ask.nonce == request.nonce and job.signed is None), None
        )
        if job is None:
            return ()
        job.signed = SignedRequest(request, signature)
        job.request_id = request_id(request, self.member.identity.domain)
        if not job.is_unassigned:
            # Its user has stopped it meanwhile.
            return ()
        return (
            *self.begin_round(job, now_ms),
            AwaitDeadline(RequestTimer(job.ask.ask_id), request.deadline * 1000),
        )

    def begin_round(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Begin a round: its call goes out in its turn, the last one only once somebody can hear it."""
        job.called = False
        job.next_step_ms = OFFER_ROUNDS_MS[job.round]
        return () if is_last_call(job) else self.call_in_turn(job, now_ms)

    def call_in_turn(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Call no faster than peers pass on what one author says: they would drop the call, and the round be lost."""
        job.called = True
        wait_ms = round(self._turns.wait_ms(None, now_ms))
        return (AwaitDeadline(CallTimer(*job.at_round), now_ms + wait_ms),) if wait_ms else self.call(job, now_ms)

    def call(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Gossip the request, again and wide after a first round without an offer."""
        assert job.signed is not None
        signed = replace(job.signed, wide=job.round > 0)
        return PublishRequest(signed), AwaitDeadline(OffersTimer(*job.at_round), now_ms + OFFER_ROUNDS_MS[job.round])

    def call_last(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Ask for the moment of each last call once somebody is heard: a node that has just come up is cut off yet."""
        held = [job for job in self.book.jobs.values() if job.is_open and is_last_call(job) and not job.called]
        if not held or not (self.member.hears_anybody(now_ms) or self.member.has_listened(now_ms)):
            return ()
        return tuple(AwaitDeadline(LastCallTimer(*job.at_round), now_ms) for job in held)

    def collect(self, peer_id: PeerId, signed: SignedOffer, now_ms: TimestampMs) -> None:
        """Keep an offer for an open request. Raises: BadSignature."""
        job = self.book.by_request(RequestId(signed.offer.request_id))
        record = self.member.nodes.get(signed.offer.node_id)
        if job is None or record is None or not job.is_unassigned:
            return
        require_signer(signed.offer, signed.signature, self.member.identity.domain, record.operator)
        if len(job.offers) < MAX_OFFERS or record.node_id in job.offers:
            job.offers[record.node_id] = (signed, peer_id)
            if job.chosen is None:
                move(job, signed, Stage.OFFERED, now_ms)

    def again(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Give the attempt up and begin the rounds of offers anew."""
        job.start_over()
        assert job.signed is not None
        if job.signed.request.deadline * 1000 <= now_ms:
            return unserved(job, f"the deadline has passed; {job.reason}", now_ms)
        return self.begin_round(job, now_ms)


def is_last_call(job: RequestedJob) -> bool:
    """Whether no round of offers follows the one that a request is at."""
    return job.round + 1 == len(OFFER_ROUNDS_MS)
