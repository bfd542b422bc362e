"""A node that settles what code alone can condemn: its own seats prove it, and no other party loses anything."""

from dataclasses import replace
from typing import Any

from protocol import effects as fx
from protocol import events as ev
from protocol.job import Stage
from protocol.stages.commitment import LeafEntry
from protocol.stages.verification import Verdict
from protocol.timers import FraudProofTimer
from protocol.wire.ids import ZERO_HASH
from protocol.wire.merkle import root
from tests.simulation.histories import LIMIT_S, claimed, crowd, requested, settled, told
from tests.simulation.node import Node
from tests.simulation.world import Answer, World
from tests.support.scenes.simulated_courts import STAKE, only, refunded


def fraud_kind(node: Node, **changes: Any) -> None:
    """A node's batches have leaves with these changes and without receipts, and say that all is well."""
    perform = node.perform

    def lying(who: Node, effect: fx.Effect, answer: Answer) -> None:
        if isinstance(effect, fx.SubmitBatch):
            (own,) = (each for each in node.machine.provider.settler.own.all if each.batch == effect.batch)
            own.entries = [_without_receipt(entry, **changes) for entry in own.entries]
            top = root([entry.leaf.node for entry in own.entries])
            own.batch = replace(own.batch, root=top.hash)
            effect = fx.SubmitBatch(own.batch)
        perform(who, effect, answer)

    node.perform = lying


def _without_receipt(entry: LeafEntry, **changes: Any) -> LeafEntry:
    assert entry.job is not None
    return LeafEntry(replace(entry.leaf, receipt_hash=ZERO_HASH, **changes), replace(entry.job, receipt=None))


def provers(world: World) -> set[str]:
    """The seats that have heard that their proof, or another one, is in a block."""
    return {
        name for name, event in world.log if isinstance(event, ev.TransactionMined) and event.effect is fx.ProveFraud
    }


def stakes(world: World) -> dict[str, int]:
    found = world.chain.contracts.nodes
    return {node.name: found[node.address].stake for node in world.nodes.values() if node.address in found}


def test_a_leaf_without_its_receipt_is_proved_by_its_seats_and_its_client_has_its_money_back() -> None:
    world = crowd()
    fraud_kind(world.node("provider"))
    world.run(lambda: bool(told(world, ev.CaseConvened)), LIMIT_S)
    before = stakes(world)
    settled(world)
    assert refunded(world)
    case = only(world, ev.CaseConvened)
    seats = {node.name for node in world.nodes.values() if node.address in case.seats}
    assert provers(world)
    assert provers(world) <= seats
    # Code has ended it: no seat had to reveal or to wait for an appeal.
    ended = only(world, ev.CaseResolved)
    assert (ended.batch_id, ended.verdict, ended.median) == (case.batch_id, Verdict.SEVERE, 0)
    assert not told(world, ev.CaseDecided)
    assert only(world, ev.NodeSlashed).amount == STAKE // 2
    assert before["provider"] == STAKE
    assert stakes(world) == {**before, "provider": STAKE // 2}


def test_a_claim_that_no_seat_slashes_for_costs_the_stake_where_its_client_had_not_agreed() -> None:
    world = claimed()
    assert refunded(world)
    assert only(world, ev.CaseResolved).verdict is Verdict.SEVERE
    assert only(world, ev.NodeSlashed).amount == STAKE // 2


def test_one_seat_is_enough_where_the_others_stay_silent() -> None:
    world = crowd()
    fraud_kind(world.node("provider"))
    world.run(lambda: bool(told(world, ev.CaseConvened)), LIMIT_S)
    honest, *others = told(world, ev.CaseConvened)[0].seats
    for node in world.nodes.values():
        node.silent = node.address in others
    settled(world)
    assert refunded(world)
    assert provers(world) == {node.name for node in world.nodes.values() if node.address == honest}
    assert not told(world, ev.SeatRevealed)


def test_a_seat_that_is_killed_when_it_has_asked_for_its_proof_asks_again() -> None:
    world = crowd()
    fraud_kind(world.node("provider"))
    world.run(lambda: bool(told(world, ev.CaseConvened)), LIMIT_S)
    only_seat, *others = told(world, ev.CaseConvened)[0].seats
    for node in world.nodes.values():
        node.silent = node.address in others
    seat = next(node for node in world.nodes.values() if node.address == only_seat)
    hear, killed = seat.hear, []

    def watch(node: Node, event: ev.Event) -> None:
        hear(node, event)
        if isinstance(event, ev.DeadlinePassed) and isinstance(event.timer, FraudProofTimer) and not killed:
            killed.append(event)
            world.soon(lambda: world.kill(seat, 10_000), 0)

    seat.hear = watch
    settled(world)
    assert killed
    assert refunded(world)
    assert provers(world) == {seat.name}


def test_an_honest_job_has_no_proof_sent() -> None:
    world = settled(crowd())
    assert requested(world)[0].stage is Stage.SPENDABLE
    assert provers(world) == set()
