"""Whole jobs through the shipped machines, in a world without a network or a chain."""

import dataclasses

import pytest

from protocol import effects as fx
from protocol import events as ev
from protocol.job import TERMINAL, Stage
from protocol.params import VCN
from protocol.roles.machine import Machine
from protocol.roles.member import NO_DEVICE
from protocol.stages.assignment import AssignmentOrder, SignedRefuse
from protocol.stages.execution import sampling_seed
from protocol.stages.token_rules import signed_temperature
from protocol.timers import OfflineTimer, Timer
from protocol.wire.ids import TimestampMs, Wei, address_bytes
from tests.simulation.scene import Work, ask
from tests.simulation.world import World
from tests.support.scenes.simulated_jobs import money, network


def job(world: World):
    requester = next(node for node in world.nodes.values() if node.name == "requester")
    jobs = requester.machine.requester.jobs
    return jobs[0] if jobs else None


def submit(world: World, **kwargs):
    requester = next(node for node in world.nodes.values() if node.name == "requester")
    world.soon(lambda: requester.take(ask(**kwargs)), 3_000)
    world.run(lambda: (found := job(world)) is not None and found.stage in TERMINAL)
    return job(world)


def test_a_lane_that_its_client_closes_is_opened_again_for_the_next_job():
    world = network()
    submit(world)
    requester, (lane,) = world.node("requester"), world.chain.contracts.lanes
    world.chain.change(lambda contracts: contracts.set_lane(dataclasses.replace(contracts.lanes[lane], closing=True)))
    world.run(lambda: requester.machine.member.money.lanes[lane].closing, 60)
    requester.take(ask(2, now_ms=world.now_ms))
    world.run(lambda: requester.machine.requester.jobs[1].stage in TERMINAL, 600)
    assert requester.machine.requester.jobs[1].stage is Stage.SPENDABLE
    assert not world.chain.contracts.lanes[lane].closing


def test_an_honest_job_is_paid_burned_and_pooled():
    world = network()
    done = submit(world)
    assert done.stage is Stage.SPENDABLE
    assert [stage for stage, _ in done.history] == [
        Stage.REQUESTED,
        Stage.OFFERED,
        Stage.ASSIGNED,
        Stage.RUNNING,
        Stage.DELIVERED,
        Stage.IN_BATCH,
        Stage.DRAWN,
        Stage.PASSED,
        Stage.SPENDABLE,
    ]
    contracts = world.chain.contracts
    assert sum(contracts.rewards.values()) + contracts.burned + contracts.pool == done.debit
    assert money(world, done) == 100 * VCN - done.debit


def test_the_provider_shows_the_same_stages():
    world = network()
    done = submit(world)
    provider = next(node for node in world.nodes.values() if node.name == "provider")
    world.run(lambda: provider.machine.provider.jobs[0].stage is Stage.SPENDABLE)
    shown = provider.machine.provider.jobs[0]
    assert shown.job_id == done.job_id
    assert shown.charge == done.charge


def test_a_dishonest_result_is_voided_and_refunded():
    world = network(work=Work.DISHONEST)
    done = submit(world)
    assert done.stage is Stage.REFUNDED
    assert done.debit == 0
    assert money(world, done) == 100 * VCN
    assert next(event for _, event in world.log if isinstance(event, ev.NodeSlashed)).amount == 10_000 * VCN


def test_a_doubtful_result_is_refunded_and_costs_no_stake():
    world = network(work=Work.DOUBTFUL)
    done = submit(world)
    assert done.stage is Stage.REFUNDED
    assert Stage.REVIEW in [stage for stage, _ in done.history]
    assert money(world, done) == 100 * VCN
    assert not [event for _, event in world.log if isinstance(event, ev.NodeSlashed)]


def test_one_seat_cannot_void_alone():
    world = network(work=Work.DISHONEST)
    submit(world)
    added = {event.seat for _, event in world.log if isinstance(event, ev.SeatAdded)}
    assert added == {1, 2}


def test_a_valuable_job_seats_three_at_once():
    world = network()
    done = submit(world, max_new_tokens=2_000)
    assert done.stage is Stage.SPENDABLE
    convened = next(event for _, event in world.log if isinstance(event, ev.CaseConvened))
    assert len(convened.seats) == 3


