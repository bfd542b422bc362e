"""One deposit is played against many nodes: each loses what its owner risks at most, and nothing without a risk."""

from dataclasses import replace

import pytest

from protocol import effects as fx
from protocol import events as ev
from protocol.job import JobState, Stage
from protocol.params import VCN
from protocol.roles.provider.settling import NEVER_OPENED
from protocol.roles.provider.unconfirmed_lanes import LAND_AFTER_MS
from protocol.stages.assignment import RefuseCode
from protocol.stages.lane_notice import SignedLaneOpen
from tests.simulation.histories import later, requested, told
from tests.simulation.node import Node
from tests.simulation.scene import ask
from tests.simulation.world import World
from tests.support.scenes.double_deposits import VALID_S, Spender, add_providers, risked_wei
from tests.support.scenes.simulated_jobs import choose, network
from tests.support.scenes.stalled_cases import asked_for

NODES = 50
RISK = VCN
"""Enough for one job of 0.73 VCN, and not for two."""
SETTLED_MS = (VALID_S + 30) * 1_000


def town(nodes: int = NODES, **settings: object) -> tuple[World, Spender, list[Node]]:
    world = World()
    spender = Spender(world)
    found = add_providers(world, nodes, **settings)
    world.start()
    # Until the deposit is final everywhere.
    later(world, 6_000)
    return world, spender, found


def jobs_of(nodes: list[Node]) -> list[JobState]:
    return [job for node in nodes for job in node.machine.provider.jobs]


def test_one_deposit_shown_to_fifty_nodes_costs_each_no_more_than_its_risk() -> None:
    world, spender, nodes = town(risk_wei=RISK)
    spender.ask()
    world.run(lambda: len(spender.answers) == NODES, 60)
    assert len(spender.counted) == NODES
    assert all(0 < risked_wei(node, world.now_ms) <= RISK for node in nodes)
    # A second job on the same lanes is more than any of them risks.
    spender.waits_for_word = False
    spender.ask(2)
    world.run(lambda: len(spender.refused) == NODES, 60)
    assert set(spender.refused) == {RefuseCode.LANE}
    # Each node lands the lane that it holds, and the deposit pays for one of them.
    world.run(lambda: world.now_ms > world.started_ms + LAND_AFTER_MS + 30_000)
    opened = list(world.chain.contracts.lanes.values())
    assert len(opened) == 1
    assert world.chain.contracts.free[spender.node.address] == 0
    later(world, SETTLED_MS)
    paid = [job for job in jobs_of(nodes) if job.charge]
    assert [job.node for job in paid] == [opened[0].node]
    lost = [job for job in jobs_of(nodes) if not job.charge]
    assert {(job.stage, job.reason) for job in lost} == {(Stage.UNPAID, NEVER_OPENED)}
    assert len(lost) == NODES - 1
    # The loss counts for a day, so that the same trick brings nothing more.
    assert sum(job.most for job in lost) <= (NODES - 1) * RISK
    assert all(risked_wei(node, world.now_ms) for node in nodes if node.address != opened[0].node)
    assert not any(failed.effect is fx.SubmitBatch for failed in told(world, ev.EffectFailed))


def test_nodes_that_risk_nothing_work_for_no_lane_that_is_in_no_block() -> None:
    world, spender, nodes = town(risk_wei=0)
    landed = asked_for(nodes[0], fx.LandLane)
    spender.ask()
    later(world, 10_000)
    spender.waits_for_word = False
    spender.ask(2)
    later(world, SETTLED_MS)
    assert (spender.counted, spender.answers, landed, jobs_of(nodes)) == (set(), set(), [], [])
    assert len(spender.refused) == NODES


def test_many_clients_share_what_a_node_risks_in_a_day() -> None:
    world = World()
    spenders = [Spender(world, "client" if number == 0 else f"client-{number}") for number in range(8)]
    (node,) = add_providers(world, 1, risk_wei=2 * RISK, slots=4)
    world.start()
    later(world, 6_000)
    for spender in spenders:
        spender.ask()
    later(world, 20_000)
    assert sum(len(spender.answers) for spender in spenders) == 2
    assert risked_wei(node, world.now_ms) <= 2 * RISK
    # Their lanes never come, for each withdraws its money.
    for spender in spenders:
        spender.withdraw()
    later(world, SETTLED_MS)
    assert {job.stage for job in jobs_of([node])} == {Stage.UNPAID}
    assert {lane.node for lane in world.chain.contracts.lanes.values()} == {spender.own for spender in spenders}
    # A day later the owner risks as much again, and not before.
    assert risked_wei(node, world.now_ms + 86_400_000 - SETTLED_MS - 60_000)
    assert not risked_wei(node, world.now_ms + 86_400_000)


