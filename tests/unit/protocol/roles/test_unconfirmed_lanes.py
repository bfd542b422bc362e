"""Orders for lanes that a node holds before the chain has them: which, and what it does with them."""

import dataclasses

import pytest

from protocol.effects import AwaitDeadline, ConfirmLane, LandLane, Send, StopContainer, TryLane
from protocol.errors import BadSignature, OutOfTurn
from protocol.events import (
    AccountSeen,
    BlockSeen,
    DeadlinePassed,
    EffectFailed,
    Hold,
    HoldBegun,
    InputOpened,
    IntakeStopped,
    LaneConfirmed,
    LaneSeen,
    LaneTried,
    MessageReceived,
    MessageSigned,
    OrderRefused,
    TransactionMined,
)
from protocol.job import Stage
from protocol.params import VCN
from protocol.roles.member import OVERDUE_BLOCKS
from protocol.roles.provider.settling import NEVER_OPENED
from protocol.roles.provider.unconfirmed_lanes import DAY_MS, HELD_KEPT, LAND_AFTER_MS
from protocol.stages.assignment import Account, Lane, LaneOpen, RefuseCode, job_id
from protocol.stages.lane_notice import LEAST_LANE_WEI, LEAST_VALID_S, LaneCounted, SignedLaneOpen, lane_open_id
from protocol.timers import LandingTimer
from protocol.wire.envelope import digest, sign_digest
from protocol.wire.ids import TimestampMs, Wei, checksum
from tests.simulation.scene import DOMAIN, RULES
from tests.support.scenes.offers import NOW
from tests.support.scenes.provided_jobs import Deal, refusal

AMOUNT = 20 * VCN


