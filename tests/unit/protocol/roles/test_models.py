"""Which models a node fetches on the word of a client: those of the network and of its operator, and no other."""

import dataclasses

import pytest

from protocol.effects import FetchModel, OpenInput, ReplaySample, RunContainer
from protocol.events import (
    CalibrationSeen,
    EffectFailed,
    MessageReceived,
    ModelAdded,
    ModelRemoved,
    OrderRefused,
    SampleOpened,
)
from protocol.roles.machine import Machine
from protocol.stages.assignment import UNCALIBRATED_ACCEPTED, RefuseCode
from protocol.stages.offer import SignedOffer
from protocol.wire.envelope import digest, sign_digest
from protocol.wire.ids import Cid
from tests.simulation.scene import CLASS, DOMAIN, MANIFEST, NOISE
from tests.support.scenes.offers import NOW, offers, provider, request
from tests.support.scenes.provided_jobs import Deal, accept
from tests.support.scenes.sittings import Sitting, of

UNKNOWN = Cid(b"\x07" * 32)


def allow(machine: Machine, models: frozenset[Cid] | None) -> None:
    """The operator's choice of models."""
    machine.member.settings = dataclasses.replace(machine.member.settings, models=models)


@pytest.mark.parametrize(
    ("models", "offered"), [(frozenset(), False), (frozenset({UNKNOWN}), True), (None, True)], ids=["", "named", "any"]
)
def test_an_unknown_model_is_offered_where_the_operator_allows_it(models: frozenset[Cid] | None, offered: bool):
    world, machine = provider()
    allow(machine, models)
    assert bool(offers(machine, request(world, manifest=UNKNOWN, timeout_ms=200_000))) is offered


def test_a_model_that_the_network_has_calibrated_is_offered_and_fetched():
    world, machine = provider()
    machine.handle(CalibrationSeen(UNKNOWN, CLASS, NOISE), NOW)
    assert offers(machine, request(world, manifest=UNKNOWN))


class Strange(Deal):
    """An order for a model of the client's own making."""

    def __init__(self, models: frozenset[Cid] | None) -> None:
        super().__init__()
        self.lane()
        allow(self.machine, None)
        self.request = request(self.world, manifest=UNKNOWN, nonce=2)
        (asked,) = offers(self.machine, self.request)
        self.offer = SignedOffer(asked.message, sign_digest(digest(asked.message, DOMAIN), self.node.secret))
        allow(self.machine, models)

    def ordered(self) -> MessageReceived:
        order = self.order(flags=UNCALIBRATED_ACCEPTED, deadline=NOW // 1_000 + 550)
        return MessageReceived(self.client.peer_id, order)


def test_an_order_brings_no_model_onto_a_disk_that_its_operator_has_not_allowed():
    deal = Strange(frozenset())
    refused = deal.machine.judge(deal.ordered(), NOW)
    assert isinstance(refused, OrderRefused)
    assert refused.code == RefuseCode.MODEL
    assert not of(list(deal.machine.handle(deal.ordered(), NOW)), FetchModel)


def test_an_allowed_model_is_fetched_for_an_order():
    deal = Strange(frozenset({UNKNOWN}))
    effects = list(deal.machine.handle(deal.ordered(), NOW))
    assert [effect.manifest for effect in of(effects, FetchModel)] == [UNKNOWN]
    assert of(effects, OpenInput)


def opened_without_its_model(models: frozenset[Cid], *, calibrated: bool) -> list[bytes]:
    """The models that a seat fetches for a leaf whose model is not here."""
    seat = Sitting()
    machine = seat.machine
    machine.member.models.clear()
    if not calibrated:
        machine.member.calibrations.clear()
    allow(machine, models)
    seat.take(MessageReceived(seat.provider.peer_id, seat.opening))
    asked = seat.take(seat.opened())
    seat.take(EffectFailed(FetchModel, MANIFEST.cid, "for a test", True))
    return [effect.manifest for effect in of(asked, FetchModel)]


def test_a_seat_fetches_what_the_network_or_its_operator_has_chosen():
    assert opened_without_its_model(frozenset(), calibrated=True) == [MANIFEST.cid]
    assert opened_without_its_model(frozenset(), calibrated=False) == []
    assert opened_without_its_model(frozenset({MANIFEST.cid}), calibrated=False) == [MANIFEST.cid]


def test_model_that_leaves_the_store_is_fetched_for_the_jobs_that_wait_for_it() -> None:
    deal = Deal()
    machine = deal.machine
    assert not of(list(machine.handle(ModelRemoved(MANIFEST.cid), NOW)), FetchModel)
    machine.handle(ModelAdded(MANIFEST), NOW)
    deal.lane()
    order = deal.order()
    deal.send(order)
    (fetch,) = of(list(machine.handle(ModelRemoved(MANIFEST.cid), NOW)), FetchModel)
    assert (fetch.manifest, fetch.peers[0]) == (MANIFEST.cid, deal.client.peer_id)
    # It does not start before the model is back.
    assert not of(list(accept(machine, order)), RunContainer)
    assert of(list(machine.handle(ModelAdded(MANIFEST), NOW)), RunContainer)
    # A container that runs holds its model: another removal asks for nothing.
    assert not of(list(machine.handle(ModelRemoved(MANIFEST.cid), NOW)), FetchModel)


def test_model_that_leaves_the_store_and_that_no_client_may_bring_is_not_fetched() -> None:
    deal = Deal()
    deal.lane()
    deal.send(deal.order())
    deal.machine.member.calibrations.clear()
    allow(deal.machine, frozenset())
    assert not of(list(deal.machine.handle(ModelRemoved(MANIFEST.cid), NOW)), FetchModel)


def test_seat_whose_model_leaves_the_store_fetches_it_before_it_tries_its_pass_again() -> None:
    seat = Sitting()
    seat.take(MessageReceived(seat.provider.peer_id, seat.opening))
    assert of(seat.take(seat.opened()), ReplaySample)
    seat.take(ModelRemoved(MANIFEST.cid))
    seat.fail(ReplaySample)
    asked = seat.until(6)
    assert {fetch.manifest for fetch in of(asked, FetchModel)} == {MANIFEST.cid}
    assert not of(asked, ReplaySample)
    assert of(seat.take(ModelAdded(MANIFEST)), ReplaySample)


@pytest.mark.parametrize("tokens", [0, 3])
def test_seat_that_waits_for_a_model_runs_over_an_answer_of_any_length_once_it_is_here(tokens: int) -> None:
    seat = Sitting()
    seat.machine.member.models.clear()
    seat.take(MessageReceived(seat.provider.peer_id, seat.opening))
    assert of(seat.take(SampleOpened(seat.case.batch_id, 0, tokens, "")), FetchModel)
    assert of(seat.take(ModelAdded(MANIFEST)), ReplaySample)
