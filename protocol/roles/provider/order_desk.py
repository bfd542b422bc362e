"""The order desk: which orders this node takes, before they are journalled and after.

An order is taken only when the lane behind it covers it: as it is final or confirmed on chain, or at the owner's risk.
"""

from dataclasses import dataclass, field

from protocol.effects import AwaitDeadline, Effect, FetchBlob, FetchModel
from protocol.errors import OutOfTurn, ProtocolError
from protocol.events import MessageReceived, OrderRefused
from protocol.job import TERMINAL, Stage
from protocol.network.budgets import Budgets, Rate
from protocol.params import MAX_RETRIES
from protocol.roles.member import Member
from protocol.roles.provider.provided import Jobs, LaneKey, ProvidedJob, lane_key, reply_to, spec_of
from protocol.roles.provider.refusals import Refusals
from protocol.roles.provider.run_queue import TIME_FACTOR, wait_ms
from protocol.roles.provider.settling import Settling
from protocol.roles.provider.unconfirmed_lanes import HeldLane, RiskedOrder, UnconfirmedLanes
from protocol.roles.settler.settler import Settler
from protocol.stages.assignment import (
    UNCALIBRATED_ACCEPTED,
    AssignmentOrder,
    Lane,
    RefuseCode,
    TakenOrder,
    job_id,
    kind_of,
    require_consistent,
    require_covered,
)
from protocol.timers import LaneTimer
from protocol.wire.bounded import shorten
from protocol.wire.envelope import digest, require_signer
from protocol.wire.ids import Address, Cid, JobId, PeerId, TimestampMs

EARLY_KEPT = 256
LANE_PATIENCE_MS = 1_500
"""Less than what a requester waits for an answer."""
LANES_KEPT = 4_096
PEERS_KEPT = 4_096
OFFERS_KEPT = 4_096
ORDERS_PER_OFFER = MAX_RETRIES
"""An honest client tries a node at most so often in all."""
REFUSALS = Rate(2, 1_000, 32)
"""Orders of one peer that are refused with a word; more are dropped."""
DONE_KEPT = 1_024