def test_a_lane_that_never_comes_holds_up_no_batch_of_others() -> None:
    world = network()
    spender = Spender(world, "client")
    provider = world.node("provider")
    choose(provider, risk_wei=RISK)
    world.join(provider)
    later(world, 6_000)
    spender.ask()
    world.run(lambda: bool(spender.answers), 60)
    spender.withdraw()
    world.soon(lambda: world.node("requester").take(ask(now_ms=world.now_ms)), 1_000)
    world.run(lambda: bool(requested(world)) and requested(world)[0].stage is Stage.SPENDABLE, 400)
    later(world, SETTLED_MS)
    assert not any(failed.effect is fx.SubmitBatch for failed in told(world, ev.EffectFailed))
    stages = {job.client: job.stage for job in provider.machine.provider.jobs}
    assert stages[spender.node.address] is Stage.UNPAID


@pytest.mark.parametrize("away_ms", [5_000, 90_000])
def test_a_node_that_restarts_in_between_lands_the_lane_and_is_paid(away_ms: int) -> None:
    world, spender, (node,) = town(1, risk_wei=RISK)
    spender.ask()
    world.run(lambda: any(job.stage is Stage.RUNNING for job in jobs_of([node])), 60)
    world.kill(node, away_ms)
    world.run(lambda: node.up and bool(spender.answers), 200)
    world.run(lambda: all(job.stage in (Stage.IN_BATCH, Stage.SPENDABLE, Stage.DRAWN) for job in jobs_of([node])), 400)
    assert world.chain.contracts.lane(spender.node.address, spender.node.address, node.address).mark


def promised_after_ms(world: World) -> int:
    """From a user's question to the promise of a node."""
    later(world, 6_000)
    world.soon(lambda: world.node("requester").take(ask(now_ms=world.now_ms)), 500)
    world.run(lambda: bool(told(world, ev.JobAsked)))
    asked_ms = world.now_ms
    world.run(lambda: requested(world)[0].stage is Stage.RUNNING, 60)
    return world.now_ms - asked_ms


def test_a_client_with_our_program_waits_for_no_block() -> None:
    waits: dict[int, int] = {}
    for risk in (0, RISK * 20):
        world = network()
        provider = world.node("provider")
        choose(provider, risk_wei=risk, confirmations=3)
        world.join(provider)
        waits[risk] = promised_after_ms(world)
        world.run(lambda world=world: requested(world)[0].stage is Stage.SPENDABLE, 400)  # type: ignore[misc]
        assert len(world.chain.contracts.lanes) == 1
    assert waits[RISK * 20] < 1_000 < waits[0]


def test_one_confirmation_is_enough_where_nothing_is_risked() -> None:
    waits: dict[int, int] = {}
    for confirmations in (1, 3):
        world = network()
        provider = world.node("provider")
        choose(provider, confirmations=confirmations)
        world.join(provider)
        waits[confirmations] = promised_after_ms(world)
        assert risked_wei(provider, world.now_ms) == 0
    assert waits[1] + 1_000 <= waits[3]


def test_a_lane_that_a_reorganisation_takes_out_is_landed_again_by_its_node() -> None:
    world, spender, (node,) = town(1)
    landed = asked_for(node, fx.LandLane)
    spender.ask()
    later(world, 1_000)
    notice: SignedLaneOpen = spender.lane_to(node)
    world.chain.change(lambda contracts: contracts.open_lane(spender.node.address, notice.order, notice.signature))
    world.run(lambda: bool(spender.counted), 30)
    world.run(lambda: bool(jobs_of([node])), 30)
    # The other branch has the block without the client's transaction, which is gone for good.
    world.chain.blocks[-1] = replace(world.chain.blocks[-1], founding=())
    assert world.chain.contracts.lanes
    world.chain.reorg(1, world.now_ms // 1_000)
    assert not world.chain.contracts.lanes
    world.run(lambda: bool(landed), 120)
    world.run(lambda: bool(world.chain.contracts.batches), 60)
    assert len(world.chain.contracts.lanes) == 1
