"""The provider: offers, runs, delivers, and settles what it ran in batches.

It takes an assignment only when the lane behind it covers it, confirmed on chain or at the owner's risk; it accepts
only once the input is here and is what the client signed.
"""

from dataclasses import dataclass, field

from protocol import effects as fx
from protocol import events as ev
from protocol.job import JobState
from protocol.roles.holds import HELD_RUN_WAITS_MS, HOLD_RULES
from protocol.roles.member import Member
from protocol.roles.provider.bidder import Bidder
from protocol.roles.provider.delivery import Delivery
from protocol.roles.provider.order_desk import OrderDesk
from protocol.roles.provider.provided import Jobs, ProvidedJob, lane_key
from protocol.roles.provider.refusals import Refusals
from protocol.roles.provider.runs import Runs
from protocol.roles.provider.settling import Settling
from protocol.roles.settler.settler import Settler
from protocol.stages.assignment import Accept, AssignmentOrder, Refuse, RefuseCode, Withdrawal
from protocol.stages.commitment import LeafStatus, Result, ResultQuery, SignedReceipt
from protocol.stages.execution import Outcome
from protocol.stages.lane_notice import SignedLaneOpen
from protocol.stages.offer import Offer
from protocol.stages.stop_order import SignedStopOrder
from protocol.timers import HeldTimer, LandingTimer, LaneTimer, ReceiptTimer
from protocol.wire.envelope import require_signer
from protocol.wire.ids import Cid, JobId, TimestampMs

PROMISE_TRIES = 3