@dataclass(slots=True)
class OrderDesk:
    """Orders that were taken, wait for their lane, or were refused."""

    member: Member
    settler: Settler
    refusals: Refusals
    settling: Settling
    jobs: Jobs
    _early: dict[JobId, tuple[PeerId, AssignmentOrder]] = field(default_factory=dict)
    _taken: dict[LaneKey, dict[int, TakenOrder]] = field(default_factory=dict)
    _let_down: dict[LaneKey, None] = field(default_factory=dict)
    """Lanes on which an order waited in vain, until they are seen."""
    _answered: dict[bytes, set[JobId]] = field(default_factory=dict)
    """Orders taken or refused, by offer."""
    _held: dict[LaneKey, HeldLane] = field(default_factory=dict)
    _risked: dict[JobId, RiskedOrder] = field(default_factory=dict)
    _budgets: Budgets[PeerId] = field(default_factory=lambda: Budgets[PeerId](REFUSALS, PEERS_KEPT))

    @property
    def unconfirmed(self) -> UnconfirmedLanes:
        """The lanes that are not final, and what rests on them."""
        return UnconfirmedLanes(self.member, self._held, self._risked)

    @property
    def load(self) -> int:
        """Jobs taken and not ended yet."""
        return sum(job.is_open for job in self.jobs.values())

    def judge(
        self, received: MessageReceived, order: AssignmentOrder, now_ms: TimestampMs
    ) -> MessageReceived | OrderRefused | None:
        """See Provider.judge."""
        peer_id, offer = received.peer_id, order.offer.offer
        job = job_id(order.assignment, self.member.identity.domain)
        if self.member.record is None or job in self.jobs or job in self._early:
            return None
        if order.assignment.node != self.member.identity.node_id:
            raise OutOfTurn("an order for another node")
        self._require_signed(order)
        offer_hash = digest(offer, self.member.identity.domain)
        answered = self._answered.get(offer_hash, set())
        if job not in answered and len(answered) >= ORDERS_PER_OFFER:
            raise OutOfTurn("more orders for one offer than a client has tries")
        code = self._objection(order, now_ms)
        if self.member.paused and code in (None, RefuseCode.LANE):
            # Its offer was sent before the card was hot. No journal says how hot it was: only a new order is refused.
            code = RefuseCode.PAUSED
        elif code is None and not self.member.settings.risk_wei and self._rests_on_hope(order):
            # The owner has taken the risk back since the lane was tried.
            code = RefuseCode.LANE
        elif code is None or (code is RefuseCode.LANE and self._may_wait(order)):
            return received
        if not self._budgets.has(peer_id, now_ms):
            return None
        return OrderRefused(peer_id, job, offer_hash, reply_to(order, peer_id), code)

    def is_early(self, job: JobId, peer_id: PeerId) -> bool:
        """Whether an order of this peer waits for its lane."""
        return self._early.get(job, (None,))[0] == peer_id

    def forget_early(self, job: JobId) -> None:
        """An order that waits for its lane was withdrawn."""
        self._early.pop(job, None)

    def take(self, peer_id: PeerId, order: AssignmentOrder, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Take an order, have it wait for its lane, or refuse it. Raises: BadSignature."""
        domain = self.member.identity.domain
        self._answer(digest(order.offer.offer, domain), job_id(order.assignment, domain))
        return self._assigned(peer_id, order, now_ms)

    def turn_away(self, refused: OrderRefused, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Tell the sender of an order that was not journalled why it is not taken."""
        if not self._budgets.take(refused.peer_id, now_ms):
            return ()
        job = JobId(refused.job_id)
        if refused.code != RefuseCode.EXPIRED:
            # Of offers that are over there may be any number.
            self._answer(refused.offer_hash, job)
        return self.refusals.refuse(job, refused.reply_to, RefuseCode(refused.code))

    def lane_changed(self, lane: Lane, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Look again at orders that came before their lane, and forget those that are settled."""
        effects: list[Effect] = []
        if lane.node == self.member.identity.node_id:
            self._let_down.pop((lane.client, lane.signer), None)
            taken = self._taken.get((lane.client, lane.signer), {})
            for index in [index for index in taken if index <= lane.jobs]:
                del taken[index]
            effects += self.look_again((lane.client, lane.signer), now_ms)
        return tuple(effects)

    def look_again(self, key: LaneKey, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Take what waited for a lane that may cover it by now."""
        effects: list[Effect] = []
        for peer_id, order in tuple(self._early.values()):
            if lane_key(order) == key and self._objection(order, now_ms) is not RefuseCode.LANE:
                effects += self._assigned(peer_id, order, now_ms)
        return tuple(effects)

    def no_lane(self, job: JobId, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """An order has waited for its lane as long as it may."""
        early = self._early.get(job)
        if early is None:
            return ()
        effects = self._assigned(*early, now_ms)
        if job not in self.jobs:
            self._let_down[lane_key(early[1])] = None
            shorten(self._let_down, LANES_KEPT)
        return effects

    def _may_wait(self, order: AssignmentOrder) -> bool:
        """Whether an order whose lane does not cover it yet may wait here for it: it takes room on the disk.

        A client that let it wait in vain once has to show the lane first.
        """
        key = lane_key(order)
        waiting = sum(lane_key(early) == key for _, early in self._early.values())
        return key not in self._let_down and waiting < self.member.settings.places and len(self._early) < EARLY_KEPT

    def _assigned(self, peer_id: PeerId, order: AssignmentOrder, now_ms: TimestampMs) -> tuple[Effect, ...]:
        assignment, details = order.assignment, order.details
        job = job_id(assignment, self.member.identity.domain)
        if job in self.jobs:
            return ()
        if self.member.record is None or assignment.node != self.member.identity.node_id:
            return self.refusals.refuse(job, reply_to(order, peer_id), RefuseCode.DETAILS)
        self._require_signed(order)
        code = self._objection(order, now_ms)
        if code is RefuseCode.LANE and job not in self._early and self._may_wait(order):
            # The requester may have seen the block of its lane before this node did.
            self._early[job] = (peer_id, order)
            return (AwaitDeadline(LaneTimer(job), now_ms + LANE_PATIENCE_MS),)
        self._early.pop(job, None)
        if code is not None:
            return self.refusals.refuse(job, reply_to(order, peer_id), code)
        taken = ProvidedJob(job, order, peer_id, now_ms, history=[(Stage.ASSIGNED, now_ms)])
        rests_on_hope = self._rests_on_hope(order)
        self._forget_old()
        self.jobs[job] = taken
        self._taken.setdefault(lane_key(order), {})[assignment.index] = TakenOrder(
            assignment.cumulative, details.max_total
        )
        self.settler.expect(assignment.client, assignment.signer, assignment.index)
        effects: list[Effect] = [*self.unconfirmed.risk(job, order, now_ms)] if rests_on_hope else []
        if Cid(details.manifest) not in self.member.models:
            effects.append(FetchModel(details.manifest, (peer_id, *self.member.holders(Cid(details.manifest), now_ms))))
        if order.sealed_input:
            effects.append(taken.open_input)
        else:
            effects.append(FetchBlob(details.input_cid, (peer_id,)))
        return tuple(effects)

    def _answer(self, offer_hash: bytes, job: JobId) -> None:
        self._answered.setdefault(offer_hash, set()).add(job)
        shorten(self._answered, OFFERS_KEPT)

    def _require_signed(self, order: AssignmentOrder) -> None:
        """Raises: BadSignature unless the offer is of this node and the order of the signer that it names."""
        domain, assignment = self.member.identity.domain, order.assignment
        require_signer(order.offer.offer, order.offer.signature, domain, self.member.identity.operator)
        require_signer(assignment, order.signature, domain, assignment.signer)

    def _objection(self, order: AssignmentOrder, now_ms: TimestampMs) -> RefuseCode | None:
        """Why this node does not take an order that was signed as it should be."""
        assignment, details, settings = order.assignment, order.details, self.member.settings
        try:
            require_consistent(order, self.member.identity.domain)
        except ProtocolError:
            return RefuseCode.DETAILS
        if order.offer.offer.valid_until * 1000 < now_ms or details.deadline * 1000 <= now_ms:
            return RefuseCode.EXPIRED
        if (held := self.member.holds.objection(now_ms)) is not None:
            return held
        if self.member.is_intake_stopped(now_ms):
            return RefuseCode.PAUSED
        if self.load >= settings.places or self._has_its_share(assignment.client):
            return RefuseCode.BUSY
        needs_ms = TIME_FACTOR * order.offer.offer.eta_ms
        if details.deadline * 1000 < now_ms + needs_ms:
            return RefuseCode.DETAILS
        if details.deadline * 1000 < now_ms + needs_ms + self._wait_ms(order) or self._is_out_of_line(order):
            return RefuseCode.BUSY
        wanted = (Cid(details.manifest), order.offer.offer.class_id, kind_of(details))
        if not self.member.calibrated(*wanted) and not details.flags & UNCALIBRATED_ACCEPTED:
            return RefuseCode.DETAILS
        if not self.member.has_or_may_fetch(*wanted):
            return RefuseCode.MODEL
        key = lane_key(order)
        if self._covers(self.unconfirmed.firm(key), order):
            return None
        hoped = self._covers(self.unconfirmed.hoped(key), order) and self.unconfirmed.may_risk(order, now_ms)
        return None if hoped else RefuseCode.LANE

    def _covers(self, lane: Lane | None, order: AssignmentOrder) -> bool:
        """Whether a lane pays for an order beside those that were taken on it."""
        if lane is None:
            return False
        try:
            submitted = self.settler.submitted(lane.client, lane.signer)
            require_covered(order, lane, self._taken.get(lane_key(order), {}), submitted)
        except ProtocolError:
            return False
        return True

    def _rests_on_hope(self, order: AssignmentOrder) -> bool:
        """Whether the lane of an order does not cover it by what counts in full."""
        return not self._covers(self.unconfirmed.firm(lane_key(order)), order)

    def _has_its_share(self, client: Address) -> bool:
        """Whether a client has as many jobs waiting here as one may: half of the queue, so that others find room."""
        waiting = sum(job.order.assignment.client == client for job in self.jobs.values() if job.waits)
        return waiting >= max(1, self.member.settings.queue // 2)

    def _wait_ms(self, order: AssignmentOrder) -> int:
        """How long an order would wait for a container."""
        jobs = [job for job in self.jobs.values() if job.running or job.waits]
        ahead, offers = [job.spec for job in jobs], [job.order.offer.offer for job in jobs]
        run = spec_of(order, job_id(order.assignment, self.member.identity.domain))
        settings = self.member.settings
        return wait_ms(ahead, run, offers, settings.slots, settings.at_once)

    def _is_out_of_line(self, order: AssignmentOrder) -> bool:
        """Whether a job of the lane may have to be in a batch while one with a lower number is still at work.

        The numbers of a lane settle in their order, so their deadlines must be in that order, too.
        """
        index, deadline = order.assignment.index, order.details.deadline
        for job in self.jobs.values():
            if lane_key(job.order) != lane_key(order) or job.receipted or job.stage is Stage.UNPAID:
                continue
            other, other_deadline = job.order.assignment.index, job.order.details.deadline
            if other < index and other_deadline > deadline and job.is_open:
                return True
            if other > index and other_deadline < deadline:
                return True
        return False

    def _forget_old(self) -> None:
        done = [key for key, job in self.jobs.items() if self.settling.stage(job) in TERMINAL]
        for key in done[: max(0, len(done) - DONE_KEPT)]:
            self.jobs.pop(key)
