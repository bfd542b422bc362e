"""Jobs whose client pays to have every one of them checked: a proven node is drawn one time in ten, else."""

from functools import partial

import pytest

from protocol import effects as fx
from protocol import events as ev
from protocol.job import Stage
from protocol.judging.fraud_proofs import FraudKind
from protocol.params import VCN
from protocol.stages.assignment import verify_fee
from protocol.stages.verification import Verdict
from tests.simulation.histories import crowd, requested, settled, told
from tests.simulation.node import Node
from tests.simulation.scene import Work, ask
from tests.simulation.world import Answer, World
from tests.support.scenes.checked_jobs import proven
from tests.support.scenes.simulated_courts import only
from tests.support.scenes.simulated_jobs import money, network
from tests.support.scenes.unreceipted_jobs import hold_up

LAST = 11
APART_MS = 2_000
"""Time between two jobs: a node's queue holds few."""


def asked(world: World, *numbers: int, checked: bool = True) -> None:
    for number in numbers:
        world.soon(partial(world.node("requester").take, ask(number, checked=checked)), 3_000 + APART_MS * number)


def one(work: Work = Work.HONEST) -> World:
    world = proven(work)
    asked(world, 1)
    return settled(world)


def cheat_at(node: Node, number: int) -> None:
    """Of the jobs that a node runs one is done with another model."""
    perform, runs = node.perform, []

    def perform_badly(who: Node, effect: fx.Effect, answer: Answer) -> None:
        if isinstance(effect, fx.RunContainer):
            runs.append(effect)
            node.work = Work.DISHONEST if len(runs) == number else Work.HONEST
        perform(who, effect, answer)

    node.perform = perform_badly


def test_a_checked_job_of_a_proven_node_is_drawn_and_its_seats_have_half_of_its_charge() -> None:
    world = one()
    (job,) = requested(world)
    batch, paid = only(world, ev.BatchSubmitted), only(world, ev.BatchSettled)
    assert (batch.checked, batch.rate_bps, only(world, ev.CaseConvened).drawn) == (True, 10_000, (0,))
    assert Stage.PASSED in [stage for stage, _ in job.history]
    assert job.debit == job.charge + -(-job.charge // 2) + job.bonus
    contracts = world.chain.contracts
    assert money(world, job) == 100 * VCN - job.debit
    for_judging = sum(contracts.rewards.values()) - paid.reward - paid.bonus
    assert for_judging == verify_fee(job.charge, checked=True)
    assert contracts.pool == paid.pooled - for_judging


def test_one_cheat_among_ten_honest_jobs_is_caught_whatever_the_draw() -> None:
    world = proven()
    cheat_at(world.node("provider"), LAST)
    asked(world, *range(1, LAST + 1))
    settled(world, LAST)
    bad = [event for event in set(told(world, ev.CaseResolved)) if event.verdict is Verdict.SEVERE]
    assert len(bad) == 1
    assert only(world, ev.NodeSlashed).amount == 10_000 * VCN
    stages = [job.stage for job in requested(world)]
    in_bad = [job.stage for job in requested(world) if job.batch_id == bad[0].batch_id]
    assert set(in_bad) == {Stage.REFUNDED}
    assert stages.count(Stage.SPENDABLE) == LAST - len(in_bad)
    drawn = sum(len(event.drawn) for event in set(told(world, ev.CaseConvened)))
    assert drawn == LAST


def test_checked_and_other_jobs_of_one_lane_are_settled_apart() -> None:
    world = network()
    asked(world, 1, 2, 5, 6)
    asked(world, 3, 4, 7, checked=False)
    settled(world, 7)
    assert {job.stage for job in requested(world)} == {Stage.SPENDABLE}
    batches = set(told(world, ev.BatchSubmitted))
    for batch in batches:
        inside = [job for job in requested(world) if job.batch_id == batch.batch_id]
        charge = sum(job.charge for job in inside)
        assert batch.contents.debits[0].amount == charge + verify_fee(charge, checked=batch.checked) + batch.sums.bonus
    counts = {
        checked: sum(batch.leaf_count for batch in batches if batch.checked is checked) for checked in (False, True)
    }
    assert counts == {False: 3, True: 4}


@pytest.mark.parametrize(
    ("ordered", "fraud_kind"),
    [(True, FraudKind.NOT_CHECKED), (False, FraudKind.FEE_NOT_AGREED)],
    ids=lambda value: str(value),
)
def test_a_node_that_settles_another_check_than_was_ordered_is_condemned_by_its_seats(
    ordered: bool, fraud_kind: FraudKind
) -> None:
    world = network()
    asked(world, 1, checked=ordered)
    hold_up(world, world.node("provider"), 0, checked=not ordered)
    settled(world)
    (job,) = requested(world)
    assert (job.stage, money(world, job)) == (Stage.REFUNDED, 100 * VCN)
    assert only(world, ev.NodeSlashed).amount == 10_000 * VCN
    assert fraud_kind in {
        seat.machine.verifier.sittings[0].own.fraud_proof.fraud_kind for seat in world.nodes.values() if _proves(seat)
    }


def _proves(node: Node) -> bool:
    sittings = node.machine.verifier.sittings
    return bool(sittings) and sittings[0].own.fraud_proof is not None


def test_a_doubt_costs_its_client_the_check_and_the_pool_nothing() -> None:
    world = one(Work.DOUBTFUL)
    (job,) = requested(world)
    fee = only(world, ev.BatchSubmitted).contents.debits[0].amount - only(world, ev.BatchRefunded).amount
    assert (job.stage, job.charge, job.debit) == (Stage.REFUNDED, 0, fee)
    assert money(world, job) == 100 * VCN - fee
    contracts = world.chain.contracts
    assert fee > 0
    assert contracts.pool + sum(contracts.rewards.values()) == fee


def test_a_checked_job_without_a_receipt_is_in_no_other_batch() -> None:
    world = crowd()
    provider = world.node("provider")
    perform = provider.perform
    world.soon(partial(world.node("requester").take, ask(2, checked=True)), 3_000)

    def deaf(who: Node, effect: fx.Effect, answer: Answer) -> None:
        if not (isinstance(effect, fx.Send) and type(effect.message).__name__ in ("ResultDelivery", "TokenFrame")):
            perform(who, effect, answer)

    provider.perform = deaf
    world.run(lambda: len(set(told(world, ev.BatchSubmitted))) == 2, 1_000)
    assert {(batch.unreceipted, batch.checked) for batch in told(world, ev.BatchSubmitted)} == {
        (True, True),
        (True, False),
    }
