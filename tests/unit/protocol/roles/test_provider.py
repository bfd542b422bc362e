"""A provider's answer to an assignment: only what its client signed, its lane covers, and it offered itself."""

import dataclasses

import pytest

from protocol.effects import AwaitDeadline, OpenInput, RunContainer, Send, SignMessage, StopContainer
from protocol.errors import BadSignature
from protocol.events import (
    ContainerExited,
    DeadlinePassed,
    EffectFailed,
    InputOpened,
    LaneSeen,
    MessageReceived,
    MessageSigned,
)
from protocol.job import Stage
from protocol.params import MAX_TEMPERATURE_MILLI, VCN, WITHDRAW_WITHIN_MS
from protocol.stages.assignment import (
    CHECK_ORDERED,
    UNCALIBRATED_ACCEPTED,
    Lane,
    RefuseCode,
    Withdrawal,
    accept_within_ms,
    bonus_cap,
    job_id,
    kind_flags,
    order_total,
    verify_fee,
)
from protocol.stages.execution import Outcome, failed
from protocol.stages.offer import SignedOffer
from protocol.stages.request import CLASSIFY, EMBED
from protocol.stages.token_rules import has_rules, milli_of, signed_temperature
from protocol.wire.ids import TimestampMs
from tests.simulation.scene import DOMAIN
from tests.support.scenes.offers import NOW
from tests.support.scenes.provided_jobs import CLIENT_MONEY, Deal, accept, refusal


def test_a_covered_order_is_opened_promised_and_run():
    deal = Deal()
    deal.lane()
    order = deal.order()
    assert [type(effect) for effect in deal.send(order)] == [OpenInput]
    sent, run = accept(deal.machine, order)
    assert isinstance(sent, Send)
    assert isinstance(run, RunContainer)
    assert run.spec.max_new_tokens == 64


def test_the_promise_waits_for_the_input():
    deal = Deal()
    deal.lane()
    effects = deal.send(deal.order())
    assert not any(isinstance(effect, SignMessage | RunContainer) for effect in effects)


def test_an_order_signed_by_somebody_else_is_a_bad_signature():
    deal = Deal()
    deal.lane()
    with pytest.raises(BadSignature):
        deal.send(deal.order(secret=b"\x07" * 32))


def test_an_offer_that_this_node_never_signed_is_a_bad_signature():
    deal = Deal()
    deal.lane()
    forged = dataclasses.replace(deal.offer.offer, price=1)
    order = dataclasses.replace(deal.order(), offer=SignedOffer(forged, deal.offer.signature))
    with pytest.raises(BadSignature):
        deal.send(order)