@dataclass(slots=True)
class Provider:
    """The node's side of a job. Its parts share the jobs, and each has a state of its own."""

    member: Member
    settler: Settler
    _jobs: Jobs = field(default_factory=dict)
    _bidder: Bidder = field(init=False)
    _refusals: Refusals = field(init=False)
    _settling: Settling = field(init=False)
    _desk: OrderDesk = field(init=False)
    _runs: Runs = field(init=False)
    _delivery: Delivery = field(init=False)

    def __post_init__(self) -> None:
        self._bidder = Bidder(self.member)
        self._refusals = Refusals(self.member, self._jobs)
        self._settling = Settling(self.member.identity, self.settler, self._refusals, self._jobs)
        self._desk = OrderDesk(self.member, self.settler, self._refusals, self._settling, self._jobs)
        self._runs = Runs(self.member, self._settling, self._jobs)
        self._delivery = Delivery(self.member, self._refusals, self._jobs)

    @property
    def jobs(self) -> tuple[JobState, ...]:
        """Every assignment taken, oldest first."""
        return tuple(self._settling.view(job) for job in self._jobs.values())

    @property
    def load(self) -> int:
        """Jobs taken and not ended yet."""
        return self._desk.load

    def job(self, wanted: JobId) -> ProvidedJob | None:
        """One assignment that this node took."""
        return self._jobs.get(wanted)

    def input_bytes(self, wanted: bytes) -> int | None:
        """The size of a job's sealed input as its client has signed it; None for a job that this node did not take."""
        job = self._jobs.get(JobId(wanted))
        return None if job is None else job.order.request.request.input_bytes

    def judge(self, received: ev.MessageReceived, now_ms: TimestampMs) -> ev.Event | None:
        """Judge a message before it is journalled; changes nothing.

        Returns: the message, if it is an order that this node takes or a word about one that it took; OrderRefused for
            an order that it does not take; None for anything else.
        Raises: RemoteProtocolError for what no honest client sends.
        """
        peer_id, message = received.peer_id, received.message
        match message:
            case AssignmentOrder():
                return self._desk.judge(received, message, now_ms)
            case SignedLaneOpen():
                return self._desk.unconfirmed.judge(received, message, now_ms)
            case SignedReceipt(receipt):
                job = self._jobs.get(JobId(receipt.job_id))
                if job is None or job.peer_id != peer_id or job.receipted or job.result is None:
                    return None
                self._settling.require_receipt(job, message)
                return received
            case Withdrawal(wanted):
                job = self._jobs.get(JobId(wanted))
                may_withdraw = self._runs.may_withdraw(job, peer_id, now_ms)
                return received if may_withdraw or self._desk.is_early(JobId(wanted), peer_id) else None
            case SignedStopOrder(stop):
                job = self._jobs.get(JobId(stop.job_id))
                if job is None or not self._runs.may_stop(job, peer_id):
                    return None
                signer = job.order.assignment.signer
                require_signer(stop, message.signature, self.member.identity.domain, signer)
                return received
            case ResultQuery(wanted):
                job = self._jobs.get(JobId(wanted))
                return received if job is not None and job.peer_id == peer_id else None
            case _:
                return None

    def handle(self, event: ev.Event, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """The effects that an event asks of the provider."""
        match event:
            case ev.RequestReceived(signed):
                return self._bidder.consider(signed, self._desk.load, now_ms)
            case ev.MessageSigned(Offer() as offer, signature):
                return self._bidder.send(offer, signature)
            case ev.MessageReceived(peer_id, AssignmentOrder() as order):
                return self._desk.take(peer_id, order, now_ms)
            case ev.OrderRefused():
                return self._desk.turn_away(event, now_ms)
            case ev.MessageSigned(Refuse() as refuse, signature):
                return self._refusals.send(refuse, signature)
            case ev.BlobFetched(cid):
                waiting = [job for job in self._jobs.values() if job.order.details.input_cid == cid]
                return tuple(job.open_input for job in waiting if not job.accepted)
            case ev.InputOpened(job):
                return self._runs.promise(JobId(job), now_ms)
            case ev.MessageSigned(Accept() as accept, signature):
                return self._runs.accept(accept, signature, now_ms)
            case ev.ModelAdded():
                return self._runs.start_waiting(now_ms)
            case ev.ModelRemoved(manifest):
                return self._runs.fetch_again(Cid(manifest), now_ms)
            case ev.TokensProduced(job, ids):
                return self._delivery.stream(JobId(job), ids, now_ms)
            case ev.FrameSealed(job, seq, sealed):
                return self._delivery.send_frame(JobId(job), seq, sealed)
            case ev.ContainerExited():
                return self._runs.exited(event, now_ms)
            case ev.ResultSealed():
                return self._delivery.commit(event)
            case ev.MessageSigned(Result() as result, signature):
                return self._delivery.deliver(result, signature, now_ms)
            case ev.MessageReceived(peer_id, SignedReceipt() as receipt):
                return self._settling.take_receipt(peer_id, receipt, now_ms)
            case ev.MessageReceived(peer_id, Withdrawal() as withdrawal):
                if self._desk.is_early(JobId(withdrawal.job_id), peer_id):
                    self._desk.forget_early(JobId(withdrawal.job_id))
                return self._runs.withdrawn(peer_id, withdrawal, now_ms)
            case ev.MessageReceived(peer_id, SignedStopOrder() as stop):
                return self._runs.stop_ordered(peer_id, stop, now_ms)
            case ev.MessageReceived(peer_id, ResultQuery(wanted)):
                return self._delivery.tell_again(peer_id, JobId(wanted))
            case ev.HoldBegun(hold, from_ms) if HOLD_RULES[hold].stops_runs:
                return (fx.AwaitDeadline(HeldTimer(from_ms), now_ms + HELD_RUN_WAITS_MS),)
            case ev.DeadlinePassed(HeldTimer(from_ms)):
                is_held = any(HOLD_RULES[hold].stops_runs and at == from_ms for hold, at in self.member.holds)
                return self._runs.give_up_held(now_ms) if is_held else ()
            case ev.HoldEnded():
                return self._runs.start_waiting(now_ms)
            case ev.DeadlinePassed(ReceiptTimer(job)):
                return self._settling.no_receipt(JobId(job), now_ms)
            case ev.Tick():
                return self._delivery.deliver_unheard(now_ms)
            case ev.LaneSeen(lane):
                if lane.node == self.member.identity.node_id:
                    self._desk.unconfirmed.seen(lane)
                return self._desk.lane_changed(lane, now_ms)
            case ev.MessageReceived(peer_id, SignedLaneOpen() as notice):
                return self._desk.unconfirmed.hold(peer_id, notice, now_ms)
            case ev.LaneTried():
                return self._desk.unconfirmed.tried(event, now_ms)
            case ev.LaneConfirmed(_, lane):
                told = self._desk.unconfirmed.confirmed(event)
                return *told, *self._desk.look_again((lane.client, lane.signer), now_ms)
            case ev.TransactionMined(effect=fx.LandLane):
                self._desk.unconfirmed.landed(event)
            case ev.BlockSeen():
                return self._desk.unconfirmed.look_for_lost(now_ms)
            case ev.DeadlinePassed(LandingTimer() as timer):
                return self._desk.unconfirmed.land(timer)
            case ev.EffectFailed(effect=fx.ConfirmLane, about=order_id):
                return self._lane_never_came(order_id, event, now_ms)
            case ev.DeadlinePassed(LaneTimer(job)):
                return self._desk.no_lane(JobId(job), now_ms)
            case ev.EffectFailed():
                return self._failed(event, now_ms)
        return ()

    def _lane_never_came(self, order_id: bytes, failed: ev.EffectFailed, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """End the jobs of a lane that can come on chain no more: no batch could have them paid."""
        key = self._desk.unconfirmed.never_came(order_id)
        if key is None:
            return ()
        effects: list[fx.Effect] = []
        for job in self._jobs.values():
            if lane_key(job.order) == key and not self._desk.unconfirmed.has_come_to(
                key, job.order.assignment.cumulative
            ):
                effects += self._settling.forgo(job, failed, now_ms)
        return *effects, *self._runs.start_waiting(now_ms)

    def _failed(self, failed: ev.EffectFailed, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        jobs = [job for job in self._jobs.values() if failed.about in (job.job_id, job.order.details.input_cid)]
        if failed.effect is fx.FetchModel:
            jobs = [job for job in self._jobs.values() if job.order.details.manifest == failed.about]
        effects: list[fx.Effect] = []
        for job in jobs:
            if not job.is_open or job.run is not None:
                continue
            match failed.effect:
                case fx.Send if job.promise and self._may_promise_again(job, now_ms):
                    job.promise_tries += 1
                    effects.append(fx.Send(job.reply_to, job.promise))
                case fx.OpenInput | fx.FetchBlob if not job.accepted:
                    status = LeafStatus.CLIENT_FAULT
                    effects += self._settling.decline(job, RefuseCode.INPUT, status, failed.reason, now_ms)
                case fx.RunContainer | fx.SealResult | fx.FetchModel:
                    job.running, job.run = False, None
                    effects += self._settling.give_up(job, failed, Outcome.PROVIDER, failed.reason, now_ms)
        return (*effects, *(self._runs.start_waiting(now_ms) if effects else ()))

    def _may_promise_again(self, job: ProvidedJob, now_ms: TimestampMs) -> bool:
        return job.promise_tries < PROMISE_TRIES and not self._runs.is_late(job, now_ms)
