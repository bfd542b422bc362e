"""The requester: turns what its user asks into a signed request, hires the best able node, pays for what arrived.

It tries at most three nodes for a request. A node that refuses or fails frees the way at once; one that goes silent
keeps it until its payment order is dead, so that no job is paid twice.
"""

import hashlib
from dataclasses import dataclass, field, replace

from protocol import effects as fx
from protocol.court.docket import Docket
from protocol.effects import (
    AwaitDeadline,
    Effect,
    FetchBlob,
    OpenFrame,
    OpenResult,
    PublishRequest,
    SealKey,
    Send,
    SignMessage,
)
from protocol.errors import RemoteProtocolError
from protocol.events import (
    BlobFetched,
    BlockSeen,
    DeadlinePassed,
    EffectFailed,
    Event,
    FrameOpened,
    JobAsked,
    KeySealed,
    LaneSeen,
    MessageReceived,
    MessageSigned,
    ResultOpened,
    Tick,
)
from protocol.job import TERMINAL, JobState, Stage, move
from protocol.messages import Message
from protocol.network.budgets import Paces, Rate
from protocol.network.gossip import REQUESTS
from protocol.params import (
    DEADLINE_GRACE_MS,
    MAX_RETRIES,
    MAX_TEMPERATURE_MILLI,
    OFFER_WINDOW_MS,
    RETRY_AFTER_DEADLINE_S,
    WIDE_OFFER_WINDOW_MS,
)
from protocol.roles.hiring import best, vcn, why_nobody, why_stopped
from protocol.roles.identity import Identity, Settings
from protocol.roles.lanes import Lanes
from protocol.roles.member import Member
from protocol.roles.misses import Misses
from protocol.roles.payments import Payments
from protocol.roles.requested import RequestedJob, SignedOrder
from protocol.stages.assignment import (
    CHECK_ORDERED,
    UNCALIBRATED_ACCEPTED,
    Assignment,
    AssignmentOrder,
    JobDetails,
    LaneOpen,
    RefuseCode,
    SignedAccept,
    SignedRefuse,
    Withdrawal,
    accept_within_ms,
    bonus_cap,
    bonus_of,
    charge_of,
    is_reclaimed,
    job_id,
    kind_flags,
    order_total,
    verify_fee,
)
from protocol.stages.commitment import Receipt, ResultDelivery, ResultQuery, SignedReceipt, TokenFrame
from protocol.stages.offer import FETCH_MS, SignedOffer
from protocol.stages.request import GENERATE, KINDS, Request, SignedRequest, request_id
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
from protocol.wire.envelope import digest, require_signer, struct_hash
from protocol.wire.ids import Address, Cid, JobId, PeerId, RequestId, TimestampMs, Wei
from protocol.wire.names import name_of

OFFER_ROUNDS_MS = (OFFER_WINDOW_MS, WIDE_OFFER_WINDOW_MS, 1_000, 2_000)
"""How long each call for offers waits; from the second on it is wide."""
OWN_REQUESTS = Rate(REQUESTS.amount * 0.9, REQUESTS.period_ms, REQUESTS.burst * 0.8)
"""How fast calls go out: below what peers pass on, since on their way some come closer together."""
MAX_OFFERS = 64
ASK_AFTER_MS = 10_000
"""A node at work that is silent for so long is asked for its result: its message may have been lost."""
DONE_KEPT = 1_024


