"""A provider's answer to a request: whom it answers, how often, and what it refuses."""

import dataclasses
import random

import pytest

from protocol.errors import BadSignature, Stale
from protocol.events import (
    AccountSeen,
    CalibrationSeen,
    DeviceReported,
    IntakeStopped,
    MessageSigned,
    ModelAdded,
    ModelRemoved,
    NodeSeen,
    RoomReported,
)
from protocol.params import VCN
from protocol.roles.provider.bidder import OFFERS_PER_REQUEST
from protocol.stages.assignment import Account
from protocol.stages.heartbeat import DeviceStatus, GpuGroup
from protocol.stages.offer import START_MS as OFFER_START_MS
from protocol.stages.request import SignedRequest
from protocol.wire.ids import Wei, checksum
from tests.simulation.scene import CLASS, MANIFEST, NOISE
from tests.support.scenes.offers import NOW, offers, provider, request


def test_a_request_that_fits_gets_an_offer():
    world, machine = provider()
    (asked,) = offers(machine, request(world))
    assert asked.message.price == 64 * VCN // 100
    assert asked.message.class_id == CLASS
    assert asked.message.cached


def test_a_replayed_request_gets_one_offer_and_a_wide_one_only_a_few():
    world, machine = provider()
    signed = request(world)
    assert offers(machine, signed)
    assert not offers(machine, signed)
    wide = dataclasses.replace(signed, wide=True)
    answered = sum(bool(offers(machine, wide)) for _ in range(100))
    assert answered == OFFERS_PER_REQUEST - 1


def test_an_expired_request_is_stale():
    world, machine = provider()
    signed = request(world)
    with pytest.raises(Stale):
        offers(machine, signed, NOW + 600_001)


@pytest.mark.parametrize("field", ["max_price", "nonce", "max_new_tokens"])
def test_a_request_changed_after_it_was_signed_is_refused(field):
    world, machine = provider()
    signed = request(world)
    forged = dataclasses.replace(signed.request, **{field: getattr(signed.request, field) + 1})
    with pytest.raises(BadSignature):
        offers(machine, SignedRequest(forged, signed.signature))