class Notice(Deal):
    """A client that shows its node an order for a lane."""

    def __init__(self, risk_wei: int = VCN, confirmations: int = 1) -> None:
        super().__init__()
        settings = self.machine.member.settings
        self.machine.member.settings = dataclasses.replace(settings, risk_wei=risk_wei, confirmations=confirmations)

    def lane_open(self, needs_wei: int = VCN // 2, secret: bytes = b"", **changes) -> SignedLaneOpen:
        client = self.client.address
        order = LaneOpen(client, client, self.node.address, AMOUNT, 0, NOW // 1_000 + 600)
        order = dataclasses.replace(order, **changes)
        return SignedLaneOpen(order, sign_digest(digest(order, DOMAIN), secret or self.client.secret), needs_wei)

    def judge(self, notice: SignedLaneOpen):
        return self.machine.judge(MessageReceived(self.client.peer_id, notice), NOW)

    def show(self, notice: SignedLaneOpen):
        return self.machine.handle(MessageReceived(self.client.peer_id, notice), NOW)

    def tried(self, notice: SignedLaneOpen, refusal: str = "", risk_wei: int = VCN):
        return self.machine.handle(LaneTried(lane_open_id(notice.order), refusal, risk_wei), NOW)

    def held(self) -> SignedLaneOpen:
        """An order that was shown and would count."""
        notice = self.lane_open()
        self.show(notice)
        self.tried(notice)
        return notice

    def risked_wei(self, now: int = NOW) -> int:
        return self.machine.provider._desk.unconfirmed.risked_wei(TimestampMs(now))


def counted(effects) -> list[LaneCounted]:
    return [each.message for each in effects if isinstance(each, Send) and isinstance(each.message, LaneCounted)]


def test_a_shown_order_is_kept_tried_and_waited_for():
    deal = Notice(confirmations=2)
    notice = deal.lane_open()
    assert deal.judge(notice) == MessageReceived(deal.client.peer_id, notice)
    assert deal.show(notice) == (
        ConfirmLane(notice.order, 2),
        TryLane(notice.order, notice.signature, VCN),
    )
    # Shown again, it is nothing new.
    assert deal.judge(notice) is None
    assert deal.show(notice) == ()


def test_an_owner_who_risks_nothing_has_nothing_tried():
    deal = Notice(risk_wei=0)
    notice = deal.lane_open()
    assert deal.show(notice) == (ConfirmLane(notice.order, 1),)


def test_no_more_confirmations_are_waited_for_than_make_a_lane_final():
    deal = Notice(risk_wei=0, confirmations=200)
    (asked,) = deal.show(deal.lane_open())
    assert asked.confirmations == RULES.final_depth + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": LEAST_LANE_WEI - 1},
        {"amount": 100 * VCN + 1},
        {"deadline": NOW // 1_000 + LEAST_VALID_S - 1},
        {"deadline": NOW // 1_000 + 3_601},
        {"signer": checksum("0x" + "77" * 20)},
        {"client": checksum("0x" + "77" * 20)},
    ],
)
def test_an_order_that_is_worth_nothing_is_not_held(changes):
    deal = Notice()
    notice = deal.lane_open(**changes)
    assert deal.judge(notice) is None
    assert deal.show(notice) == ()


def test_an_order_that_has_counted_is_not_held():
    deal = Notice()
    deal.lane(AMOUNT)
    assert deal.judge(deal.lane_open()) is None
    assert deal.judge(deal.lane_open(prev_total=AMOUNT))


def test_a_forged_order_or_one_for_another_node_costs_its_sender():
    deal = Notice()
    with pytest.raises(BadSignature):
        deal.judge(deal.lane_open(secret=deal.node.secret))
    with pytest.raises(OutOfTurn):
        deal.judge(deal.lane_open(node=deal.client.address))


@pytest.mark.parametrize("hold", Hold)
def test_a_node_with_a_hold_or_in_a_pause_of_intake_holds_no_order(hold):
    deal = Notice()
    notice = deal.lane_open()
    deal.machine.handle(IntakeStopped(NOW // 1_000 + 600), NOW)
    assert deal.judge(notice) is None
    deal.machine.handle(IntakeStopped(0), NOW)
    assert deal.judge(notice)
    deal.machine.handle(HoldBegun(hold, NOW), NOW)
    assert deal.judge(notice) is None


def test_what_other_orders_of_a_client_lock_is_counted_no_second_time():
    deal = Notice()
    signer = checksum("0x" + "77" * 20)
    deal.machine.handle(LaneSeen(Lane(deal.client.address, signer, deal.node.address, 1, 0, 0)), NOW)
    deal.show(deal.lane_open(amount=90 * VCN))
    second = deal.lane_open(signer=signer, amount=11 * VCN, prev_total=1)
    assert deal.judge(second) is None
    deal.machine.handle(AccountSeen(Account(deal.client.address, Wei(101 * VCN))), NOW)
    with pytest.raises(BadSignature):
        deal.judge(second)


def test_a_node_holds_a_bounded_number_of_orders():
    deal = Notice(risk_wei=0)
    for number in range(HELD_KEPT):
        client = checksum(f"0x{number + 1:040x}")
        deal.machine.provider._desk._held[client, client] = object()
    assert deal.judge(deal.lane_open()) is None


def test_an_order_is_taken_at_the_owners_risk_and_for_no_more():
    deal = Notice()
    notice = deal.lane_open()
    deal.show(notice)
    first = deal.order()
    (told,) = counted(deal.tried(notice))
    assert told.total == AMOUNT
    effects = deal.send(first)
    assert refusal(effects) is None
    timer = LandingTimer(lane_open_id(notice.order), False)
    assert AwaitDeadline(timer, NOW + LAND_AFTER_MS) in effects
    assert deal.risked_wei() == first.details.max_total
    # The second one would come to more than a VCN with the first.
    deal.send(deal.order(2, first.assignment.cumulative))
    assert len(deal.machine.provider.jobs) == 1
    assert deal.risked_wei(NOW + DAY_MS) == 0


def test_no_order_is_taken_before_the_lane_was_tried_or_where_it_was_refused():
    for refused in (None, "NotEnoughFree"):
        deal = Notice()
        notice = deal.lane_open()
        deal.show(notice)
        if refused:
            assert deal.tried(notice, refused) == ()
        deal.send(deal.order())
        assert deal.machine.provider.jobs == ()


def test_a_lane_is_counted_only_as_far_as_something_is_left_to_be_risked():
    deal = Notice()
    notice = deal.lane_open(needs_wei=VCN + 1)
    deal.show(notice)
    assert counted(deal.tried(notice)) == []


def test_a_risk_that_the_owner_took_back_counts_at_once():
    deal = Notice()
    deal.held()
    order = deal.order()
    received = MessageReceived(deal.client.peer_id, order)
    assert deal.machine.judge(received, NOW) is received
    deal.machine.member.settings = dataclasses.replace(deal.machine.member.settings, risk_wei=0)
    refused = deal.machine.judge(received, NOW)
    assert isinstance(refused, OrderRefused)
    assert refused.code == RefuseCode.LANE


def test_a_confirmed_lane_frees_the_risk_and_takes_more():
    deal = Notice()
    notice = deal.held()
    first = deal.order()
    deal.send(first)
    lane = Lane(deal.client.address, deal.client.address, deal.node.address, AMOUNT, 0, 0)
    confirmed = LaneConfirmed(lane_open_id(notice.order), lane, 7)
    assert len(counted(deal.machine.handle(confirmed, NOW))) == 1
    assert deal.risked_wei() == 0
    deal.send(deal.order(2, first.assignment.cumulative))
    assert len(deal.machine.provider.jobs) == 2
    assert deal.machine.handle(confirmed, NOW) == ()


def test_a_node_lands_what_its_client_does_not_and_again_when_the_block_is_gone():
    deal = Notice()
    notice = deal.held()
    deal.send(deal.order())
    name = lane_open_id(notice.order)
    landed = LandLane(notice.order, notice.signature)
    assert deal.machine.handle(DeadlinePassed(LandingTimer(name, False)), NOW) == (landed,)
    deal.machine.handle(TransactionMined(LandLane, name, 10), NOW)
    late = 10 + RULES.final_depth + OVERDUE_BLOCKS
    assert deal.machine.handle(BlockSeen(late - 1, 0, 0), NOW) == ()
    timer = LandingTimer(name, True)
    assert deal.machine.handle(BlockSeen(late, 0, 0), NOW) == (AwaitDeadline(timer, NOW),)
    assert deal.machine.handle(DeadlinePassed(timer), NOW) == (landed,)
    lane = Lane(deal.client.address, deal.client.address, deal.node.address, AMOUNT, 0, 0)
    deal.machine.handle(LaneSeen(lane), NOW)
    assert deal.machine.handle(BlockSeen(2 * late, 0, 0), NOW) == ()
    assert deal.risked_wei() == 0


def test_a_confirmed_lane_is_not_landed_before_it_is_overdue():
    deal = Notice()
    notice = deal.held()
    deal.send(deal.order())
    name = lane_open_id(notice.order)
    lane = Lane(deal.client.address, deal.client.address, deal.node.address, AMOUNT, 0, 0)
    deal.machine.handle(LaneConfirmed(name, lane, 10), NOW)
    assert deal.machine.handle(DeadlinePassed(LandingTimer(name, False)), NOW) == ()


def test_a_lane_that_never_comes_stops_its_job_and_the_loss_counts_for_a_day():
    deal = Notice()
    notice = deal.held()
    order = deal.order()
    deal.send(order)
    job = job_id(order.assignment, DOMAIN)
    (asked,) = deal.machine.handle(InputOpened(job), NOW)
    deal.machine.handle(MessageSigned(asked.message, b"s" * 65), NOW)
    effects = deal.machine.handle(EffectFailed(ConfirmLane, lane_open_id(notice.order), "late", False), NOW)
    assert StopContainer(job) in effects
    (shown,) = deal.machine.provider.jobs
    assert (shown.stage, shown.reason, shown.charge) == (Stage.UNPAID, NEVER_OPENED, 0)
    # The lane may come after all; the work that was given up stays lost.
    deal.lane(AMOUNT)
    assert deal.risked_wei() == order.details.max_total
    # Held no more, the order may be shown again.
    assert deal.judge(deal.lane_open(prev_total=AMOUNT))