@dataclass(slots=True)
class Requester:
    """The client's side of a job."""

    identity: Identity
    settings: Settings
    member: Member
    docket: Docket
    _jobs: dict[bytes, RequestedJob] = field(default_factory=dict)
    _by_job: dict[JobId, RequestedJob] = field(default_factory=dict)
    _misses: Misses = field(default_factory=Misses)
    _turns: Paces[None] = field(default_factory=lambda: Paces[None](OWN_REQUESTS, 1))
    _lanes: Lanes = field(init=False)
    _payments: Payments = field(init=False)

    def __post_init__(self) -> None:
        self._lanes = Lanes(self.identity, self.member)
        self._payments = Payments(self.identity, self.member, self.docket, self._misses, self._by_job)

    @property
    def jobs(self) -> tuple[JobState, ...]:
        """Every request of ours, oldest first."""
        return tuple(job.view(self.identity.client) for job in self._jobs.values())

    def job(self, wanted: JobId) -> RequestedJob | None:
        """The request whose present attempt this is."""
        found = self._by_job.get(wanted)
        return found if found is not None and found.job_id == wanted else None

    def start(self) -> tuple[Effect, ...]:
        """Ask, after an absence, what became of the jobs that were under way."""
        return tuple(effect for job in self._jobs.values() for effect in self._ask_result(job))

    def expects(self, peer_id: PeerId, message: Message) -> bool:
        """Whether something may come of a message, at a glance: signatures are not checked here."""
        match message:
            case SignedOffer(offer):
                job = self._by_request(RequestId(offer.request_id))
                if job is None or not job.is_unassigned:
                    return False
                return offer.node_id in self.member.nodes and job.offer_of(offer.node_id) != message
            case SignedAccept(accept):
                return self._is_with(accept.job_id, peer_id)
            case SignedRefuse(refuse):
                return self._is_with(refuse.job_id, peer_id)
            case ResultDelivery(result):
                return self._is_with(result.job_id, peer_id)
            case TokenFrame(job_id=job):
                return self._is_with(job, peer_id)
            case _:
                return False

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """What an event makes the requester want."""
        match event:
            case Tick():
                return self._tick(now_ms)
            case JobAsked():
                return self._ask(event, now_ms)
            case MessageSigned(Request() as request, signature):
                return self._publish(request, signature, now_ms)
            case MessageReceived(peer_id, SignedOffer() as signed):
                self._collect(peer_id, signed, now_ms)
            case DeadlinePassed():
                return self._deadline(event, now_ms)
            case MessageSigned(LaneOpen() as lane, signature):
                return (self._lanes.send(lane, signature),)
            case BlockSeen():
                return *self._lanes.send_overdue(), *self._payments.handle(event, now_ms)
            case LaneSeen():
                return self._lane_changed(event, now_ms)
            case KeySealed(input_cid, hpke_key, sealed_key):
                return self._order(Cid(input_cid), hpke_key, sealed_key, now_ms)
            case MessageSigned(Assignment() as assignment, signature):
                return self._assign(assignment, signature, now_ms)
            case MessageReceived(peer_id, SignedAccept() as accept):
                return self._accepted(peer_id, accept, now_ms)
            case MessageReceived(peer_id, SignedRefuse() as refuse):
                return self._refused(peer_id, refuse, now_ms)
            case MessageReceived(peer_id, TokenFrame() as frame):
                return self._frame(peer_id, frame, now_ms)
            case FrameOpened(job, _, ids):
                self._count(JobId(job), ids)
            case MessageReceived(peer_id, ResultDelivery() as delivery):
                return self._delivered(peer_id, delivery, now_ms)
            case BlobFetched(cid):
                return self._fetched(Cid(cid))
            case ResultOpened():
                return self._opened(event, now_ms)
            case MessageSigned(Receipt() as receipt, signature):
                return self._receipted(receipt, signature)
            case EffectFailed():
                return (*self._failed(event, now_ms), *self._payments.handle(event, now_ms))
            case _:
                return self._payments.handle(event, now_ms)
        return ()

    # --- request and offers -----------------------------------------------------------------------------------------
    def _ask(self, ask: JobAsked, now_ms: TimestampMs) -> tuple[Effect, ...]:
        if ask.ask_id in self._jobs:
            return ()
        job = RequestedJob(ask, now_ms)
        self._forget_old()
        self._jobs[ask.ask_id] = job
        job.history.append((Stage.REQUESTED, now_ms))
        if self.identity.client is None or self.identity.signer is None:
            job.end_unserved("this node has no client wallet", now_ms)
            return ()
        if ask.temperature > MAX_TEMPERATURE_MILLI:
            job.end_unserved(f"the temperature is 0 to {MAX_TEMPERATURE_MILLI} thousandths", now_ms)
            return ()
        if ask.kind >= len(KINDS) or (ask.temperature and ask.kind != GENERATE):
            job.end_unserved("no node serves that kind of job, or not at a temperature", now_ms)
            return ()
        if self.member.is_intake_stopped(now_ms):
            job.end_unserved(why_stopped(self.member), now_ms)
            return ()
        try:
            return (SignMessage(self._request(ask, self.identity.client, self.identity.signer)),)
        except ValueError as error:
            job.end_unserved(str(error), now_ms)
            return ()

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
            requester_peer=self.identity.addresses[0],
            nonce=ask.nonce,
        )

    def _publish(self, request: Request, signature: bytes, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = next((job for job in self._jobs.values() if job.ask.nonce == request.nonce and job.signed is None), None)
        if job is None:
            return ()
        job.signed = SignedRequest(request, signature)
        job.request_id = request_id(request, self.identity.domain)
        return (
            *self._call_for_offers(job, now_ms),
            AwaitDeadline(RequestTimer(job.ask.ask_id), request.deadline * 1000),
        )

    def _call_for_offers(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Begin a round: its call goes out in its turn, the last one only once somebody can hear it."""
        job.called = False
        job.next_step_ms = OFFER_ROUNDS_MS[job.round]
        return () if _is_last_call(job) else self._call_in_turn(job, now_ms)

    def _call_in_turn(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Call no faster than peers pass on what one author says: they would drop the call, and the round be lost."""
        job.called = True
        wait_ms = round(self._turns.wait_ms(None, now_ms))
        return (AwaitDeadline(CallTimer(*job.at_round), now_ms + wait_ms),) if wait_ms else self._call(job, now_ms)

    def _call(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Gossip the request, again and wide after a first round without an offer."""
        assert job.signed is not None
        signed = replace(job.signed, wide=job.round > 0)
        return PublishRequest(signed), AwaitDeadline(OffersTimer(*job.at_round), now_ms + OFFER_ROUNDS_MS[job.round])

    def _call_last(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Ask for the moment of each last call once somebody is heard: a node that has just come up is cut off yet."""
        held = [job for job in self._jobs.values() if job.is_open and _is_last_call(job) and not job.called]
        if not held or not (self.member.hears_anybody(now_ms) or self.member.has_listened(now_ms)):
            return ()
        return tuple(AwaitDeadline(LastCallTimer(*job.at_round), now_ms) for job in held)

    def _collect(self, peer_id: PeerId, signed: SignedOffer, now_ms: TimestampMs) -> None:
        job = self._by_request(RequestId(signed.offer.request_id))
        record = self.member.nodes.get(signed.offer.node_id)
        if job is None or record is None or not job.is_unassigned:
            return
        require_signer(signed.offer, signed.signature, self.identity.domain, record.operator)
        if len(job.offers) < MAX_OFFERS or record.node_id in job.offers:
            job.offers[record.node_id] = (signed, peer_id)
            if job.chosen is None:
                move(job, signed, Stage.OFFERED, now_ms)

    def _hire(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Choose the best able node that was not tried, and make sure that its lane pays for it."""
        assert job.signed is not None
        last_call = _is_last_call(job)
        found = best(job, self.member, self._misses, self.identity.node_id, now_ms, last_call=last_call)
        if found is None and last_call:
            return self._unserved(job, why_nobody(job, self.member, now_ms), now_ms)
        if found is None:
            job.round += 1
            return self._call_for_offers(job, now_ms)
        job.chosen, job.peer_id, job.details = found.signed, found.peer_id, None
        return self._cover(job, now_ms)

    # --- lane and order ---------------------------------------------------------------------------------------------
    def _cover(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Go on to the order where the lane pays for it; else lock more, and wait until that is final."""
        assert job.chosen is not None
        offer = job.chosen.offer
        missing = self._missing(job)
        if missing <= 0:
            return (SealKey(job.ask.input_cid, offer.hpke_key),)
        if offer.node_id in self._lanes.opening:
            return ()
        if self.member.is_intake_stopped(now_ms):
            return self._unserved(job, why_stopped(self.member), now_ms)
        free = self._lanes.free()
        if free < missing:
            return self._unserved(
                job, f"not enough deposited: {vcn(missing)} VCN more needed, {vcn(free)} free", now_ms
            )
        job.next_step_ms = (self.member.rules.final_depth + 2) * 12_000
        amount = min(free, max(missing, self.settings.lane_amount))
        order = self._lanes.opening[offer.node_id] = self._lanes.order_to_open(offer.node_id, amount, now_ms)
        return (SignMessage(order),)

    def _missing(self, job: RequestedJob) -> int:
        """What the lane lacks for the job's order; 0 or less where it covers it."""
        assert job.chosen is not None
        offer = job.chosen.offer
        return self._lanes.missing(offer.node_id, _total(job, offer.price))

    def _lane_changed(self, seen: LaneSeen, now_ms: TimestampMs) -> tuple[Effect, ...]:
        lane = seen.lane
        if not self._lanes.is_ours(lane):
            return ()
        for job in self._jobs.values():
            if job.node == lane.node and job.batch_id is None and is_reclaimed(job.index, job.cumulative, lane):
                job.end_reclaimed(seen, now_ms)
        if not self._lanes.is_open(lane):
            return ()
        self._lanes.close(lane.node)
        effects: list[Effect] = []
        for job in self._jobs.values():
            if job.stage is Stage.OFFERED and job.chosen is not None and job.node == lane.node:
                effects += self._after_lane(job, now_ms)
        return tuple(effects)

    def _after_lane(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        return self._ask_again(job, now_ms) if job.is_offer_over(now_ms) else self._cover(job, now_ms)

    def _order(self, input_cid: Cid, hpke_key: bytes, sealed_key: bytes, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = next(
            (
                job
                for job in self._jobs.values()
                if job.ask.input_cid == input_cid
                and job.stage is Stage.OFFERED
                and job.chosen is not None
                and job.chosen.offer.hpke_key == hpke_key
                and job.details is None
            ),
            None,
        )
        if job is None or job.chosen is None:
            return ()
        if job.is_offer_over(now_ms):
            return self._ask_again(job, now_ms)
        # Another order may have used up the lane while the key was sealed.
        lane, book = self._lanes.lane(job.chosen.offer.node_id), self._lanes.book(job.chosen.offer.node_id)
        if self._missing(job) > 0:
            return self._cover(job, now_ms)
        details = self._details(job, now_ms)
        job.details, job.sealed_key = details, sealed_key
        book.index, book.cumulative = book.index + 1, book.cumulative + details.max_total
        job.index, job.cumulative = book.index, book.cumulative
        assignment = Assignment(lane.client, lane.signer, lane.node, book.index, book.cumulative, struct_hash(details))
        return (SignMessage(assignment),)

    def _details(self, job: RequestedJob, now_ms: TimestampMs) -> JobDetails:
        assert job.chosen is not None
        assert job.signed is not None
        assert job.request_id is not None
        request, offer = job.signed.request, job.chosen.offer
        fetch_ms = 0 if offer.cached else FETCH_MS
        until_ms = now_ms + fetch_ms + offer.eta_ms + request.timeout_ms + DEADLINE_GRACE_MS
        # The node hears it with the order, and a later attempt has another: only the client could choose by it.
        nonce = hashlib.sha256(b"vcoin/seed/1" + self.settings.secret + job.request_id + bytes([job.attempt])).digest()
        return JobDetails(
            request_id=job.request_id,
            offer_hash=digest(offer, self.identity.domain),
            price=offer.price,
            bonus_cap=bonus_cap(offer.price) if job.ask.with_bonus else 0,
            verify_fee=verify_fee(offer.price, checked=job.ask.checked),
            manifest=request.manifest,
            input_cid=job.ask.input_cid,
            content_key_hash=job.ask.content_key_hash,
            temperature=job.ask.temperature,
            seed_nonce=nonce,
            max_new_tokens=request.max_new_tokens,
            classes=request.classes,
            expected_ms=min(offer.eta_ms, request.timeout_ms),
            deadline=min(request.deadline, max(until_ms // 1000, self._latest_at_work(offer.node_id))),
            attempt=job.attempt,
            max_total=_total(job, offer.price),
            flags=_flags(job.ask) | kind_flags(request.kind),
        )

    def _latest_at_work(self, node: Address) -> int:
        """The latest deadline among our jobs at work on a node, in seconds; 0 without any.

        The numbers of a lane settle in their order, so a node takes no order that is due before an earlier one.
        """
        at_work = (Stage.OFFERED, Stage.ASSIGNED, Stage.RUNNING)
        jobs = (job for job in self._jobs.values() if job.node == node and job.stage in at_work)
        return max((job.details.deadline for job in jobs if job.details is not None), default=0)

    def _assign(self, assignment: Assignment, signature: bytes, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = next(
            (
                job
                for job in self._jobs.values()
                if job.details is not None and job.job_id is None and struct_hash(job.details) == assignment.details
            ),
            None,
        )
        if job is None or job.details is None or job.signed is None or job.chosen is None or job.peer_id is None:
            return ()
        if job.is_offer_over(now_ms):
            # Signed before an absence. The number stays used; the node would refuse it.
            return self._ask_again(job, now_ms)
        job.job_id, job.order = job_id(assignment, self.identity.domain), SignedOrder(assignment, signature)
        self._by_job[job.job_id] = job
        move(job, assignment, Stage.ASSIGNED, now_ms)
        job.next_step_ms = accept_within_ms(job.ask.input_bytes)
        order = AssignmentOrder(
            request=job.signed,
            offer=job.chosen,
            assignment=assignment,
            details=job.details,
            signature=signature,
            sealed_key=job.sealed_key,
            sealed_input=job.ask.sealed_input,
        )
        return Send(job.peer_id, order), AwaitDeadline(AcceptTimer(job.job_id), now_ms + job.next_step_ms)

    # --- execution as seen from here --------------------------------------------------------------------------------
    def _accepted(self, peer_id: PeerId, accept: SignedAccept, now_ms: TimestampMs) -> tuple[Effect, ...]:
        wanted = JobId(accept.accept.job_id)
        job = self._of_peer(wanted, peer_id)
        if job is None and self._gave_up(wanted, peer_id):
            # Its promise, or our withdrawal, was late; two nodes must not do one job.
            return (Send(peer_id, Withdrawal(wanted)),)
        if job is None or job.details is None or job.stage is not Stage.ASSIGNED:
            return ()
        self._require_operator(job, accept.accept, accept.signature)
        job.promise = accept
        return self._runs(job, job.details, accept, now_ms)

    def _gave_up(self, wanted: JobId, peer_id: PeerId) -> bool:
        job = self._by_job.get(wanted)
        return job is not None and wanted in job.given_up and job.given_up[wanted].peer_id == peer_id

    def _runs(self, job: RequestedJob, details: JobDetails, fact: object, now_ms: TimestampMs) -> tuple[Effect, ...]:
        move(job, fact, Stage.RUNNING, now_ms)
        job.accepted_ms = now_ms
        job.next_step_ms = max(0, details.deadline * 1000 - now_ms)
        assert job.job_id is not None
        return (AwaitDeadline(ResultTimer(job.job_id), details.deadline * 1000),)

    def _refused(self, peer_id: PeerId, refuse: SignedRefuse, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = self._of_peer(refuse.refuse.job_id, peer_id)
        if job is None or job.stage not in (Stage.ASSIGNED, Stage.RUNNING):
            return ()
        self._require_operator(job, refuse.refuse, refuse.signature)
        code = refuse.refuse.code
        word = RefuseCode(code).name.lower() if code in tuple(RefuseCode) else str(code)
        if code == RefuseCode.CLIENT_FAULT:
            return self._unserved(job, "the input is not accepted: is the prompt too long for the model?", now_ms)
        return self._try_next(job, refuse, f"{job.node} refused: {word}", now_ms)

    def _tick(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        return (
            *self._call_last(now_ms),
            *self._ask_silent(now_ms),
            *self._look_for_dead(now_ms),
            *self._look_for_dead_orders(now_ms),
        )

    def _ask_silent(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        effects: list[Effect] = []
        for job in self._jobs.values():
            since = max(job.heard_ms, job.accepted_ms or now_ms)
            if job.stage is Stage.RUNNING and now_ms >= since + ASK_AFTER_MS:
                job.heard_ms = now_ms
                effects += self._ask_result(job)
        return tuple(effects)

    def _look_for_dead(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Ask for a moment at which jobs of nodes that beat no more are moved; it is in the journal, a beat is not."""
        if not self.member.hears_anybody(now_ms):
            # A node that hears no peer is cut off itself.
            return ()
        return tuple(
            AwaitDeadline(OfflineTimer(job.job_id), now_ms)
            for job in self._jobs.values()
            if job.stage is Stage.RUNNING and job.job_id is not None
            if job.node in self.member.peers and job.delivery is None
            if not self.member.is_alive(job.node, now_ms)
        )

    def _look_for_dead_orders(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Ask for a moment at which silent jobs are moved that no batch may bring on chain any more.

        By the chain's own time, and once the blocks until then are final: a batch in them would be paid beside.
        """
        effects: list[Effect] = []
        for job in self._jobs.values():
            if job.stage is not Stage.RUNNING or not job.details or not job.job_id or job.batch_id is not None:
                continue
            if self.member.timestamp > job.details.deadline + RETRY_AFTER_DEADLINE_S:
                job.dead_block = job.dead_block or self.member.head
                if self.member.final >= job.dead_block:
                    effects.append(AwaitDeadline(RetryTimer(job.job_id), now_ms))
        return tuple(effects)

    def _ask_result(self, job: RequestedJob) -> tuple[Effect, ...]:
        if job.stage not in (Stage.ASSIGNED, Stage.RUNNING) or job.delivery is not None:
            return ()
        assert job.peer_id is not None
        assert job.job_id is not None
        return (Send(job.peer_id, ResultQuery(job.job_id)),)

    def _frame(self, peer_id: PeerId, frame: TokenFrame, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = self._of_peer(frame.job_id, peer_id)
        if job is None or job.stage is not Stage.RUNNING:
            return ()
        job.heard_ms = now_ms
        return (OpenFrame(frame.job_id, job.ask.input_cid, frame.seq, frame.sealed),)

    def _count(self, job_id_: JobId, ids: tuple[int, ...]) -> None:
        job = self._by_job.get(job_id_)
        if job is not None and job.stage is Stage.RUNNING:
            job.new_tokens += len(ids)

    def _delivered(self, peer_id: PeerId, delivery: ResultDelivery, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = self._of_peer(delivery.result.job_id, peer_id)
        if job is not None and job.receipt is not None:
            # It has not heard the receipt.
            return self._send_receipt(job)
        if job is None or job.details is None or job.delivery is not None:
            return ()
        if job.stage not in (Stage.ASSIGNED, Stage.RUNNING):
            return ()
        self._require_operator(job, delivery.result, delivery.signature)
        # A result without a promise: the promise was lost.
        awaited = self._runs(job, job.details, delivery, now_ms) if job.stage is Stage.ASSIGNED else ()
        job.delivery = delivery
        if not delivery.sealed_result:
            return *awaited, FetchBlob(delivery.result.blob_cid, (peer_id,))
        return *awaited, self._open(job, delivery)

    def _fetched(self, cid: Cid) -> tuple[Effect, ...]:
        waiting = [job for job in self._by_job.values() if job.delivery and job.delivery.result.blob_cid == cid]
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

    def _opened(self, opened: ResultOpened, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = self._by_job.get(JobId(opened.job_id))
        if job is None or job.delivery is None or job.details is None or job.stage is not Stage.RUNNING:
            return ()
        if not opened.problem and opened.result_hash != job.delivery.result.result_hash:
            opened = replace(opened, problem="the result is not the one that the node signed")
        if opened.problem:
            # No receipt; and the node may still put it on chain, so another one waits until that is impossible.
            job.reason = f"{job.node} delivered a bad result: {opened.problem}"
            return ()
        move(job, opened, Stage.DELIVERED, now_ms)
        job.new_tokens, job.finish = opened.new_tokens, opened.finish
        actual_ms = max(1, now_ms - (job.accepted_ms or now_ms))
        details = job.details
        job.charge = charge_of(details.price, opened.new_tokens, details.max_new_tokens)
        job.bonus = bonus_of(job.charge, details.bonus_cap, actual_ms, details.expected_ms)
        job.next_step_ms = RETRY_AFTER_DEADLINE_S * 1000
        receipt = Receipt(opened.job_id, opened.result_hash, job.charge, min(actual_ms, 2**32 - 1))
        return (SignMessage(receipt),)

    def _receipted(self, receipt: Receipt, signature: bytes) -> tuple[Effect, ...]:
        job = self._by_job.get(JobId(receipt.job_id))
        if job is None or job.peer_id is None:
            return ()
        job.receipt = SignedReceipt(receipt, signature)
        return self._send_receipt(job)

    def _send_receipt(self, job: RequestedJob) -> tuple[Effect, ...]:
        assert job.peer_id is not None
        assert job.receipt is not None
        return (Send(job.peer_id, job.receipt),)

    # --- what goes wrong --------------------------------------------------------------------------------------------
    def _deadline(self, passed: DeadlinePassed, now_ms: TimestampMs) -> tuple[Effect, ...]:
        match passed.timer:
            case CallTimer(ask_id) | LastCallTimer(ask_id) | OffersTimer(ask_id) as timer:
                job = self._jobs.get(ask_id)
                return self._round_due(job, timer, now_ms) if job and job.signed and job.awaits(timer) else ()
            case RequestTimer(ask_id):
                job = self._jobs.get(ask_id)
                if job and job.is_unassigned:
                    return self._unserved(job, "the request's deadline has passed", now_ms)
            case AcceptTimer(job_id) | ResultTimer(job_id) | OfflineTimer(job_id) | RetryTimer(job_id):
                job = self._by_job.get(JobId(job_id))
                return self._order_due(job, passed, now_ms) if job and job.job_id == job_id else ()
            case _:
                pass
        return ()

    def _round_due(self, job: RequestedJob, timer: RoundTimer, now_ms: TimestampMs) -> tuple[Effect, ...]:
        match timer:
            case LastCallTimer():
                return () if job.called else self._call_in_turn(job, now_ms)
            case CallTimer():
                return self._call(job, now_ms)
            case OffersTimer():
                return self._hire(job, now_ms)

    def _order_due(self, job: RequestedJob, passed: DeadlinePassed, now_ms: TimestampMs) -> tuple[Effect, ...]:
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
            case _:
                pass
        return ()

    def _failed(self, failed: EffectFailed, now_ms: TimestampMs) -> tuple[Effect, ...]:
        match failed.effect:
            case fx.Send | fx.FetchBlob:
                job = self._by_job.get(JobId(failed.about))
                if job is not None and job.job_id == failed.about and job.stage is Stage.ASSIGNED:
                    return self._try_next(job, failed, f"{job.node} is not reachable", now_ms)
            case fx.OpenResult:
                job = self._by_job.get(JobId(failed.about))
                if job is not None:
                    job.reason = f"the result could not be opened: {failed.reason}"
            case fx.SealKey | fx.OpenLane | fx.SignMessage:
                node = self._lanes.stop_opening(failed.about)
                for job in self._jobs.values():
                    # Of the jobs with a node whose lane was not opened, those that it pays for anyway go on.
                    if job.waits_for(failed.about) and not (node and self._missing(job) <= 0):
                        self._unserved(job, f"{name_of(failed.effect)} failed: {failed.reason}", now_ms)
        return ()

    def _try_next(self, job: RequestedJob, fact: object, reason: str, now_ms: TimestampMs) -> tuple[Effect, ...]:
        assert job.node is not None
        if not (isinstance(fact, SignedRefuse) and fact.refuse.code == RefuseCode.EXPIRED):
            # Else our order came late, after an absence, and the node may be asked again.
            job.tried.add(job.node)
        if not _is_no_miss(fact):
            self._misses.add(job.node, now_ms)
        job.attempt += 1
        job.reason = reason
        withdrawn = self._withdraw(job) if job.stage is Stage.ASSIGNED and not isinstance(fact, SignedRefuse) else ()
        if job.attempt >= MAX_RETRIES:
            return *withdrawn, *self._unserved(job, f"{MAX_RETRIES} nodes failed, the last one: {reason}", now_ms)
        move(job, fact, Stage.REQUESTED, now_ms)
        return *withdrawn, *self._ask_again(job, now_ms)

    def _withdraw(self, job: RequestedJob) -> tuple[Effect, ...]:
        assert job.peer_id is not None
        assert job.job_id is not None
        return (Send(job.peer_id, Withdrawal(job.job_id)),)

    def _ask_again(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job.start_over()
        assert job.signed is not None
        if job.signed.request.deadline * 1000 <= now_ms:
            return self._unserved(job, f"the deadline has passed; {job.reason}", now_ms)
        return self._call_for_offers(job, now_ms)

    def _unserved(self, job: RequestedJob, reason: str, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job.end_unserved(reason, now_ms)
        return ()

    # --- small things -----------------------------------------------------------------------------------------------
    def _require_operator(self, job: RequestedJob, message: object, signature: bytes) -> None:
        record = self.member.nodes.get(job.node) if job.node else None
        if record is None:
            raise RemoteProtocolError("the node is not registered")
        require_signer(message, signature, self.identity.domain, record.operator)

    def _of_peer(self, job: bytes, peer_id: PeerId) -> RequestedJob | None:
        found = self._by_job.get(JobId(job))
        return found if found is not None and found.peer_id == peer_id and found.job_id == job else None

    def _is_with(self, job: bytes, peer_id: PeerId) -> bool:
        """Whether a job of ours is or was with this peer."""
        return self._of_peer(job, peer_id) is not None or self._gave_up(JobId(job), peer_id)

    def _by_request(self, wanted: RequestId) -> RequestedJob | None:
        return next((job for job in self._jobs.values() if job.request_id == wanted), None)

    def _forget_old(self) -> None:
        done = [ask_id for ask_id, job in self._jobs.items() if job.stage in TERMINAL]
        for ask_id in done[: max(0, len(done) - DONE_KEPT)]:
            job = self._jobs.pop(ask_id)
            if job.job_id is not None:
                self._by_job.pop(job.job_id, None)


def _total(job: RequestedJob, price: int) -> Wei:
    return order_total(price, with_bonus=job.ask.with_bonus, checked=job.ask.checked)


def _flags(ask: JobAsked) -> int:
    return (UNCALIBRATED_ACCEPTED if ask.uncalibrated else 0) | (CHECK_ORDERED if ask.checked else 0)


def _is_last_call(job: RequestedJob) -> bool:
    return job.round + 1 == len(OFFER_ROUNDS_MS)


def _why_overdue(job: RequestedJob) -> str:
    """What was wrong with the attempt's answer, or that there was none; after an absence either moment may be first."""
    return job.reason or f"{job.node} was silent past the deadline"


def _is_no_miss(fact: object) -> bool:
    """A node that has no room, or does not take this order, has not failed."""
    return isinstance(fact, SignedRefuse) and fact.refuse.code != RefuseCode.FAILED
