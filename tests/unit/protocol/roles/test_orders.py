"""Which orders a provider keeps: none that it does not take, so that no peer fills its disk."""

import dataclasses

import pytest

from protocol.effects import OpenInput, Send, SignMessage
from protocol.errors import BadSignature, Malformed, OutOfTurn
from protocol.events import (
    ContainerExited,
    DeadlinePassed,
    LaneSeen,
    MessageReceived,
    MessageSigned,
    OrderRefused,
    ResultSealed,
    is_durable,
)
from protocol.roles.provider.order_desk import ORDERS_PER_OFFER, REFUSALS
from protocol.stages.assignment import AssignmentOrder, Lane, Refuse, RefuseCode, Withdrawal, charge_of, job_id
from protocol.stages.commitment import Receipt, ResultQuery, SignedReceipt
from protocol.stages.execution import Outcome, RunResult
from protocol.stages.offer import SignedOffer
from protocol.wire.envelope import digest, sign_digest
from protocol.wire.ids import JobId, PeerId, TimestampMs
from tests.simulation.scene import DOMAIN
from tests.support.scenes.offers import NOW, offers, request
from tests.support.scenes.provided_jobs import CLIENT_MONEY, Deal, accept, refusal

DAY_MS = 86_400_000
STRANGER = PeerId("stranger")


def judge(deal: Deal, order: AssignmentOrder, *, now: int = NOW, peer: PeerId | None = None):
    return deal.machine.judge(MessageReceived(peer or deal.client.peer_id, order), TimestampMs(now))


def turned_away(deal: Deal, order: AssignmentOrder, *, now: int = NOW, peer: PeerId | None = None):
    """The code with which an order is refused and not kept, and what its sender is told."""
    refused = judge(deal, order, now=now, peer=peer)
    assert isinstance(refused, OrderRefused)
    assert not is_durable(refused)
    return RefuseCode(refused.code), deal.machine.handle(refused, TimestampMs(now))


def test_an_order_that_is_taken_is_kept():
    deal = Deal()
    deal.lane()
    order = deal.order()
    kept = judge(deal, order)
    assert kept == MessageReceived(deal.client.peer_id, order)
    assert is_durable(kept)


def test_an_old_offer_with_a_made_up_order_costs_its_sender():
    deal = Deal()
    forged = dataclasses.replace(deal.order(), signature=b"\x01" * 64 + b"\x1b")
    with pytest.raises(BadSignature):
        judge(deal, forged, now=NOW + 30 * DAY_MS, peer=STRANGER)


def test_an_order_for_an_offer_that_is_over_is_refused_and_not_kept():
    deal = Deal()
    deal.lane()
    code, effects = turned_away(deal, deal.order(), now=NOW + 30 * DAY_MS)
    assert code is refusal(effects) is RefuseCode.EXPIRED