@pytest.mark.parametrize(
    "changes",
    [{"max_price": VCN // 100}, {"classes": 0b100}, {"max_memory": 0}, {"max_new_tokens": 8_000}],
    ids=["price over the cap", "another class", "no memory", "price over the cap by length"],
)
def test_a_request_that_does_not_fit_gets_none(changes):
    world, machine = provider()
    assert not offers(machine, request(world, **changes))


def both_classes(fast_ms: int = 20, slow_ms: int = 40):
    """A provider of a machine that is faster in class 2, as the chain knows it too."""
    world, machine = provider()
    machine.handle(NodeSeen(dataclasses.replace(machine.member.record, class_mask=0b110)), NOW)
    machine.handle(DeviceReported(DeviceStatus((2, 1), (), 2**33, 1, (fast_ms, slow_ms))), NOW)
    return world, machine


@pytest.mark.parametrize(("asked", "offered"), [(0b110, 2), (0b010, 1), (0b100, 2)])
def test_the_fastest_class_that_the_client_takes_is_offered(asked, offered):
    world, machine = both_classes()
    (offer,) = offers(machine, request(world, classes=asked))
    assert offer.message.class_id == offered


GGUF = dataclasses.replace(MANIFEST, name="gguf", dtype="q8_0")


def with_gguf():
    """A provider of three classes that has a GGUF file, of whose constants the chain knows nothing yet."""
    world, machine = provider()
    machine.handle(NodeSeen(dataclasses.replace(machine.member.record, class_mask=0b1110)), NOW)
    machine.handle(DeviceReported(DeviceStatus((2, 1, 3), (), 2**33, 1, (20, 40, 30))), NOW)
    machine.handle(ModelAdded(GGUF), NOW)
    return world, machine


def test_a_gguf_file_is_offered_in_the_class_of_its_type_once_it_has_constants_of_it():
    world, machine = with_gguf()
    everything = {"manifest": GGUF.cid, "classes": 0xFFFF_FFFF}
    for class_id in (1, 2):
        machine.handle(CalibrationSeen(GGUF.cid, class_id, NOISE), NOW)
    assert not offers(machine, request(world, **everything))
    machine.handle(CalibrationSeen(GGUF.cid, 3, NOISE), NOW)
    (offer,) = offers(machine, request(world, **everything, nonce=2))
    assert offer.message.class_id == 3
    assert not offers(machine, request(world, manifest=GGUF.cid, classes=0b0110, nonce=3))


def test_a_class_of_gguf_files_runs_no_other_model():
    world, machine = with_gguf()
    machine.handle(CalibrationSeen(MANIFEST.cid, 3, NOISE), NOW)
    assert not offers(machine, request(world, classes=0b1000))
    (offer,) = offers(machine, request(world, classes=0b1110, nonce=2))
    assert offer.message.class_id == 2


def test_a_gguf_file_is_fetched_for_the_class_that_has_its_constants():
    world, machine = with_gguf()
    machine.handle(ModelRemoved(GGUF.cid), NOW)
    machine.member.settings = dataclasses.replace(machine.member.settings, models=None)
    assert not offers(machine, request(world, manifest=GGUF.cid, classes=0b1000, timeout_ms=200_000))
    machine.handle(CalibrationSeen(GGUF.cid, 3, NOISE), NOW)
    assert offers(machine, request(world, manifest=GGUF.cid, classes=0b1000, timeout_ms=200_000, nonce=2))


def test_a_class_that_the_chain_does_not_know_the_node_by_is_not_offered():
    world, machine = both_classes()
    machine.handle(NodeSeen(dataclasses.replace(machine.member.record, class_mask=0b010)), NOW)
    (offer,) = offers(machine, request(world, classes=0b110))
    assert offer.message.class_id == 1


def test_a_slower_class_is_offered_for_a_model_that_may_be_fetched_for_it_alone():
    world, machine = both_classes()
    machine.handle(ModelRemoved(MANIFEST.cid), NOW)
    assert (1 << CLASS) == 0b010
    (offer,) = offers(machine, request(world, classes=0b110))
    assert offer.message.class_id == CLASS


def test_a_model_that_the_store_has_no_room_for_is_not_offered_until_there_is():
    world, machine = provider()
    machine.handle(ModelRemoved(MANIFEST.cid), NOW)
    machine.handle(RoomReported((MANIFEST.cid,)), NOW)
    assert not offers(machine, request(world))
    machine.handle(RoomReported(()), NOW)
    (offer,) = offers(machine, request(world))
    assert not offer.message.cached


def test_time_is_promised_by_the_speed_of_the_class_that_is_offered():
    world, machine = both_classes(fast_ms=20, slow_ms=1_500)
    # 64 tokens: in class 1 they take longer than half of the two minutes that the client gives.
    assert not offers(machine, request(world, classes=0b010))
    (offer,) = offers(machine, request(world, classes=0b110, nonce=2))
    assert offer.message.eta_ms == OFFER_START_MS + 64 * 20


def test_a_client_without_a_deposit_gets_none():
    world, machine = provider()
    signed = request(world)
    machine.handle(AccountSeen(Account(signed.request.client, Wei(10 * VCN - 1))), NOW)
    assert not offers(machine, signed)


@pytest.mark.parametrize("temperature", [86, 80])
def test_a_hot_machine_offers_nothing_until_it_has_cooled_down(temperature):
    world, machine = provider()
    for each in (86, temperature):
        gpu = GpuGroup("x", 1, each, 2**33, 2**33, 0, "12", "5")
        machine.handle(DeviceReported(DeviceStatus((2,), (gpu,), 2**33, 1, (50,))), NOW)
    assert not offers(machine, request(world))
    machine.handle(DeviceReported(DeviceStatus((CLASS,), (), 2**33, 1, (50,))), NOW)
    assert offers(machine, request(world))


def test_a_node_with_too_little_stake_for_the_price_offers_nothing():
    world, machine = provider()
    record = machine.member.record
    machine.handle(NodeSeen(dataclasses.replace(record, stake=Wei(20 * VCN))), NOW)
    assert not offers(machine, request(world))


def test_a_jailed_node_offers_nothing():
    world, machine = provider()
    machine.handle(NodeSeen(dataclasses.replace(machine.member.record, active=False)), NOW)
    assert not offers(machine, request(world))


def test_an_offer_goes_to_where_its_request_says():
    world, machine = provider()
    signed = request(world)
    (asked,) = offers(machine, signed)
    (sent,) = machine.handle(MessageSigned(asked.message, b"s" * 65), NOW)
    assert sent.to == signed.request.requester_peer


def test_nothing_is_offered_before_the_network_takes_new_work_again():
    world, machine = provider()
    until_s = NOW // 1_000 + 30
    machine.handle(IntakeStopped(until_s), NOW)
    assert offers(machine, request(world), until_s * 1_000 - 1) == []
    assert len(offers(machine, request(world), until_s * 1_000)) == 1
    machine.handle(IntakeStopped(until_s), NOW)
    machine.handle(IntakeStopped(0), NOW)
    assert len(offers(machine, request(world, nonce=2))) == 1


@pytest.mark.parametrize("seed", range(20))
def test_nodes_ahead_are_counted_as_their_records_change(seed):
    _, machine = provider()
    member, chance = machine.member, random.Random(seed)
    own = member.record
    ids = [own.node_id, *(checksum("0x" + bytes([number]).hex() * 20) for number in range(1, 9))]

    def place(record):
        return -(record.score // 100), -record.stake, record.node_id

    for _ in range(100):
        changes = {
            "node_id": chance.choice(ids),
            "score": chance.choice((0, 150, 9_900)),
            "stake": chance.choice((1, 2)),
        }
        machine.handle(NodeSeen(dataclasses.replace(own, **changes, active=chance.random() < 0.7)), NOW)
        ahead = [each for each in member.nodes.values() if each.active and place(each) < place(member.record)]
        assert member.ahead == len(ahead)
