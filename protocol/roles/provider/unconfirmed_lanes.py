"""Unconfirmed lanes: signed orders for lanes that are not final yet, and what this node risks on them.

A lane counts in full once its order has been on chain for as many blocks as the owner asks for. Before that a node
begins only what its owner can lose: all orders of 24 hours on lanes that were never confirmed come to
`Settings.risk_wei` at most, whoever their clients are, since identities are free.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from protocol import effects as fx
from protocol import events as ev
from protocol.errors import OutOfTurn
from protocol.roles.member import Member
from protocol.roles.provider.provided import LaneKey
from protocol.stages.assignment import AssignmentOrder, Lane, LaneOpen
from protocol.stages.lane_notice import LaneCounted, SignedLaneOpen, is_worth_holding, lane_open_id, total_after
from protocol.timers import LandingTimer
from protocol.wire.envelope import require_signer
from protocol.wire.ids import JobId, PeerId, TimestampMs

HELD_KEPT = 64
DAY_MS = 86_400_000
LAND_AFTER_MS = 60_000
"""How long a client has to bring its lane on chain before the node does: some blocks of a public chain."""
RISKS_KEPT = 4_096
"""Orders under way at a risk; with more of them none is taken at a risk."""


@dataclass(slots=True)
class HeldLane:
    """An order for a lane that is not final. risk_wei: what the owner risked a day when it was tried; 0: it was not."""

    notice: SignedLaneOpen
    peer_id: PeerId
    risk_wei: int = 0
    confirmed: Lane | None = None
    block: int = 0
    """The block where it was confirmed, or in which this node brought it on chain; 0: neither."""

    @property
    def order(self) -> LaneOpen:
        """The client's order."""
        return self.notice.order


@dataclass(frozen=True, slots=True)
class RiskedOrder:
    """An order that was taken before its lane was confirmed. `lost`: its lane never came on chain."""

    lane: LaneKey
    cumulative: int
    amount_wei: int
    at_ms: TimestampMs
    lost: bool = False