def test_a_refusal_is_told_and_not_kept():
    deal = Deal()
    deal.lane()
    _, (asked,) = turned_away(deal, deal.order(deadline=NOW // 1_000))
    assert isinstance(asked, SignMessage)
    signed = MessageSigned(asked.message, b"s" * 65)
    assert not is_durable(signed)
    (sent,) = deal.machine.handle(signed, NOW)
    assert isinstance(sent, Send)
    assert isinstance(sent.message.refuse, Refuse)


def test_a_busy_node_keeps_no_orders():
    deal = Deal()
    deal.machine.member.settings = dataclasses.replace(deal.machine.member.settings, slots=1, queue=0)
    deal.lane()
    first = deal.order()
    deal.send(first)
    code, _ = turned_away(deal, deal.order(2, first.assignment.cumulative))
    assert code is RefuseCode.BUSY


def test_an_order_for_another_node_costs_its_sender():
    deal = Deal()
    order = deal.order()
    other = dataclasses.replace(order.assignment, node=deal.client.address)
    with pytest.raises(OutOfTurn):
        judge(deal, dataclasses.replace(order, assignment=other))


def test_an_offer_buys_the_request_that_it_answers_and_no_other():
    deal = Deal()
    deal.lane()
    answered = deal.request
    deal.request = request(deal.world, max_new_tokens=500, max_price=10**20, nonce=2)
    dearer = deal.order(max_new_tokens=500)
    assert turned_away(deal, dearer)[0] is RefuseCode.DETAILS
    deal.request = answered
    assert judge(deal, deal.order())


def test_a_client_tries_an_offer_a_few_times():
    deal = Deal()
    deal.lane()
    for attempt in range(ORDERS_PER_OFFER):
        turned_away(deal, deal.order(deadline=NOW // 1_000 + 10_000, attempt=attempt))
    with pytest.raises(OutOfTurn):
        judge(deal, deal.order(attempt=ORDERS_PER_OFFER))


def test_an_order_that_is_sent_again_is_told_the_same_and_costs_nothing():
    deal = Deal()
    deal.lane()
    order = deal.order(deadline=NOW // 1_000 + 10_000)
    for _ in range(2 * ORDERS_PER_OFFER):
        assert turned_away(deal, order)[0] is RefuseCode.DETAILS


def test_an_order_that_was_taken_is_not_kept_again():
    deal = Deal()
    deal.lane()
    order = deal.order()
    deal.send(order)
    assert judge(deal, order) is None


def test_a_peer_is_refused_with_a_word_so_often_and_no_more():
    deal = Deal()
    deal.lane()
    order = deal.order()
    late = NOW + DAY_MS
    for _ in range(int(REFUSALS.burst)):
        turned_away(deal, order, now=late)
    assert judge(deal, order, now=late) is None
    assert judge(deal, order, now=late, peer=STRANGER)
    assert judge(deal, order, now=late + 1_000)


def early(deal: Deal, index: int) -> AssignmentOrder:
    """An order on a lane that does not cover it yet; those of one client come in one after the other."""
    deal.request = request(deal.world, nonce=100 + index)
    (asked,) = offers(deal.machine, deal.request)
    deal.offer = SignedOffer(asked.message, sign_digest(digest(asked.message, DOMAIN), deal.node.secret))
    return deal.order(index)


def wait_in_vain(deal: Deal) -> None:
    (waits,) = deal.send(deal.order())
    assert refusal(deal.machine.handle(DeadlinePassed(waits.timer), NOW)) is RefuseCode.LANE


def test_an_order_before_its_lane_is_kept_until_one_waited_in_vain():
    deal = Deal()
    assert is_durable(judge(deal, deal.order()))
    wait_in_vain(deal)
    assert turned_away(deal, early(deal, 2))[0] is RefuseCode.LANE


def test_a_lane_that_is_seen_may_be_waited_for_again():
    deal = Deal()
    wait_in_vain(deal)
    deal.lane(left=1)
    assert is_durable(judge(deal, early(deal, 2)))


def test_no_more_orders_wait_for_a_lane_than_there_are_places():
    deal = Deal()
    places = deal.machine.member.settings.places
    for index in range(places):
        deal.send(early(deal, index + 1))
    assert turned_away(deal, early(deal, places + 1))[0] is RefuseCode.LANE
    lane = Lane(deal.client.address, deal.client.address, deal.node.address, CLIENT_MONEY, 0, 0)
    assert any(isinstance(effect, OpenInput) for effect in deal.machine.handle(LaneSeen(lane), NOW))


class Delivered(Deal):
    """A job whose result its client has."""

    def __init__(self) -> None:
        super().__init__()
        self.lane()
        order = self.order()
        self.job = job_id(order.assignment, DOMAIN)
        self.send(order)
        accept(self.machine, order)
        done = RunResult(Outcome.OK, "", b"r" * 32, b"p" * 32, 64, "length", 1_000)
        self.machine.handle(ContainerExited(self.job, done, b"proof"), NOW)
        (asked,) = self.machine.handle(ResultSealed(self.job, b"b" * 32, b"sealed", b"s" * 32), NOW)
        self.machine.handle(MessageSigned(asked.message, b"s" * 65), NOW)

    def receipt(self, secret: bytes = b"", **changes) -> MessageReceived:
        price = self.offer.offer.price
        plain = dataclasses.replace(Receipt(self.job, b"r" * 32, charge_of(price, 64, 64), 1_000), **changes)
        signed = SignedReceipt(plain, sign_digest(digest(plain, DOMAIN), secret or self.client.secret))
        return MessageReceived(self.client.peer_id, signed)


def test_a_receipt_is_kept_once():
    deal = Delivered()
    receipt = deal.receipt()
    assert deal.machine.judge(receipt, NOW) == receipt
    deal.machine.handle(receipt, NOW)
    assert deal.machine.judge(receipt, NOW) is None


def test_a_receipt_that_its_client_did_not_sign_costs_its_sender():
    deal = Delivered()
    with pytest.raises(BadSignature):
        deal.machine.judge(deal.receipt(secret=b"\x07" * 32), NOW)
    with pytest.raises(Malformed):
        deal.machine.judge(deal.receipt(charge=1), NOW)


def test_a_withdrawal_that_comes_too_late_is_not_kept():
    deal = Delivered()
    withdrawal = MessageReceived(deal.client.peer_id, Withdrawal(deal.job))
    assert deal.machine.judge(withdrawal, NOW) is None


def test_only_its_client_asks_for_a_result():
    deal = Delivered()
    query = ResultQuery(JobId(deal.job))
    assert deal.machine.judge(MessageReceived(STRANGER, query), NOW) is None
    assert deal.machine.judge(MessageReceived(deal.client.peer_id, query), NOW)
