"""Holds: what each means for offers, orders and containers, and how they add up."""

import pytest

from protocol.effects import HoldContainers
from protocol.events import ContainersHeld, DeviceReported, Hold, HoldBegun, HoldEnded
from protocol.roles.holds import HOLD_RULES, Holds
from protocol.roles.member import NO_DEVICE
from protocol.stages.assignment import RefuseCode
from protocol.wire.ids import TimestampMs
from tests.simulation.world import World

NOW = TimestampMs(1_000)
each_hold = pytest.mark.parametrize("hold", Hold)


def held(*holds: Hold) -> Holds:
    found = Holds()
    for hold in holds:
        found.handle(HoldBegun(hold, NOW))
    return found


def test_every_hold_has_a_rule_with_words_of_its_own() -> None:
    assert set(HOLD_RULES) == set(Hold)
    assert len({rule.words for rule in HOLD_RULES.values()}) == len(Hold)


def test_without_a_hold_all_is_taken() -> None:
    holds = Holds()
    assert (holds.is_offering, holds.stops_runs, holds.objection(NOW), list(holds)) == (True, False, None, [])


@each_hold
def test_a_hold_ends_offers_and_refuses_orders_until_it_is_over(hold: Hold) -> None:
    holds = held(hold)
    assert (holds.is_offering, holds.objection(NOW)) == (False, HOLD_RULES[hold].code)
    assert list(holds) == [(hold, NOW)]
    holds.handle(HoldEnded(hold))
    assert (holds.is_offering, holds.objection(NOW)) == (True, None)


@each_hold
def test_a_hold_that_lies_ahead_makes_no_offers_and_still_takes_orders(hold: Hold) -> None:
    holds = Holds()
    holds.handle(HoldBegun(hold, NOW + 1))
    assert (holds.is_offering, holds.objection(NOW)) == (False, None)
    assert holds.objection(TimestampMs(NOW + 1)) is HOLD_RULES[hold].code


def test_the_end_of_one_hold_leaves_the_others() -> None:
    holds = held(*Hold)
    holds.handle(HoldEnded(Hold.PAUSE))
    assert (holds.is_offering, holds.stops_runs, holds.objection(NOW)) == (False, False, RefuseCode.DRAINING)


def test_a_hold_told_twice_counts_from_its_first_moment() -> None:
    holds = held(Hold.DRAIN)
    holds.handle(HoldBegun(Hold.DRAIN, NOW + 5))
    assert holds.from_ms(Hold.DRAIN) == NOW
    holds.handle(HoldBegun(Hold.DRAIN, NOW - 5))
    assert holds.from_ms(Hold.DRAIN) == NOW - 5


def test_containers_stand_still_from_the_first_pause_to_its_end() -> None:
    holds = held(Hold.DRAIN)
    assert holds.handle(HoldBegun(Hold.PAUSE, NOW)) == (HoldContainers(is_held=True),)
    assert holds.handle(HoldBegun(Hold.PAUSE, NOW)) == ()
    assert holds.handle(ContainersHeld(is_held=True)) == ()
    assert holds.handle(HoldEnded(Hold.DRAIN)) == ()
    assert holds.handle(HoldEnded(Hold.PAUSE)) == (HoldContainers(is_held=False),)
    assert holds.handle(HoldEnded(Hold.PAUSE)) == ()


@pytest.mark.parametrize("hold", [Hold.DRAIN, Hold.HOURS])
def test_runs_go_on_under_the_other_holds(hold: Hold) -> None:
    holds = Holds()
    assert holds.handle(HoldBegun(hold, NOW)) == holds.handle(HoldEnded(hold)) == holds.look() == ()


def test_an_executor_that_did_it_in_the_wrong_order_is_asked_again() -> None:
    holds = held(Hold.PAUSE)
    holds.handle(HoldEnded(Hold.PAUSE))
    assert holds.handle(ContainersHeld(is_held=False)) == ()
    assert holds.handle(ContainersHeld(is_held=True)) == (HoldContainers(is_held=False),)


def test_a_node_that_does_not_know_whether_its_containers_stand_asks_for_it() -> None:
    holds = held(Hold.PAUSE)
    holds.is_standing = None
    assert holds.look() == (HoldContainers(is_held=True),)


def test_each_measure_of_the_machine_asks_again_for_what_the_executor_has_not_done() -> None:
    machine, measure = World().add("provider", {"provider"}).machine, DeviceReported(NO_DEVICE)
    assert machine.handle(HoldBegun(Hold.PAUSE, NOW), NOW) != ()
    # Its answer failed, or was heard by an earlier process.
    for _ in range(2):
        assert machine.handle(measure, NOW) == (HoldContainers(is_held=True),)
    machine.handle(ContainersHeld(is_held=True), NOW)
    assert machine.handle(measure, NOW) == ()
