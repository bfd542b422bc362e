"""A batch of one job that no draw would have checked, which its client has checked for a bond."""

from protocol import effects as fx
from protocol import events as ev
from protocol.job import Stage
from protocol.params import VCN
from protocol.stages.verification import Verdict
from tests.simulation.histories import (
    QUIET_MS,
    challenge,
    challenged,
    doubted,
    later,
    requested,
    settled,
    told,
    trusted,
)
from tests.simulation.node import Node
from tests.simulation.scene import RULES, Work, ask
from tests.simulation.world import Answer
from tests.support.scenes.checked_jobs import proven
from tests.support.scenes.simulated_courts import only, refunded
from tests.support.scenes.simulated_jobs import money
from tests.support.scenes.unreceipted_jobs import hold_up

BOND = RULES.min_deposit


def test_a_challenged_batch_is_judged_and_final_and_the_pool_gets_the_bond() -> None:
    world = challenged()
    (job,) = requested(world)
    assert job.stage is Stage.SPENDABLE
    batch, case = only(world, ev.BatchSubmitted), only(world, ev.CaseConvened)
    assert (batch.leaf_count, batch.rate_bps, case.drawn) == (1, 1_000, (0,))
    assert only(world, ev.CaseResolved).verdict is Verdict.PASS
    contracts, paid = world.chain.contracts, only(world, ev.BatchSettled)
    assert contracts.bonds == 0
    assert money(world, job) == 100 * VCN - job.debit - BOND
    for_judging = sum(contracts.rewards.values()) - paid.reward - paid.bonus
    assert for_judging > 0
    assert contracts.pool == paid.pooled - for_judging + BOND


def test_a_node_that_a_challenge_finds_guilty_pays_and_the_client_has_its_bond_back() -> None:
    world = challenged(Work.DISHONEST)
    assert refunded(world)
    assert only(world, ev.CaseResolved).verdict is Verdict.SEVERE
    assert only(world, ev.NodeSlashed).amount == 10_000 * VCN
    assert world.chain.contracts.bonds == 0


def test_a_node_that_convenes_no_court_is_paid_nothing() -> None:
    world = trusted()
    provider = world.node("provider")
    perform = provider.perform

    def convene_never(who: Node, effect: fx.Effect, answer: Answer) -> None:
        if not isinstance(effect, fx.ConveneCourt):
            perform(who, effect, answer)

    provider.perform = convene_never
    challenge(world)
    world.run(lambda: requested(world)[0].stage is Stage.REFUNDED, 2 * RULES.starved_s)
    batch = only(world, ev.BatchSubmitted)
    world.chain.change(lambda contracts: contracts.end_challenge(batch.node, batch.slot, batch.block))
    later(world, QUIET_MS)
    assert only(world, ev.CaseResolved).verdict is Verdict.STARVED
    assert refunded(world)


def test_a_client_has_a_batch_checked_that_claims_a_receipt_which_it_never_gave() -> None:
    world = doubted()
    client = world.node("requester").address
    batch, challenge = only(world, ev.BatchSubmitted), only(world, ev.BatchChallenged)
    assert (batch.rate_bps, challenge.client, challenge.position) == (1_000, client, 0)
    assert only(world, ev.CaseResolved).verdict is Verdict.SEVERE
    assert only(world, ev.NodeSlashed).amount == 10_000 * VCN
    contracts = world.chain.contracts
    assert contracts.bonds == 0
    assert contracts.free[client] + sum(lane.left for lane in contracts.lanes.values()) == 100 * VCN


def test_a_client_has_a_batch_checked_that_leaves_out_the_check_it_ordered() -> None:
    world = proven()
    hold_up(world, world.node("provider"), 0, checked=False)
    world.soon(lambda: world.node("requester").take(ask(checked=True)), 3_000)
    settled(world)
    assert only(world, ev.BatchChallenged).batch_id == only(world, ev.BatchSubmitted).batch_id
    assert refunded(world)
    assert world.chain.contracts.bonds == 0


def test_a_client_without_a_doubt_challenges_nothing() -> None:
    world = settled(trusted())
    assert told(world, ev.BatchSubmitted)
    assert not told(world, ev.BatchChallenged)
