"""Cases that do not end with their first three seats, through the shipped machines."""

from typing import Any

from protocol import events as ev
from protocol.job import Stage
from protocol.params import MAX_ANSWER_BYTES
from protocol.roles.verifier.turn import ANSWERS
from protocol.stages.commitment import LeafEntry, missing_leaf
from protocol.stages.verification import SampleOpening, Verdict
from protocol.wire.codec import decode_named, encode_named
from protocol.wire.ids import ZERO_ADDRESS, TimestampMs
from tests.simulation.histories import appealed, asked_on_chain, crowd, grown, requested, settled, told
from tests.simulation.scene import Work
from tests.simulation.world import World
from tests.support.scenes.simulated_courts import STAKE, only, refunded

APPEAL_S = 20


def told_ms(world: World, kind: type[Any]) -> int:
    """When the requester heard it first."""
    return next(at_ms for at_ms, event in world.heard["requester"] if isinstance(event, kind))


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


def test_what_a_seat_asks_for_on_chain_is_shown_there() -> None:
    world = asked_on_chain()
    assert requested(world)[0].stage is Stage.SPENDABLE
    demanded, answered = only(world, ev.DataDemanded), only(world, ev.DataAnswered)
    shown = decode_named(ANSWERS, answered.data, MAX_ANSWER_BYTES)
    assert isinstance(shown, SampleOpening)
    assert (shown.batch_id, shown.leaf_index) == (demanded.batch_id, demanded.leaf_index)
    assert answered.timestamp <= demanded.until
    assert not told(world, ev.NodeSlashed)


def test_a_node_that_shows_nothing_is_jailed_and_its_client_refunded() -> None:
    world = crowd()
    world.run(lambda: bool(told(world, ev.CaseConvened)))
    case = told(world, ev.CaseConvened)[0]
    world.kill(world.node("provider"), 3_600_000)
    demand = (case.seats[0], case.batch_id, 0, case.drawn[0], bytes(32))
    world.chain.change(lambda contracts: contracts.demand_data(*demand))
    world.run(lambda: bool(requested(world)) and requested(world)[0].stage is Stage.REFUNDED, 600)
    assert refunded(world)
    assert only(world, ev.CaseResolved).verdict is Verdict.WITHHELD
    (slashed,) = {event.amount for event in told(world, ev.NodeSlashed) if event.node == case.node}
    assert 0 < slashed < STAKE // 2


def test_rubbish_on_chain_is_as_if_nothing_had_come() -> None:
    world = crowd()
    world.run(lambda: bool(told(world, ev.CaseConvened)))
    case = told(world, ev.CaseConvened)[0]
    seat = next(node for node in world.nodes.values() if node.address == case.seats[0])
    for data in (b"rubbish", encode_named(SampleOpening(bytes(32), 0, missing(), (), b"", b"", b""))):
        assert seat.machine.handle(ev.DataAnswered(case.batch_id, data, 0), TimestampMs(world.now_ms)) == ()
    settled(world)
    assert requested(world)[0].stage is Stage.SPENDABLE


def missing() -> LeafEntry:
    """A leaf that no job stands behind."""
    return LeafEntry(missing_leaf(ZERO_ADDRESS, ZERO_ADDRESS, 1), None)