@dataclass(slots=True)
class UnconfirmedLanes:
    """The orders for lanes that this node holds, and what rests on them: a view of the books of an order desk."""

    member: Member
    _held: dict[LaneKey, HeldLane]
    _risked: dict[JobId, RiskedOrder]

    # --- what a client shows ----------------------------------------------------------------------------------------
    def judge(self, received: ev.MessageReceived, notice: SignedLaneOpen, now_ms: TimestampMs) -> ev.Event | None:
        """The message, if this node holds its order from now on. Raises: BadSignature, OutOfTurn."""
        order, member = notice.order, self.member
        if order.node != member.identity.node_id:
            raise OutOfTurn("a lane to another node")
        held = member.holds.objection(now_ms) is not None
        if member.record is None or held or not self._may_hold(order, now_ms):
            return None
        require_signer(order, notice.signature, member.identity.domain, order.signer)
        return received

    def _may_hold(self, order: LaneOpen, now_ms: TimestampMs) -> bool:
        member, key = self.member, (order.client, order.signer)
        if member.is_intake_stopped(now_ms):
            return False
        if key in self._held or len(self._held) >= HELD_KEPT or not is_worth_holding(order, now_ms):
            return False
        known = member.money.lanes.get((*key, order.node))
        if known is None and order.signer != order.client:
            # Whether the client lets this key spend stands on chain only.
            return False
        held = sum(other.order.amount for other in self._held.values() if other.order.client == order.client)
        free = member.money.accounts.get(order.client, 0)
        return held + order.amount <= free and total_after(order) > _total(known)

    def hold(self, peer_id: PeerId, notice: SignedLaneOpen, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Hold an order; asks when it is on chain and, if something may be risked on it, whether it would count now."""
        order, settings = notice.order, self.member.settings
        if order.node != self.member.identity.node_id or not self._may_hold(order, now_ms):
            return ()
        require_signer(order, notice.signature, self.member.identity.domain, order.signer)
        self._held[order.client, order.signer] = HeldLane(notice, peer_id)
        asked: list[fx.Effect] = [fx.ConfirmLane(order, self._confirmations)]
        if settings.risk_wei and notice.needs_wei:
            asked.append(fx.TryLane(order, notice.signature, settings.risk_wei))
        return tuple(asked)

    @property
    def _confirmations(self) -> int:
        return min(self.member.settings.confirmations, self.member.rules.final_depth + 1)

    # --- what the chain says ----------------------------------------------------------------------------------------
    def tried(self, tried: ev.LaneTried, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Count an order that would count now, as far as something is left to be risked."""
        held = self._by_id(tried.order)
        if held is None or tried.refusal or held.risk_wei or held.confirmed is not None:
            return ()
        held.risk_wei = tried.risk_wei
        return self._tell(held) if self._has_room(held, held.notice.needs_wei, now_ms) else ()

    def confirmed(self, confirmed: ev.LaneConfirmed) -> tuple[fx.Effect, ...]:
        """Count a lane that is on chain for as long as the owner asks."""
        held = self._by_id(confirmed.order)
        if held is None or held.confirmed is not None:
            return ()
        held.confirmed, held.block = confirmed.lane, confirmed.block
        self._release((held.order.client, held.order.signer))
        return self._tell(held)

    def seen(self, lane: Lane) -> None:
        """A lane to this node is final: what it covers is at risk no more."""
        key = (lane.client, lane.signer)
        held = self._held.get(key)
        if held is not None and _total(lane) >= total_after(held.order):
            del self._held[key]
        self._release(key)

    def never_came(self, order_id: bytes) -> LaneKey | None:
        """An order can count no more: forget it. Returns: its lane; None if the order is not held."""
        held = self._by_id(order_id)
        if held is None:
            return None
        key = held.order.client, held.order.signer
        del self._held[key]
        total = _total(self.firm(key))
        for job, risked in self._risked.items():
            if risked.lane == key and risked.cumulative > total:
                self._risked[job] = replace(risked, lost=True)
        return key

    def landed(self, mined: ev.TransactionMined) -> None:
        """Note where this node's own transaction is: its block may still fall out."""
        held = self._by_id(mined.about)
        if held is not None and held.confirmed is None:
            held.block = mined.block

    def look_for_lost(self, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Ask for a moment at which lanes are landed again that were on chain, should be final by now and are not."""
        overdue = (held for held in self._held.values() if held.block and self.member.is_overdue(held.block))
        return tuple(fx.AwaitDeadline(_landing(held, was_on_chain=True), now_ms) for held in overdue)

    def land(self, timer: LandingTimer) -> tuple[fx.Effect, ...]:
        """Bring an order on chain that something rests on: its client did not, or a reorganisation took it out."""
        held = self._by_id(timer.order)
        if held is None or (held.block and not timer.was_on_chain):
            return ()
        landed, was_confirmed = fx.LandLane(held.order, held.notice.signature), held.confirmed is not None
        held.confirmed, held.block = None, 0
        if not was_confirmed:
            return (landed,)
        return landed, fx.ConfirmLane(held.order, self._confirmations)

    # --- what orders may rest on ------------------------------------------------------------------------------------
    def firm(self, key: LaneKey) -> Lane | None:
        """The lane that counts in full: final, or on chain for as long as the owner asks."""
        final = self.member.money.lanes.get((*key, self.member.identity.node_id))
        held = self._held.get(key)
        if held is not None and held.confirmed is not None and _total(held.confirmed) > _total(final):
            return held.confirmed
        return final

    def hoped(self, key: LaneKey) -> Lane | None:
        """The lane as it would be with the order that was tried; None where none was, or it counts already."""
        held, firm = self._held.get(key), self.firm(key)
        if held is None or not held.risk_wei or (firm is not None and firm.closing):
            return None
        more = total_after(held.order) - _total(firm)
        base = firm or Lane(held.order.client, held.order.signer, held.order.node, 0, 0, 0)
        return replace(base, left=base.left + more) if more > 0 else None

    def has_come_to(self, key: LaneKey, cumulative: int) -> bool:
        """Whether a lane that counts in full has ever held so much."""
        return cumulative <= _total(self.firm(key))

    def may_risk(self, order: AssignmentOrder, now_ms: TimestampMs) -> bool:
        """Whether an order that only the hoped lane covers may be begun."""
        held = self._held.get((order.assignment.client, order.assignment.signer))
        return held is not None and self._has_room(held, order.details.max_total, now_ms)

    def risk(self, job: JobId, order: AssignmentOrder, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Note an order that was begun at a risk; asks for the moment at which this node lands the lane itself."""
        assignment = order.assignment
        key = (assignment.client, assignment.signer)
        self._risked[job] = RiskedOrder(key, assignment.cumulative, order.details.max_total, now_ms)
        return (fx.AwaitDeadline(_landing(self._held[key], was_on_chain=False), now_ms + LAND_AFTER_MS),)

    def risked_wei(self, now_ms: TimestampMs) -> int:
        """What rests on lanes that were not confirmed, of the last 24 hours."""
        return sum(risked.amount_wei for risked in self._recent(now_ms))

    def _has_room(self, held: HeldLane, needs_wei: int, now_ms: TimestampMs) -> bool:
        recent = list(self._recent(now_ms))
        at_risk = sum(risked.amount_wei for risked in recent)
        return len(recent) < RISKS_KEPT and at_risk + needs_wei <= held.risk_wei

    def _recent(self, now_ms: TimestampMs) -> Iterator[RiskedOrder]:
        for job in [job for job, risked in self._risked.items() if risked.at_ms + DAY_MS <= now_ms]:
            del self._risked[job]
        yield from self._risked.values()

    def _release(self, key: LaneKey) -> None:
        total = _total(self.firm(key))
        for job, risked in list(self._risked.items()):
            if risked.lane == key and risked.cumulative <= total and not risked.lost:
                del self._risked[job]

    def _tell(self, held: HeldLane) -> tuple[fx.Effect, ...]:
        return (fx.Send(held.peer_id, LaneCounted(lane_open_id(held.order), total_after(held.order))),)

    def _by_id(self, order_id: bytes) -> HeldLane | None:
        return next((held for held in self._held.values() if lane_open_id(held.order) == order_id), None)


def _landing(held: HeldLane, *, was_on_chain: bool) -> LandingTimer:
    return LandingTimer(lane_open_id(held.order), was_on_chain)


def _total(lane: Lane | None) -> int:
    """What a lane holds and has settled, in wei; it never falls."""
    return lane.left + lane.mark if lane is not None else 0