def test_a_dishonest_seat_is_outvoted():
    world = World()
    client = world.add("requester", {"requester"})
    world.chain.deposit(client.address, 100 * VCN)
    world.add("provider", {"provider"}, 5_000)
    world.add("liar", {"verifier"}, 20_000, Work.DISHONEST)
    world.add("verifier-1", {"verifier"}, 5_000)
    world.add("verifier-2", {"verifier"}, 5_000)
    world.start()
    done = submit(world, max_new_tokens=2_000)
    assert done.stage is Stage.SPENDABLE
    scores = sorted({min(event.scores) for _, event in world.log if isinstance(event, ev.SeatRevealed)})
    assert scores[0] <= 8_500
    assert scores[-1] > 9_500


def test_of_equal_reputation_the_larger_stake_is_hired():
    world = network()
    world.join(world.add("rich", {"provider"}, 80_000))
    done = submit(world)
    assert world.node("rich").address == done.node


def test_the_better_reputation_is_hired_before_the_larger_stake():
    world = network()
    world.join(world.add("known", {"provider"}, 5_000))
    world.earn("known", 100)
    done = submit(world)
    assert world.node("known").address == done.node


def test_a_failing_node_is_left_for_the_next_one():
    world = network()
    world.join(world.add("broken", {"provider"}, 80_000, Work.FAILING))
    done = submit(world)
    assert done.stage is Stage.SPENDABLE
    assert done.attempt == 1
    assert "broken" not in {node.name for node in world.nodes.values() if node.address == done.node}


def test_a_batch_that_nobody_judges_is_void_and_refunded():
    world = network()
    for node in world.nodes.values():
        node.silent = node.name.startswith("verifier")
    done = submit(world)
    assert done.stage is Stage.REFUNDED
    assert money(world, done) == 100 * VCN


def test_a_silent_node_is_left_for_the_next_one_at_once():
    world = network()
    silent = world.add("silent", {"provider"}, 80_000)
    world.join(silent)
    world.soon(lambda: setattr(silent, "silent", True), 3_100)
    done = submit(world)
    assert done.stage is Stage.SPENDABLE
    assert done.node != silent.address


def test_the_job_of_a_node_that_dies_is_moved_as_soon_as_it_is_missed():
    world = network()
    world.join(world.add("spare", {"provider"}, 10_000))
    requester, provider = world.node("requester"), world.node("provider")
    world.soon(lambda: requester.take(ask()), 3_000)
    world.run(lambda: (found := job(world)) is not None and found.stage is Stage.RUNNING)
    killed_ms = world.now_ms
    world.kill(provider, 600_000)
    world.run(lambda: job(world).node == world.node("spare").address)
    assert world.now_ms - killed_ms <= 20_000
    world.run(lambda: job(world).stage in TERMINAL)
    assert job(world).stage is Stage.SPENDABLE


def test_who_hears_nobody_moves_nothing():
    world = network()
    world.join(world.add("spare", {"provider"}, 10_000))
    requester = world.node("requester")
    world.soon(lambda: requester.take(ask()), 3_000)
    world.run(lambda: (found := job(world)) is not None and found.stage is Stage.RUNNING)
    requester.machine.member.peers = {
        node: dataclasses.replace(peer, heard_ms=TimestampMs(world.now_ms - 60_000))
        for node, peer in requester.machine.member.peers.items()
    }
    requester.take(ev.Tick())
    assert not [timer for timer in asked_timers(requester) if isinstance(timer, OfflineTimer)]


def asked_timers(node) -> list[Timer]:
    return [asked.effect.timer for asked in node.asked.values() if isinstance(asked.effect, fx.AwaitDeadline)]


def test_a_node_that_failed_is_not_hired_for_the_next_job():
    world = network()
    world.join(world.add("broken", {"provider"}, 80_000, Work.FAILING))
    requester = world.node("requester").machine.requester
    assert submit(world).attempt == 1
    world.soon(lambda: world.node("requester").take(ask(2, now_ms=world.now_ms)), 1_000)
    world.run(lambda: len(requester.jobs) == 2 and requester.jobs[1].stage in TERMINAL)
    assert (requester.jobs[1].stage, requester.jobs[1].attempt) == (Stage.SPENDABLE, 0)


