"""Lanes that a client opens before it needs them: few, while the deposit allows, and topped up before they run dry."""

from protocol import effects as fx
from protocol import events as ev
from protocol.job import Stage
from protocol.params import VCN
from protocol.stages.assignment import Lane
from tests.simulation.histories import later, requested, told
from tests.simulation.node import Node
from tests.simulation.scene import Work, ask
from tests.simulation.world import World
from tests.support.scenes.simulated_jobs import choose
from tests.support.scenes.stalled_cases import asked_for

LANE = 20 * VCN


def town(deposit_vcn: int = 100, **settings: object) -> tuple[World, Node]:
    """A client that has asked for nothing, and three providers, the best first."""
    world = World()
    client = world.add("requester", {"requester"})
    choose(client, **settings)
    world.chain.deposit(client.address, deposit_vcn * VCN)
    for number, stake_vcn in enumerate((30_000, 20_000, 10_000)):
        world.add(f"provider-{number}", {"provider", "verifier"}, stake_vcn)
    world.start()
    return world, client


def lanes(world: World) -> dict[str, Lane]:
    """The lanes on chain by the name of their node."""
    names = {node.address: node.name for node in world.nodes.values()}
    return {names[lane.node]: lane for lane in world.chain.contracts.lanes.values()}


def run_job(world: World, number: int = 1) -> int:
    """Ask for a job and run it to its answer. Returns: how long it took to be at work, in ms."""
    world.soon(lambda: world.node("requester").take(ask(number, now_ms=world.now_ms)), 0)
    world.run(lambda: len(requested(world)) == number)
    asked_ms = world.now_ms
    world.run(lambda: requested(world)[-1].stage is Stage.RUNNING, 60)
    taken_ms = world.now_ms - asked_ms
    world.run(lambda: requested(world)[-1].stage is not Stage.RUNNING, 60)
    return taken_ms


def test_a_client_opens_no_lane_ahead_unless_it_is_told_to() -> None:
    world, client = town()
    asked = asked_for(client, fx.OpenLane)
    later(world, 30_000)
    assert asked == []


def test_a_first_job_with_a_node_that_has_a_lane_ahead_waits_for_no_block() -> None:
    world, _ = town(lanes_ahead=1)
    later(world, 20_000)
    assert {name: lane.left for name, lane in lanes(world).items()} == {"provider-0": LANE}
    assert run_job(world) < 1_000
    # That one is used now, and there is another in its place.
    later(world, 60_000)
    assert set(lanes(world)) == {"provider-0", "provider-1"}


def test_so_many_lanes_are_unused_and_no_more() -> None:
    world, client = town(lanes_ahead=2)
    asked = asked_for(client, fx.OpenLane)
    later(world, 120_000)
    assert set(lanes(world)) == {"provider-0", "provider-1"}
    assert len(asked) == 2


def test_a_deposit_that_is_needed_for_a_hire_is_not_locked_ahead() -> None:
    world, _ = town(deposit_vcn=39, lanes_ahead=2)
    later(world, 30_000)
    assert lanes(world) == {}
    run_job(world)
    assert len(lanes(world)) == 1


def test_a_lane_that_cannot_be_opened_ahead_is_not_asked_for_every_second() -> None:
    world, client = town(lanes_ahead=1)
    world.chain.change(lambda contracts: contracts.pause_intake(contracts.timestamp + 40))
    asked = asked_for(client, fx.OpenLane)
    later(world, 30_000)
    assert asked == []
    later(world, 60_000)
    assert len(asked) == 1


def test_a_node_that_goes_away_or_lacks_the_model_is_not_likely_to_be_hired() -> None:
    world, _ = town(lanes_ahead=1)
    for name in ("provider-0", "provider-1"):
        world.node(name).take(ev.HoldBegun(ev.Hold.DRAIN, world.now_ms))
    later(world, 20_000)
    assert set(lanes(world)) == {"provider-2"}


def test_a_lane_is_topped_up_before_it_runs_dry() -> None:
    world, client = town(lane_amount=4 * VCN)
    asked = asked_for(client, fx.OpenLane)
    later(world, 6_000)
    waits = [run_job(world, number) for number in range(1, 6)]
    assert len(asked) > 1
    # Only the first one waited for a block.
    assert max(waits[1:]) < 1_000 < waits[0]
    later(world, 60_000)
    assert not told(world, ev.EffectFailed)
    (lane,) = lanes(world).values()
    assert lane.left >= VCN


def test_a_single_dear_job_locks_no_more_than_it_needs() -> None:
    world, client = town(lane_amount=2 * VCN)
    asked = asked_for(client, fx.OpenLane)
    later(world, 6_000)
    run_job(world)
    later(world, 60_000)
    assert len(asked) == 1


def test_a_lane_ahead_is_opened_once_by_a_client_that_restarts() -> None:
    world, client = town(lanes_ahead=1)
    asked = asked_for(client, fx.OpenLane)
    world.run(lambda: bool(asked), 60)
    world.kill(client, 3_000)
    later(world, 60_000)
    assert {name: lane.left for name, lane in lanes(world).items()} == {"provider-0": LANE}


def test_a_node_that_has_failed_is_given_no_lane_ahead() -> None:
    world, _ = town(lanes_ahead=1)
    world.node("provider-0").work = Work.FAILING
    later(world, 20_000)
    assert set(lanes(world)) == {"provider-0"}
    run_job(world)
    later(world, 60_000)
    assert set(lanes(world)) == {"provider-0", "provider-1", "provider-2"}