@pytest.mark.parametrize(
    "changes",
    [
        {"price": 1},
        {"max_new_tokens": 65},
        {"expected_ms": 10**6},
        {"verify_fee": 0},
        {"verify_fee": verify_fee(CLIENT_MONEY, checked=True)},
        {"bonus_cap": 10**18},
        {"max_total": 0},
        {"manifest": bytes(32)},
        {"offer_hash": bytes(32)},
        {"deadline": NOW // 1_000 + 10_000},
        {"temperature": 2_001},
        {"temperature": signed_temperature(2_001, ruled=True)},
        {"flags": kind_flags(EMBED)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_details_that_contradict_the_offer_are_refused(changes):
    deal = Deal()
    deal.lane()
    assert refusal(deal.send(deal.order(**changes))) is RefuseCode.DETAILS


def test_a_kind_that_only_reads_is_run_as_what_it_is():
    deal = Deal(kind=EMBED)
    deal.lane()
    order = deal.order(flags=kind_flags(EMBED))
    deal.send(order)
    _, run = accept(deal.machine, order)
    assert (run.spec.kind, run.spec.temperature) == (EMBED, 0)


def test_a_kind_that_only_reads_has_no_temperature():
    deal = Deal(kind=EMBED)
    deal.lane()
    assert refusal(deal.send(deal.order(flags=kind_flags(EMBED), temperature=1))) is RefuseCode.DETAILS


def test_an_order_with_rules_is_run_with_the_word_for_them():
    deal = Deal()
    deal.lane()
    order = deal.order(temperature=signed_temperature(800, ruled=True))
    deal.send(order)
    _, run = accept(deal.machine, order)
    assert (has_rules(run.spec.temperature), milli_of(run.spec.temperature)) == (True, 800)


def test_a_kind_that_only_reads_has_no_rules():
    deal = Deal(kind=EMBED)
    deal.lane()
    order = deal.order(flags=kind_flags(EMBED), temperature=signed_temperature(0, ruled=True))
    assert refusal(deal.send(order)) is RefuseCode.DETAILS


def test_a_node_of_an_earlier_version_finds_the_temperature_of_rules_too_high():
    """It knows no bit, and refuses a number above its highest by the details, so that another node is asked."""
    assert min(signed_temperature(milli, ruled=True) for milli in (0, 1, 2_000)) > MAX_TEMPERATURE_MILLI


def test_a_kind_without_constants_is_refused_unless_its_client_takes_that():
    deal = Deal(kind=CLASSIFY)
    deal.lane()
    assert refusal(deal.send(deal.order(flags=kind_flags(CLASSIFY)))) is RefuseCode.DETAILS
    opted = deal.order(flags=kind_flags(CLASSIFY) | UNCALIBRATED_ACCEPTED)
    assert [type(effect) for effect in deal.send(opted)] == [OpenInput]


def test_an_order_to_be_checked_is_taken_for_half_of_the_price_more_and_for_nothing_less():
    deal = Deal()
    deal.lane()
    price = deal.offer.offer.price
    twentieth = {"verify_fee": verify_fee(price), "max_total": order_total(price, with_bonus=True)}
    assert refusal(deal.send(deal.order(flags=CHECK_ORDERED, **twentieth))) is RefuseCode.DETAILS
    order = deal.order(flags=CHECK_ORDERED)
    assert order.details.max_total == price + -(-price // 2) + bonus_cap(price)
    assert [type(effect) for effect in deal.send(order)] == [OpenInput]


def test_a_lane_that_pays_a_job_but_not_its_check_is_not_enough():
    deal = Deal()
    deal.lane(order_total(deal.offer.offer.price, with_bonus=True))
    deal.send(deal.order(flags=CHECK_ORDERED))
    assert deal.machine.provider.jobs == ()
    assert deal.send(deal.order())


def test_a_replayed_order_is_taken_once():
    deal = Deal()
    deal.lane()
    order = deal.order()
    assert deal.send(order)
    assert deal.send(order) == ()


def test_the_same_number_for_another_job_is_not_taken():
    deal = Deal()
    deal.lane()
    deal.send(deal.order())
    second = deal.order(seed_nonce=b"2" * 32)
    (waits,) = deal.send(second)
    assert isinstance(waits, AwaitDeadline)
    assert refusal(deal.machine.handle(DeadlinePassed(waits.timer), NOW)) is RefuseCode.LANE


def test_an_order_above_its_lane_is_not_taken():
    deal = Deal()
    deal.lane(left=VCN // 10)
    (waits,) = deal.send(deal.order())
    assert refusal(deal.machine.handle(DeadlinePassed(waits.timer), NOW)) is RefuseCode.LANE


def test_an_order_before_its_lane_waits_for_it():
    deal = Deal()
    order = deal.order()
    (waits,) = deal.send(order)
    assert isinstance(waits, AwaitDeadline)
    lane = Lane(deal.client.address, deal.client.address, deal.node.address, CLIENT_MONEY, 0, 0)
    assert [type(effect) for effect in deal.machine.handle(LaneSeen(lane), NOW)] == [OpenInput]


def test_an_expired_offer_is_refused():
    deal = Deal()
    deal.lane()
    assert refusal(deal.send(deal.order(), now=NOW + 31_000)) is RefuseCode.EXPIRED


def test_an_order_for_another_node_is_refused():
    deal = Deal()
    deal.lane()
    order = deal.order()
    other = dataclasses.replace(order.assignment, node=deal.client.address)
    assert refusal(deal.send(dataclasses.replace(order, assignment=other))) is RefuseCode.DETAILS


def test_an_input_that_is_not_what_was_signed_is_refused_and_unpaid():
    deal = Deal()
    deal.lane()
    order = deal.order()
    deal.send(order)
    job = job_id(order.assignment, DOMAIN)
    effects = deal.machine.handle(EffectFailed(OpenInput, job, "another hash", False), NOW)
    assert refusal(effects) is RefuseCode.INPUT
    assert deal.machine.provider.jobs[0].stage is Stage.UNPAID


def test_the_signed_size_of_an_input_is_known_as_long_as_its_job_is():
    deal = Deal()
    deal.lane()
    order = deal.order()
    assert deal.machine.provider.input_bytes(job_id(order.assignment, DOMAIN)) is None
    deal.send(order)
    found = deal.machine.provider.input_bytes(job_id(order.assignment, DOMAIN))
    assert found == order.request.request.input_bytes


def test_no_more_containers_start_than_there_are_slots():
    deal = Deal()
    deal.lane()
    first = deal.order()
    second = deal.order(index=2, before=first.assignment.cumulative, seed_nonce=b"2" * 32)
    started = []
    for order in (first, second):
        deal.send(order)
        started += [effect for effect in accept(deal.machine, order) if isinstance(effect, RunContainer)]
    assert len(started) == 1


@pytest.mark.parametrize(("at_once", "together"), [(1, 1), (2, 2), (3, 3), (8, 3)])
def test_as_many_jobs_of_one_model_start_as_a_container_holds(at_once: int, together: int):
    deal = Deal()
    deal.machine.member.settings = dataclasses.replace(deal.machine.member.settings, at_once=at_once)
    deal.lane()
    started, before = [], 0
    for index in (1, 2, 3):
        order = deal.order(index=index, before=before, seed_nonce=bytes([index]) * 32)
        before = order.assignment.cumulative
        deal.send(order)
        started += [effect for effect in accept(deal.machine, order) if isinstance(effect, RunContainer)]
    assert len(started) == together


def stage(deal: Deal) -> Stage:
    return deal.machine.provider.jobs[0].stage


def test_a_promise_that_would_come_too_late_is_not_made():
    deal = Deal()
    deal.lane()
    order = deal.order()
    deal.send(order)
    late = TimestampMs(NOW + accept_within_ms(order.request.request.input_bytes) + 1)
    effects = deal.machine.handle(InputOpened(job_id(order.assignment, DOMAIN)), late)
    assert refusal(effects) is RefuseCode.EXPIRED
    assert stage(deal) is Stage.UNPAID


def test_a_promise_signed_too_late_is_not_sent():
    deal = Deal()
    deal.lane()
    order = deal.order()
    deal.send(order)
    (asked,) = deal.machine.handle(InputOpened(job_id(order.assignment, DOMAIN)), NOW)
    late = TimestampMs(NOW + accept_within_ms(order.request.request.input_bytes) + 1)
    effects = deal.machine.handle(MessageSigned(asked.message, b"s" * 65), late)
    assert refusal(effects) is RefuseCode.EXPIRED
    assert not any(isinstance(effect, RunContainer | Send) for effect in effects)


@pytest.mark.parametrize(("after_ms", "left"), [(WITHDRAW_WITHIN_MS, True), (WITHDRAW_WITHIN_MS + 1, False)])
def test_a_withdrawal_counts_until_the_work_is_worth_something(after_ms: int, left: bool):
    deal = Deal()
    deal.lane()
    order = deal.order()
    deal.send(order)
    accept(deal.machine, order)
    job = job_id(order.assignment, DOMAIN)
    withdrawal = MessageReceived(deal.client.peer_id, Withdrawal(job))
    effects = deal.machine.handle(withdrawal, TimestampMs(NOW + after_ms))
    assert stage(deal) is (Stage.UNPAID if left else Stage.RUNNING)
    assert (StopContainer(job) in effects) is left


def test_a_container_that_is_stopped_keeps_its_slot_until_it_is_gone():
    deal = Deal()
    deal.lane()
    first = deal.order()
    deal.send(first)
    accept(deal.machine, first)
    second = deal.order(2, first.assignment.cumulative)
    deal.send(second)
    assert not any(isinstance(effect, RunContainer) for effect in accept(deal.machine, second))
    job = job_id(first.assignment, DOMAIN)
    effects = deal.machine.handle(MessageReceived(deal.client.peer_id, Withdrawal(job)), NOW)
    assert not any(isinstance(effect, RunContainer) for effect in effects)
    effects = deal.machine.handle(ContainerExited(job, failed(Outcome.CANCELLED, ""), b""), NOW)
    assert [effect.spec.job_id for effect in effects if isinstance(effect, RunContainer)] == [
        job_id(second.assignment, DOMAIN)
    ]


def test_nobody_else_withdraws_a_job():
    deal = Deal()
    deal.lane()
    order = deal.order()
    deal.send(order)
    deal.machine.handle(MessageReceived(deal.node.peer_id, Withdrawal(job_id(order.assignment, DOMAIN))), NOW)
    assert stage(deal) is Stage.ASSIGNED
