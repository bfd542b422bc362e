"""Cases that do not end with their first three seats, through the shipped machines."""

from typing import Any

from protocol import events as ev
from protocol.job import Stage
from protocol.params import VCN
from protocol.stages.verification import Verdict
from tests.simulation.histories import appealed, crowd, grown, requested, settled, told
from tests.simulation.scene import Work
from tests.simulation.test_scenarios import money
from tests.simulation.world import World

APPEAL_S = 20
STAKE = 20_000 * VCN


def only(world: World, kind: type[Any]) -> Any:
    """What was told of one kind: the same to everybody."""
    (found,) = set(told(world, kind))
    return found


def told_ms(world: World, kind: type[Any]) -> int:
    """When the requester heard it first."""
    return next(at_ms for at_ms, event in world.heard["requester"] if isinstance(event, kind))


def refunded(world: World) -> bool:
    (job,) = requested(world)
    return job.stage is Stage.REFUNDED and money(world, job) == 100 * VCN


def test_fraud_is_punished_and_refunded_once_nobody_has_appealed() -> None:
    world = settled(crowd(Work.DISHONEST))
    assert refunded(world)
    assert (only(world, ev.CaseDecided).verdict, only(world, ev.CaseResolved).verdict) == (Verdict.SEVERE,) * 2
    assert only(world, ev.NodeSlashed).amount == STAKE // 2
    waited_ms = told_ms(world, ev.CaseResolved) - told_ms(world, ev.CaseDecided)
    assert APPEAL_S * 1_000 <= waited_ms < 2 * APPEAL_S * 1_000
    assert not told(world, ev.CaseGrown)


def test_the_seats_end_it_where_the_guilty_node_does_not() -> None:
    world = crowd(Work.DISHONEST)
    world.run(lambda: bool(told(world, ev.CaseDecided)))
    world.node("provider").silent = True
    world.run(lambda: bool(told(world, ev.CaseResolved)), 60)
    assert only(world, ev.CaseResolved).verdict is Verdict.SEVERE


def test_the_client_ends_it_where_nobody_else_does() -> None:
    world = crowd(Work.DISHONEST)
    world.run(lambda: bool(told(world, ev.CaseDecided)))
    for node in world.nodes.values():
        node.silent = node.name != "requester"
    world.run(lambda: requested(world)[0].stage is Stage.REFUNDED, 600)
    assert refunded(world)


def test_a_liar_among_three_seats_calls_seven_others_who_let_it_pass() -> None:
    world = grown()
    assert requested(world)[0].stage is Stage.SPENDABLE
    case = only(world, ev.CaseGrown)
    assert (case.round, case.first_seat, case.standing) == (1, 3, Verdict.PASS)
    assert only(world, ev.CaseResolved).verdict is Verdict.PASS
    assert {event.seat for event in told(world, ev.SeatRevealed)} == set(range(10))
    assert not told(world, ev.NodeSlashed)


def test_two_liars_among_three_seats_convict_nobody() -> None:
    world = grown(liars=2)
    assert only(world, ev.CaseGrown).standing is Verdict.SEVERE
    assert requested(world)[0].stage is Stage.SPENDABLE


def test_an_appeal_of_the_guilty_costs_its_bond() -> None:
    world = appealed()
    assert refunded(world)
    assert only(world, ev.CaseGrown).standing is Verdict.SEVERE
    assert only(world, ev.CaseResolved).verdict is Verdict.SEVERE
    contracts = world.chain.contracts
    assert (list(contracts.wallets.values()), contracts.bonds) == ([-STAKE // 100], 0)


def test_an_appeal_of_the_innocent_gives_it_back() -> None:
    world = crowd()
    world.run(lambda: bool(told(world, ev.CaseConvened)))
    case, batch = only(world, ev.CaseConvened), told(world, ev.BatchSubmitted)[0]
    for node in world.nodes.values():
        if node.address in case.seats:
            node.work = Work.DISHONEST
    world.run(lambda: bool(told(world, ev.CaseDecided)))
    world.chain.change(lambda contracts: contracts.appeal(case.node, batch.batch_id, batch.contents))
    settled(world)
    assert requested(world)[0].stage is Stage.SPENDABLE
    assert list(world.chain.contracts.wallets.values()) == [0]
    assert not told(world, ev.NodeSlashed)
