"""The provider: offers, runs, delivers, and settles what it ran in batches.

It takes an assignment only when the lane behind it is final on chain and covers it; it accepts only once the input is
here and is what the client signed.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from protocol import effects as fx
from protocol.effects import (
    AwaitDeadline,
    Effect,
    FetchBlob,
    FetchModel,
    OpenInput,
    RunContainer,
    SealFrame,
    SealResult,
    Send,
    SignMessage,
    StopContainer,
)
from protocol.errors import OutOfTurn, ProtocolError
from protocol.events import (
    BlobFetched,
    ContainerExited,
    DeadlinePassed,
    EffectFailed,
    Event,
    FrameSealed,
    InputOpened,
    LaneSeen,
    MessageReceived,
    MessageSigned,
    ModelAdded,
    OrderRefused,
    RequestReceived,
    ResultSealed,
    Tick,
    TokensProduced,
)
from protocol.job import TERMINAL, JobState, Stage, move
from protocol.network.budgets import Budgets, Rate
from protocol.params import MAX_INLINE_BYTES, MAX_RETRIES, WITHDRAW_WITHIN_MS
from protocol.roles.bidder import Bidder
from protocol.roles.identity import Identity, Settings
from protocol.roles.member import Member
from protocol.roles.run_queue import (
    TIME_FACTOR,
    StreamedTokens,
    WaitingRun,
    end_by_ms,
    ends_at_ms,
    plan_starts,
    run_ms,
    wait_ms,
)
from protocol.roles.settler.settler import Settler
from protocol.stages.assignment import (
    UNCALIBRATED_ACCEPTED,
    Accept,
    AssignmentOrder,
    Lane,
    Refuse,
    RefuseCode,
    SignedAccept,
    SignedRefuse,
    TakenOrder,
    Withdrawal,
    accept_within_ms,
    job_id,
    kind_of,
    require_consistent,
    require_covered,
    verify_fee,
)
from protocol.stages.commitment import (
    LeafStatus,
    Result,
    ResultDelivery,
    ResultQuery,
    SettledJob,
    SignedReceipt,
    TokenFrame,
    leaf_of,
    output_commit,
    require_receipt,
    unpaid_leaf,
)
from protocol.stages.execution import (
    Outcome,
    RunResult,
    RunSpec,
    sampling_seed,
    side_by_side_ms,
)
from protocol.stages.offer import Offer
from protocol.timers import LaneTimer, ReceiptTimer
from protocol.wire.envelope import digest, require_signer
from protocol.wire.ids import ZERO_HASH, Address, Cid, JobId, PeerId, RequestId, TimestampMs, Wei

REFUSALS_KEPT = 256
LANE_PATIENCE_MS = 1_500
"""Less than what a requester waits for an answer."""
DELIVER_AGAIN_MS = 10_000
PROMISE_TRIES = 3
CLIENTS_KEPT = 4_096
OFFERS_KEPT = 4_096
ORDERS_PER_OFFER = MAX_RETRIES
"""An honest client tries a node at most so often in all."""
REFUSALS = Rate(2, 1_000, 32)
"""Orders of one peer that are refused with a word; more are dropped."""
MAX_RETRY_AFTER_MS = 3_600_000
FORGONE = "no receipt came, and no batch took the job before its client could pay another node for it"
TOO_LATE = "its batch could not have been mined in time"
RECLAIMED = "its client reclaimed the lane before a batch took the job"
DONE_KEPT = 1_024


@dataclass(slots=True)
class ProvidedJob:
    """One assignment that this node took."""

    job_id: JobId
    order: AssignmentOrder
    peer_id: PeerId
    asked_ms: TimestampMs
    stage: Stage = Stage.ASSIGNED
    accepted: bool = False
    running: bool = False
    stop_ms: TimestampMs = TimestampMs(0)
    """When its container is stopped, if that began at once."""
    frames: int = 0
    progress: StreamedTokens = field(default_factory=StreamedTokens)
    run: RunResult | None = None
    proof: bytes = b""
    sealed_result: bytes = b""
    salt: bytes = bytes(32)
    result: Result | None = None
    promise: SignedAccept | None = None
    promised_ms: TimestampMs = TimestampMs(0)
    promise_tries: int = 0
    delivery: ResultDelivery | None = None
    refusal: RefuseCode | None = None
    receipted: bool = False
    sent_ms: TimestampMs = TimestampMs(0)
    """When its result was last sent; not in the journal, so nothing but sending it again may rest on it."""
    reason: str = ""
    history: list[tuple[Stage, TimestampMs]] = field(default_factory=list)

    @property
    def reply_to(self) -> str:
        """Where the requester is dialled."""
        return _reply_to(self.order, self.peer_id)


@dataclass(slots=True)
class Provider:
    """The node's side of a job."""

    identity: Identity
    settings: Settings
    member: Member
    settler: Settler
    _jobs: dict[JobId, ProvidedJob] = field(default_factory=dict)
    _refusing: dict[JobId, str] = field(default_factory=dict)
    _early: dict[JobId, tuple[PeerId, AssignmentOrder]] = field(default_factory=dict)
    _taken: dict[tuple[Address, Address], dict[int, TakenOrder]] = field(default_factory=dict)
    _let_down: dict[tuple[Address, Address], None] = field(default_factory=dict)
    """Lanes on which an order waited in vain, until they are seen."""
    _answered: dict[bytes, set[JobId]] = field(default_factory=dict)
    """Orders taken or refused, by offer."""
    _refusals: Budgets[PeerId] = field(default_factory=lambda: Budgets[PeerId](REFUSALS, CLIENTS_KEPT))
    _started: dict[Address, int] = field(default_factory=dict)
    _starts: int = 0
    _bidder: Bidder = field(init=False)

    def __post_init__(self) -> None:
        self._bidder = Bidder(self.identity, self.settings, self.member)

    @property
    def jobs(self) -> tuple[JobState, ...]:
        """Every assignment taken, oldest first."""
        return tuple(self._view(job) for job in self._jobs.values())

    def job(self, wanted: JobId) -> ProvidedJob | None:
        """One assignment that this node took."""
        return self._jobs.get(wanted)

    def judge(self, received: MessageReceived, now_ms: TimestampMs) -> Event | None:
        """Judge a message before it is journalled; changes nothing.

        Returns: the message, if it is an order that this node takes or a word about one that it took; OrderRefused for
            an order that it does not take; None for anything else.
        Raises: RemoteProtocolError for what no honest client sends.
        """
        peer_id, message = received.peer_id, received.message
        match message:
            case AssignmentOrder():
                return self._judge_order(received, message, now_ms)
            case SignedReceipt(receipt):
                job = self._jobs.get(JobId(receipt.job_id))
                if job is None or job.peer_id != peer_id or job.receipted or job.result is None:
                    return None
                self._require_receipt(job, message)
                return received
            case Withdrawal(wanted):
                job = self._jobs.get(JobId(wanted))
                early = self._early.get(JobId(wanted), (None,))[0] == peer_id
                return received if early or self._may_withdraw(job, peer_id, now_ms) else None
            case ResultQuery(wanted):
                job = self._jobs.get(JobId(wanted))
                return received if job is not None and job.peer_id == peer_id else None
            case _:
                return None

    def _judge_order(
        self, received: MessageReceived, order: AssignmentOrder, now_ms: TimestampMs
    ) -> MessageReceived | OrderRefused | None:
        peer_id, offer = received.peer_id, order.offer.offer
        job = job_id(order.assignment, self.identity.domain)
        if self.member.record is None or job in self._jobs or job in self._early:
            return None
        if order.assignment.node != self.identity.node_id:
            raise OutOfTurn("an order for another node")
        self._require_signed(order)
        offer_hash = digest(offer, self.identity.domain)
        answered = self._answered.get(offer_hash, set())
        if job not in answered and len(answered) >= ORDERS_PER_OFFER:
            raise OutOfTurn("more orders for one offer than a client has tries")
        code = self._objection(order, now_ms)
        if code is None or (code is RefuseCode.LANE and self._may_wait(order)):
            return received
        if not self._refusals.has(peer_id, now_ms):
            return None
        return OrderRefused(peer_id, job, offer_hash, _reply_to(order, peer_id), code)

    def _may_wait(self, order: AssignmentOrder) -> bool:
        """Whether an order whose lane does not cover it yet may wait here for it: it takes room on the disk.

        A client that let it wait in vain once has to show the lane first.
        """
        key = _lane_key(order)
        waiting = sum(_lane_key(early) == key for _, early in self._early.values())
        return key not in self._let_down and waiting < self.settings.places and len(self._early) < REFUSALS_KEPT

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """What an event makes the provider want."""
        match event:
            case RequestReceived(signed):
                return self._bidder.consider(signed, self.load, now_ms)
            case MessageSigned(Offer() as offer, signature):
                return self._bidder.send(offer, signature)
            case MessageReceived(peer_id, AssignmentOrder() as order):
                self._count_order(order)
                return self._assigned(peer_id, order, now_ms)
            case OrderRefused():
                return self._turn_away(event, now_ms)
            case MessageSigned(Refuse() as refuse, signature):
                return self._send_refusal(refuse, signature)
            case BlobFetched(cid):
                waiting = [job for job in self._jobs.values() if job.order.details.input_cid == cid]
                return tuple(self._open(job) for job in waiting if not job.accepted)
            case InputOpened(job):
                return self._promise(JobId(job), now_ms)
            case MessageSigned(Accept() as accept, signature):
                return self._accept(accept, signature, now_ms)
            case ModelAdded():
                return self._start_waiting(now_ms)
            case TokensProduced(job, ids):
                return self._stream(JobId(job), ids, now_ms)
            case FrameSealed(job, seq, sealed):
                return self._send_frame(JobId(job), seq, sealed)
            case ContainerExited():
                return self._exited(event, now_ms)
            case ResultSealed():
                return self._commit(event)
            case MessageSigned(Result() as result, signature):
                return self._deliver(result, signature, now_ms)
            case MessageReceived(peer_id, SignedReceipt() as receipt):
                return self._take_receipt(peer_id, receipt, now_ms)
            case MessageReceived(peer_id, Withdrawal() as withdrawal):
                return self._withdrawn(peer_id, withdrawal, now_ms)
            case MessageReceived(peer_id, ResultQuery(wanted)):
                return self._tell_again(peer_id, JobId(wanted))
            case DeadlinePassed(ReceiptTimer(job)):
                return self._no_receipt(JobId(job), now_ms)
            case Tick():
                return self._deliver_unheard(now_ms)
            case LaneSeen(lane):
                return self._lane_changed(lane, now_ms)
            case DeadlinePassed(LaneTimer(job)):
                return self._no_lane(JobId(job), now_ms)
            case EffectFailed():
                return self._failed(event, now_ms)
            case _:
                pass
        return ()

    # --- assignments ------------------------------------------------------------------------------------------------
    @property
    def load(self) -> int:
        """Jobs taken and not ended yet."""
        return sum(job.stage in (Stage.ASSIGNED, Stage.RUNNING) for job in self._jobs.values())

    def _has_its_share(self, client: Address) -> bool:
        """Whether a client has as many jobs waiting here as one may: half of the queue, so that others find room."""
        waiting = sum(job.order.assignment.client == client for job in self._jobs.values() if self._waits(job))
        return waiting >= max(1, self.settings.queue // 2)

    def _waits(self, job: ProvidedJob) -> bool:
        return job.stage in (Stage.ASSIGNED, Stage.RUNNING) and not job.running and job.run is None

    def _assigned(self, peer_id: PeerId, order: AssignmentOrder, now_ms: TimestampMs) -> tuple[Effect, ...]:
        assignment, details = order.assignment, order.details
        job = job_id(assignment, self.identity.domain)
        if job in self._jobs:
            return ()
        if self.member.record is None or assignment.node != self.identity.node_id:
            return self._refuse(job, _reply_to(order, peer_id), RefuseCode.DETAILS)
        self._require_signed(order)
        code = self._objection(order, now_ms)
        if code is RefuseCode.LANE and job not in self._early and self._may_wait(order):
            # The requester may have seen the block of its lane before this node did.
            self._early[job] = (peer_id, order)
            return (AwaitDeadline(LaneTimer(job), now_ms + LANE_PATIENCE_MS),)
        self._early.pop(job, None)
        if code is not None:
            return self._refuse(job, _reply_to(order, peer_id), code)
        taken = ProvidedJob(job, order, peer_id, now_ms, history=[(Stage.ASSIGNED, now_ms)])
        self._forget_old()
        self._jobs[job] = taken
        self._taken.setdefault((assignment.client, assignment.signer), {})[assignment.index] = TakenOrder(
            assignment.cumulative, details.max_total
        )
        self.settler.expect(assignment.client, assignment.signer, assignment.index)
        effects: list[Effect] = []
        if Cid(details.manifest) not in self.member.models:
            effects.append(FetchModel(details.manifest, (peer_id, *self.member.holders(Cid(details.manifest), now_ms))))
        if order.sealed_input:
            effects.append(self._open(taken))
        else:
            effects.append(FetchBlob(details.input_cid, (peer_id,)))
        return tuple(effects)

    def _count_order(self, order: AssignmentOrder) -> None:
        domain = self.identity.domain
        self._answer(digest(order.offer.offer, domain), job_id(order.assignment, domain))

    def _answer(self, offer_hash: bytes, job: JobId) -> None:
        self._answered.setdefault(offer_hash, set()).add(job)
        _shorten(self._answered, OFFERS_KEPT)

    def _turn_away(self, refused: OrderRefused, now_ms: TimestampMs) -> tuple[Effect, ...]:
        if not self._refusals.take(refused.peer_id, now_ms):
            return ()
        job = JobId(refused.job_id)
        if refused.code != RefuseCode.EXPIRED:
            # Of offers that are over there may be any number.
            self._answer(refused.offer_hash, job)
        return self._refuse(job, refused.reply_to, RefuseCode(refused.code))

    def _lane_changed(self, lane: Lane, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Look again at orders that came before their lane, and forget those that are settled."""
        effects: list[Effect] = []
        if lane.node == self.identity.node_id:
            self._let_down.pop((lane.client, lane.signer), None)
            taken = self._taken.get((lane.client, lane.signer), {})
            for index in [index for index in taken if index <= lane.jobs]:
                del taken[index]
        for peer_id, order in tuple(self._early.values()):
            assignment = order.assignment
            same = (assignment.client, assignment.signer, assignment.node) == (lane.client, lane.signer, lane.node)
            if same and self._objection(order, now_ms) is not RefuseCode.LANE:
                effects += self._assigned(peer_id, order, now_ms)
        return tuple(effects)

    def _no_lane(self, job: JobId, now_ms: TimestampMs) -> tuple[Effect, ...]:
        early = self._early.get(job)
        if early is None:
            return ()
        effects = self._assigned(*early, now_ms)
        if job not in self._jobs:
            self._let_down[_lane_key(early[1])] = None
            _shorten(self._let_down, CLIENTS_KEPT)
        return effects

    def _require_signed(self, order: AssignmentOrder) -> None:
        """Raises: BadSignature unless the offer is of this node and the order of the signer that it names."""
        domain, assignment = self.identity.domain, order.assignment
        require_signer(order.offer.offer, order.offer.signature, domain, self.identity.operator)
        require_signer(assignment, order.signature, domain, assignment.signer)

    def _objection(self, order: AssignmentOrder, now_ms: TimestampMs) -> RefuseCode | None:
        """Why this node does not take an order that was signed as it should be."""
        assignment, details = order.assignment, order.details
        try:
            require_consistent(order, self.identity.domain)
        except ProtocolError:
            return RefuseCode.DETAILS
        if order.offer.offer.valid_until * 1000 < now_ms or details.deadline * 1000 <= now_ms:
            return RefuseCode.EXPIRED
        if self.settings.draining:
            return RefuseCode.DRAINING
        if self.member.is_intake_stopped(now_ms):
            return RefuseCode.PAUSED
        if self.load >= self.settings.places or self._has_its_share(assignment.client):
            return RefuseCode.BUSY
        needs_ms = TIME_FACTOR * order.offer.offer.eta_ms
        if details.deadline * 1000 < now_ms + needs_ms:
            return RefuseCode.DETAILS
        if details.deadline * 1000 < now_ms + needs_ms + self._wait_ms(order) or self._is_out_of_line(order):
            return RefuseCode.BUSY
        calibrated = self.member.calibrated(Cid(details.manifest), order.offer.offer.class_id, kind_of(details))
        if not calibrated and not details.flags & UNCALIBRATED_ACCEPTED:
            return RefuseCode.DETAILS
        class_id, kind = order.offer.offer.class_id, kind_of(details)
        if not self.member.has_or_may_fetch(Cid(details.manifest), class_id, kind):
            return RefuseCode.MODEL
        lane = self.member.lanes.get((assignment.client, assignment.signer, assignment.node))
        if lane is None:
            return RefuseCode.LANE
        try:
            submitted = self.settler.submitted(assignment.client, assignment.signer)
            require_covered(order, lane, self._taken.get((assignment.client, assignment.signer), {}), submitted)
        except ProtocolError:
            return RefuseCode.LANE
        return None

    def _wait_ms(self, order: AssignmentOrder) -> int:
        """How long an order would wait for a container."""
        jobs = [job for job in self._jobs.values() if job.running or self._waits(job)]
        ahead, offers = [_spec(job.order, job.job_id) for job in jobs], [job.order.offer.offer for job in jobs]
        run = _spec(order, job_id(order.assignment, self.identity.domain))
        return wait_ms(ahead, run, offers, self.settings.slots, self.settings.at_once)

    def _is_out_of_line(self, order: AssignmentOrder) -> bool:
        """Whether a job of the lane may have to be in a batch while one with a lower number is still at work.

        The numbers of a lane settle in their order, so their deadlines must be in that order, too.
        """
        index, deadline = order.assignment.index, order.details.deadline
        for job in self._jobs.values():
            if _lane_key(job.order) != _lane_key(order) or job.receipted or job.stage is Stage.UNPAID:
                continue
            other, other_deadline = job.order.assignment.index, job.order.details.deadline
            is_at_work = job.stage in (Stage.ASSIGNED, Stage.RUNNING)
            if (other < index and other_deadline > deadline and is_at_work) or (
                other > index and other_deadline < deadline
            ):
                return True
        return False

    def _refuse(self, job: JobId, to: str, code: RefuseCode) -> tuple[Effect, ...]:
        while len(self._refusing) >= REFUSALS_KEPT:
            self._refusing.pop(next(iter(self._refusing)))
        self._refusing[job] = to
        retry_after_ms = self._free_in_ms() if code is RefuseCode.BUSY else 0
        return (SignMessage(Refuse(job, code, min(retry_after_ms, MAX_RETRY_AFTER_MS))),)

    def _free_in_ms(self) -> int:
        """How long what waits and runs here takes, divided by the slots: when there will be room, roughly."""
        jobs = [job for job in self._jobs.values() if job.running or self._waits(job)]
        tokens, together = sum(job.order.details.max_new_tokens for job in jobs), min(self.settings.at_once, len(jobs))
        step_ms = side_by_side_ms(self.member.device.ms_per_token, together)
        return tokens * step_ms // (max(1, together) * self.settings.slots)

    def _send_refusal(self, refuse: Refuse, signature: bytes) -> tuple[Effect, ...]:
        to = self._refusing.pop(JobId(refuse.job_id), None)
        return (Send(to, SignedRefuse(refuse, signature)),) if to else ()

    def _open(self, job: ProvidedJob) -> OpenInput:
        details = job.order.details
        return OpenInput(
            job_id=job.job_id,
            input_cid=details.input_cid,
            content_key_hash=details.content_key_hash,
            sealed_key=job.order.sealed_key,
            sealed_input=job.order.sealed_input,
        )

    def _promise(self, wanted: JobId, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = self._jobs.get(wanted)
        if job is None or job.accepted or job.stage is not Stage.ASSIGNED:
            return ()
        job.accepted = True
        if self._is_late(job, now_ms):
            return self._decline(job, RefuseCode.EXPIRED, LeafStatus.FAILED, "too late for a promise", now_ms)
        return (SignMessage(Accept(job.job_id, now_ms)),)

    def _accept(self, accept: Accept, signature: bytes, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = self._jobs.get(JobId(accept.job_id))
        if job is None or job.stage is not Stage.ASSIGNED:
            return ()
        if self._is_late(job, now_ms):
            return self._decline(job, RefuseCode.EXPIRED, LeafStatus.FAILED, "too late for a promise", now_ms)
        move(job, accept, Stage.RUNNING, now_ms)
        job.promise, job.promised_ms = SignedAccept(accept, signature), now_ms
        return Send(job.reply_to, job.promise), *self._start_waiting(now_ms)

    def _is_late(self, job: ProvidedJob, now_ms: TimestampMs) -> bool:
        """Whether the requester has turned to another node by now: a promise would have the client pay twice."""
        return now_ms > job.asked_ms + accept_within_ms(job.order.request.request.input_bytes)

    def _decline(
        self, job: ProvidedJob, code: RefuseCode, status: LeafStatus, reason: str, now_ms: TimestampMs
    ) -> tuple[Effect, ...]:
        """Give a job back that was not begun, and settle its place in the lane with charge 0."""
        job.reason, job.refusal = reason, code
        move(job, Refuse(job.job_id, code, 0), Stage.UNPAID, now_ms)
        return *self._settle(job, None, status, now_ms), *self._refuse(job.job_id, job.reply_to, code)

    def _withdrawn(self, peer_id: PeerId, withdrawal: Withdrawal, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Let go of a job that its requester has given to another node, as long as little work was done for it."""
        wanted = JobId(withdrawal.job_id)
        if self._early.get(wanted, (None,))[0] == peer_id:
            self._early.pop(wanted)
        job = self._jobs.get(wanted)
        if job is None or not self._may_withdraw(job, peer_id, now_ms):
            return ()
        job.reason = "withdrawn by the requester"
        move(job, withdrawal, Stage.UNPAID, now_ms)
        # Its container keeps its slot until it is gone.
        stop = (StopContainer(job.job_id),) if job.running else ()
        return *stop, *self._settle(job, None, LeafStatus.CLIENT_FAULT, now_ms), *self._start_waiting(now_ms)

    def _may_withdraw(self, job: ProvidedJob | None, peer_id: PeerId, now_ms: TimestampMs) -> bool:
        if job is None or job.peer_id != peer_id or job.stage not in (Stage.ASSIGNED, Stage.RUNNING):
            return False
        return job.run is None and not (job.promise and now_ms > job.promised_ms + WITHDRAW_WITHIN_MS)

    # --- execution --------------------------------------------------------------------------------------------------
    def _start_waiting(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Start accepted jobs whose model is here, as many as containers can hold; give up those that are too late.

        Which of them share a container is for the machine to say: it is the same to them.
        """
        effects = self._give_up_late(now_ms)
        running = [_spec(job.order, job.job_id) for job in self._jobs.values() if job.running]
        waiting = [
            WaitingRun(job.job_id, job.order.assignment.client, _spec(job.order, job.job_id))
            for job in self._jobs.values()
            if self._is_queued(job) and Cid(job.order.details.manifest) in self.member.models
        ]
        for run in plan_starts(running, waiting, self._started, self.settings.slots, self.settings.at_once):
            job = self._jobs[run.job_id]
            job.running = True
            limited = self._limited(run.spec, job, now_ms)
            job.stop_ms = TimestampMs(now_ms + limited.timeout_ms)
            self._starts += 1
            self._started.pop(run.client, None)
            self._started[run.client] = self._starts
            _shorten(self._started, CLIENTS_KEPT)
            effects.append(RunContainer(limited))
        return tuple(effects)

    def _is_queued(self, job: ProvidedJob) -> bool:
        return job.stage is Stage.RUNNING and self._waits(job)

    def _give_up_late(self, now_ms: TimestampMs) -> list[Effect]:
        """Give up jobs in the queue that would end too late for a batch: their client would have the answer free."""
        effects: list[Effect] = []
        for job in self._jobs.values():
            if self._is_queued(job) and now_ms + run_ms(job.order.offer.offer) > end_by_ms(job.order.details):
                refusal = Refuse(job.job_id, RefuseCode.FAILED, 0)
                effects += self._give_up(job, refusal, Outcome.PROVIDER, TOO_LATE, now_ms)
        return effects

    def _limited(self, spec: RunSpec, job: ProvidedJob, now_ms: TimestampMs) -> RunSpec:
        """A run that ends in time for its batch, and in the memory that its model needs whatever its client allows."""
        manifest = self.member.models[Cid(spec.manifest)]
        return replace(
            spec,
            timeout_ms=min(spec.timeout_ms, end_by_ms(job.order.details) - now_ms),
            memory_bytes=min(self.settings.memory_bytes, max(spec.memory_bytes, manifest.needs_bytes)),
        )

    def _stream(self, wanted: JobId, ids: tuple[int, ...], now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = self._jobs.get(wanted)
        if job is None or not job.running:
            return ()
        job.progress.count(len(ids), now_ms)
        speed_ms, most = self.member.device.ms_per_token, job.order.details.max_new_tokens
        if job.progress.is_muted or ends_at_ms(job.progress, speed_ms, most, now_ms) > job.stop_ms:
            # It may be cut off, and nothing of it would be paid. If it ends in time, the result has all of it.
            job.progress.is_muted = True
            return ()
        seq, job.frames = job.frames, job.frames + 1
        return (SealFrame(wanted, job.order.details.input_cid, seq, ids),)

    def _send_frame(self, wanted: JobId, seq: int, sealed: bytes) -> tuple[Effect, ...]:
        job = self._jobs.get(wanted)
        return (Send(job.reply_to, TokenFrame(wanted, seq, sealed)),) if job else ()

    def _exited(self, exited: ContainerExited, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = self._jobs.get(JobId(exited.job_id))
        if job is None or job.run is not None:
            return ()
        job.running, job.run, job.proof = False, exited.result, exited.proof
        after = self._start_waiting(now_ms)
        if job.stage is not Stage.RUNNING:
            return after
        if exited.result.outcome is Outcome.OK and now_ms > end_by_ms(job.order.details):
            # This node was away meanwhile.
            return *self._give_up(job, exited, Outcome.PROVIDER, TOO_LATE, now_ms), *after
        if exited.result.outcome is Outcome.OK:
            return SealResult(job.job_id, job.order.details.input_cid), *after
        return *self._give_up(job, exited, exited.result.outcome, exited.result.detail, now_ms), *after

    def _give_up(
        self, job: ProvidedJob, fact: object, outcome: Outcome, detail: str, now_ms: TimestampMs
    ) -> tuple[Effect, ...]:
        """Say so at once, and settle the job's place in the lane with charge 0."""
        at_fault = outcome is not Outcome.CLIENT
        job.reason = f"{outcome}: {detail}"
        move(job, fact, Stage.UNPAID, now_ms)
        status = LeafStatus.FAILED if at_fault else LeafStatus.CLIENT_FAULT
        job.refusal = code = RefuseCode.FAILED if at_fault else RefuseCode.CLIENT_FAULT
        return *self._settle(job, None, status, now_ms), *self._refuse(job.job_id, job.reply_to, code)

    def _commit(self, sealed: ResultSealed) -> tuple[Effect, ...]:
        job = self._jobs.get(JobId(sealed.job_id))
        if job is None or job.run is None or job.result is not None:
            return ()
        job.sealed_result, job.salt = sealed.sealed_result, sealed.salt
        class_id = job.order.offer.offer.class_id
        commit = output_commit(
            job.order.assignment.node,
            job.job_id,
            class_id,
            job.run.result_hash,
            job.run.proof_hash,
            sealed.blob_cid,
            sealed.salt,
        )
        job.result = Result(job.job_id, job.run.result_hash, commit, sealed.blob_cid)
        return (SignMessage(job.result),)

    def _deliver(self, result: Result, signature: bytes, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = self._jobs.get(JobId(result.job_id))
        if job is None:
            return ()
        move(job, result, Stage.DELIVERED, now_ms)
        inline = job.sealed_result if len(job.sealed_result) <= MAX_INLINE_BYTES else b""
        job.delivery, job.sent_ms = ResultDelivery(result, signature, inline), now_ms
        deadline = AwaitDeadline(ReceiptTimer(job.job_id), job.order.details.deadline * 1000)
        return Send(job.reply_to, job.delivery), deadline

    def _tell_again(self, peer_id: PeerId, wanted: JobId) -> tuple[Effect, ...]:
        """What this node said last of a job, to a requester that may not have heard it."""
        job = self._jobs.get(wanted)
        if job is None or job.peer_id != peer_id:
            return ()
        if job.refusal is not None:
            return self._refuse(job.job_id, job.reply_to, job.refusal)
        said = job.delivery or job.promise
        return (Send(job.reply_to, said),) if said else ()

    def _deliver_unheard(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Send results again whose receipt has not come, as long as it would count."""
        effects: list[Effect] = []
        for job in self._jobs.values():
            if job.stage is not Stage.DELIVERED or job.receipted or job.delivery is None:
                continue
            if job.sent_ms + DELIVER_AGAIN_MS <= now_ms < job.order.details.deadline * 1000:
                job.sent_ms = now_ms
                effects.append(Send(job.reply_to, job.delivery))
        return tuple(effects)

    # --- receipts ---------------------------------------------------------------------------------------------------
    def _take_receipt(self, peer_id: PeerId, signed: SignedReceipt, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = self._jobs.get(JobId(signed.receipt.job_id))
        if job is None or job.result is None or job.run is None or job.peer_id != peer_id:
            return ()
        self._require_receipt(job, signed)
        job.receipted = True
        return self._settle(job, signed, LeafStatus.OK, now_ms)

    def _require_receipt(self, job: ProvidedJob, signed: SignedReceipt) -> None:
        """Raises: BadSignature or Malformed for a receipt that is not its client's for this result."""
        assert job.result is not None
        assert job.run is not None
        require_signer(signed.receipt, signed.signature, self.identity.domain, job.order.assignment.signer)
        require_receipt(signed.receipt, job.result, job.order.details, job.run.new_tokens)

    def _no_receipt(self, wanted: JobId, now_ms: TimestampMs) -> tuple[Effect, ...]:
        job = self._jobs.get(wanted)
        if job is None or job.stage is not Stage.DELIVERED:
            return ()
        return self._settle(job, None, LeafStatus.OK, now_ms)

    def _settle(
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

    # --- what goes wrong --------------------------------------------------------------------------------------------
    def _failed(self, failed: EffectFailed, now_ms: TimestampMs) -> tuple[Effect, ...]:
        jobs = [job for job in self._jobs.values() if failed.about in (job.job_id, job.order.details.input_cid)]
        if failed.effect is FetchModel:
            jobs = [job for job in self._jobs.values() if job.order.details.manifest == failed.about]
        effects: list[Effect] = []
        for job in jobs:
            if job.stage not in (Stage.ASSIGNED, Stage.RUNNING) or job.run is not None:
                continue
            match failed.effect:
                case fx.Send if job.promise and job.promise_tries < PROMISE_TRIES and not self._is_late(job, now_ms):
                    job.promise_tries += 1
                    effects.append(Send(job.reply_to, job.promise))
                case fx.OpenInput | fx.FetchBlob if not job.accepted:
                    status = LeafStatus.CLIENT_FAULT
                    effects += self._decline(job, RefuseCode.INPUT, status, failed.reason, now_ms)
                case fx.RunContainer | fx.SealResult | fx.FetchModel:
                    job.running, job.run = False, None
                    effects += self._give_up(job, failed, Outcome.PROVIDER, failed.reason, now_ms)
        return (*effects, *(self._start_waiting(now_ms) if effects else ()))

    def _forget_old(self) -> None:
        done = [key for key, job in self._jobs.items() if self._stage(job) in TERMINAL]
        for key in done[: max(0, len(done) - DONE_KEPT)]:
            self._jobs.pop(key)

    def _stage(self, job: ProvidedJob) -> Stage:
        return self.settler.stage_of(job.job_id) or (Stage.UNPAID if self._is_forgone(job) else job.stage)

    def _is_forgone(self, job: ProvidedJob) -> bool:
        """Whether it was done and charges nothing, since no batch came in time."""
        leaf = self.settler.leaf_of(job.job_id)
        return job.stage is Stage.DELIVERED and leaf is not None and leaf.status != LeafStatus.OK

    def _reason(self, job: ProvidedJob) -> str:
        if not self._is_forgone(job):
            return job.reason
        return RECLAIMED if job.receipted else FORGONE

    def _view(self, job: ProvidedJob) -> JobState:
        leaf, details = self.settler.leaf_of(job.job_id), job.order.details
        charge = Wei(leaf.charge if leaf else 0)
        return JobState(
            request_id=RequestId(job.order.details.request_id),
            job_id=job.job_id,
            ask_id=b"",
            stage=self._stage(job),
            node=job.order.assignment.node,
            client=job.order.assignment.client,
            manifest=job.order.details.manifest,
            input_cid=job.order.details.input_cid,
            kind=kind_of(job.order.details),
            max_new_tokens=job.order.details.max_new_tokens,
            temperature=job.order.details.temperature,
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
            batch_id=self.settler.batch_of(job.job_id),
            position=self.settler.position_of(job.job_id),
            reason=self._reason(job),
            asked_ms=job.asked_ms,
            history=(*job.history, *self.settler.history_of(job.job_id)),
            next_step_ms=None,
        )


def _spec(order: AssignmentOrder, job: JobId) -> RunSpec:
    """What a container is asked to run for an order."""
    details, request = order.details, order.request.request
    return RunSpec(
        job_id=job,
        manifest=details.manifest,
        class_id=order.offer.offer.class_id,
        max_new_tokens=details.max_new_tokens,
        temperature=details.temperature,
        seed=sampling_seed(job, details.seed_nonce),
        memory_bytes=request.max_memory,
        timeout_ms=request.timeout_ms,
        kind=request.kind,
    )


def _lane_key(order: AssignmentOrder) -> tuple[Address, Address]:
    return order.assignment.client, order.assignment.signer


def _shorten(kept: dict[Any, Any], most: int) -> None:
    """Forget the oldest entries above so many."""
    while len(kept) > most:
        kept.pop(next(iter(kept)))


def _reply_to(order: AssignmentOrder, peer_id: PeerId) -> str:
    """The requester's full address where it is the one that it signed, so that it is found after a restart, too."""
    address = order.request.request.requester_peer
    return address if address.endswith(f"/p2p/{peer_id}") else peer_id