def test_a_node_that_failed_is_hired_again_where_nobody_else_is_able():
    world = World()
    world.chain.deposit(world.add("requester", {"requester"}).address, 100 * VCN)
    world.add("provider", {"provider"}, 20_000, Work.FAILING)
    for number in range(3):
        world.add(f"verifier-{number}", {"verifier"}, 5_000)
    world.start()
    requester = world.node("requester").machine.requester
    assert submit(world).stage is Stage.UNSERVED
    world.node("provider").work = Work.HONEST
    world.soon(lambda: world.node("requester").take(ask(2, now_ms=world.now_ms)), 1_000)
    world.run(lambda: len(requester.jobs) == 2 and requester.jobs[1].stage in TERMINAL)
    assert requester.jobs[1].stage is Stage.SPENDABLE


def crowd(jobs: int) -> World:
    """One provider with one slot; `greedy` asks for many jobs at once, `modest` for one, a moment later."""
    world = World()
    for name in ("greedy", "modest"):
        world.chain.deposit(world.add(name, {"requester"}).address, 100 * VCN)
    world.add("provider", {"provider"}, 50_000)
    for number in range(3):
        world.add(f"verifier-{number}", {"verifier"}, 5_000)
    world.start()
    for number in range(jobs):
        world.soon(lambda number=number: world.node("greedy").take(patient(number + 1)), 3_000)
    world.soon(lambda: world.node("modest").take(patient(100)), 9_000)
    return world


def patient(number: int) -> ev.JobAsked:
    """A job whose client lets it wait behind as many as a queue holds."""
    return dataclasses.replace(ask(number), timeout_ms=300_000)


def test_clients_take_turns_in_the_queue():
    world = crowd(6)
    (modest,) = until_ended(world, "modest")
    until_ended(world, "greedy")
    ran = [event.job_id for name, event in world.log if name == "provider" and isinstance(event, ev.ContainerExited)]
    assert modest.stage is Stage.SPENDABLE
    # It came seventh.
    assert len(ran) == 7
    assert ran.index(modest.job_id) <= 3


def test_one_client_fills_half_of_the_queue_at_most():
    world = crowd(20)
    assert until_ended(world, "modest")[0].stage is Stage.SPENDABLE
    greedy = until_ended(world, "greedy")
    refused = [view for view in greedy if view.stage is Stage.UNSERVED]
    assert 0 < len(refused) < len(greedy)
    assert all("busy" in view.reason for view in refused)
    waits = [
        event.message.refuse.retry_after_ms
        for name, event in world.log
        if name == "greedy" and isinstance(event, ev.MessageReceived) and isinstance(event.message, SignedRefuse)
    ]
    # Nine jobs of 128 tokens at 50 ms a token.
    assert max(waits) == 9 * 128 * 50


def until_ended(world: World, name: str):
    jobs = world.node(name).machine.requester
    world.run(lambda: bool(jobs.jobs) and all(view.stage in TERMINAL for view in jobs.jobs))
    return jobs.jobs


def test_a_request_that_cannot_be_signed_ends_at_once():
    world = network()
    requester = world.node("requester")
    requester.take(ask())
    nonce = ask().nonce.to_bytes(8, "big")
    requester.take(ev.EffectFailed(fx.SignMessage, nonce, "the clock of this machine is wrong", False))
    assert job(world).stage is Stage.UNSERVED
    assert "clock" in job(world).reason


@pytest.mark.parametrize(("lane_vcn", "every_ms"), [(1, 9_000), (3, 6_500)])
def test_batches_that_move_a_lane_while_it_is_opened_further_cost_no_job(lane_vcn: int, every_ms: int):
    world = network()
    requester = world.node("requester")
    jobs = requester.machine.requester
    member = requester.machine.member
    member.settings = dataclasses.replace(member.settings, lane_amount=Wei(lane_vcn * VCN))
    for number in range(1, 41):
        world.soon(lambda number=number: requester.take(ask(number)), every_ms * number)
    world.run(lambda: len(jobs.jobs) == 40 and all(view.stage in TERMINAL for view in jobs.jobs))
    assert {view.stage for view in jobs.jobs} == {Stage.SPENDABLE}, {view.reason for view in jobs.jobs}
    opened = [event for _, event in world.log if isinstance(event, ev.TransactionMined) and event.effect is fx.OpenLane]
    assert len(opened) > 1


@pytest.mark.parametrize("own", [True, False])
def test_a_lane_that_cannot_be_opened_ends_the_jobs_that_wait_for_it_and_no_other(own: bool):
    world = network()
    requester = world.node("requester")
    world.soon(lambda: requester.take(ask()), 3_000)
    world.run(lambda: (found := job(world)) is not None and found.stage is Stage.OFFERED and found.node is not None)
    node = job(world).node if own else world.node("verifier-0").address
    requester.take(ev.EffectFailed(fx.OpenLane, address_bytes(node), "NotEnoughFree", False))
    world.run(lambda: job(world).stage in TERMINAL)
    assert job(world).stage is (Stage.UNSERVED if own else Stage.SPENDABLE)
    assert ("NotEnoughFree" in job(world).reason) is own


def test_nobody_able_is_said_plainly():
    world = network()
    done = submit(world, max_price_vcn=1, max_new_tokens=2_000)
    assert done.stage is Stage.UNSERVED
    assert "no able node" in done.reason
    assert world.chain.contracts.lanes == {}


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_gives_the_same_history(seed: int):
    first, second = network(seed), network(seed)
    submit(first)
    submit(second)
    assert first.trace() == second.trace()


def test_folding_the_durable_events_gives_the_same_jobs():
    world = network()
    submit(world)
    for node in world.nodes.values():
        machine = Machine(node.machine.identity, node.machine.rules, node.machine.settings)
        for event, when_ms, _ in node.journal:
            if event is not None:
                machine.handle(event, when_ms)
        assert [view.stage for view in machine.requester.jobs] == [view.stage for view in node.machine.requester.jobs]
        assert [view.stage for view in machine.provider.jobs] == [view.stage for view in node.machine.provider.jobs]


def test_a_beat_claims_no_more_slots_than_the_machine_has_now():
    world = network()
    provider = world.node("provider")
    provider.take(ev.DeviceReported(NO_DEVICE))
    world.run(lambda: world.now_ms > world.started_ms + 12_000)
    beats = [event.heartbeat for _, event in world.log if isinstance(event, ev.HeartbeatReceived)]
    newest = max((beat for beat in beats if beat.node_id == provider.address), key=lambda beat: beat.counter)
    assert (newest.slots, newest.class_ids) == (0, ())


def test_a_beat_tells_how_many_jobs_the_containers_hold():
    world = network()
    provider = world.node("provider")
    provider.machine.member.settings = dataclasses.replace(provider.settings, slots=2, at_once=8)
    provider.take(ev.DeviceReported(dataclasses.replace(NO_DEVICE, slots=1)))
    world.run(lambda: world.now_ms > world.started_ms + 12_000)
    beats = [event.heartbeat for _, event in world.log if isinstance(event, ev.HeartbeatReceived)]
    newest = max((beat for beat in beats if beat.node_id == provider.address), key=lambda beat: beat.counter)
    assert newest.slots == 8


def test_node_and_seats_draw_tokens_by_what_the_client_signed():
    world = network()
    done = submit(world, temperature=800)
    assert (done.stage, done.temperature) == (Stage.SPENDABLE, 800)
    assert {name for name, _ in world.specs} > {"provider"}
    nonce = next(
        event.message.details.seed_nonce
        for _, event in world.heard["provider"]
        if isinstance(event, ev.MessageReceived) and isinstance(event.message, AssignmentOrder)
    )
    assert {(s.temperature, s.seed) for _, s in world.specs} == {(800, sampling_seed(done.job_id, nonce))}


def test_word_for_rules_goes_with_the_temperature_to_node_and_seats():
    world = network()
    done = submit(world, temperature=signed_temperature(800, ruled=True))
    assert (done.stage, done.temperature) == (Stage.SPENDABLE, 800)
    assert {spec.temperature for _, spec in world.specs} == {signed_temperature(800, ruled=True)}
    assert {name for name, _ in world.specs} > {"provider"}


def test_a_temperature_that_no_node_serves_is_told_at_once():
    done = submit(network(), temperature=2_001)
    assert (done.stage, done.reason) == (Stage.UNSERVED, "the temperature is 0 to 2000 thousandths")
