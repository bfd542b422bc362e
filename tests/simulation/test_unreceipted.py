"""A job whose answer never reaches its client: brought on chain in time, or never paid."""

import pytest

from protocol import events as ev
from protocol.job import TERMINAL, JobState, Stage
from protocol.params import RETRY_AFTER_DEADLINE_S, VCN
from protocol.stages.verification import Verdict
from tests.simulation.scene import ask
from tests.simulation.world import World
from tests.support.scenes.unreceipted_jobs import hold_up, is_answer, lose


def town() -> World:
    """A requester, a provider, one to move to, and seats; the provider's answers get lost."""
    world = World()
    world.chain.deposit(world.add("requester", {"requester"}).address, 100 * VCN)
    world.add("provider", {"provider"}, 20_000)
    world.add("spare", {"provider"}, 10_000)
    for number in range(4):
        world.add(f"seat-{number}", {"verifier"}, 5_000)
    world.start()
    lose(world.node("provider"), is_answer)
    requester = world.node("requester")
    world.soon(lambda: requester.take(ask(now_ms=world.now_ms)), 3_000)
    return world


def job(world: World) -> JobState:
    return world.node("requester").machine.requester.jobs[0]


def until_ended(world: World) -> JobState:
    world.run(lambda: bool(world.node("requester").machine.requester.jobs), 60)
    world.run(lambda: job(world).stage in TERMINAL, 2_000)
    return job(world)


def test_without_a_receipt_it_is_brought_on_chain_in_time_checked_and_paid_once():
    world = town()
    done = until_ended(world)
    (batch,) = (event for name, event in world.log if name == "provider" and isinstance(event, ev.BatchSubmitted))
    assert batch.unreceipted
    assert (done.stage, done.attempt) == (Stage.SPENDABLE, 0)
    assert "its answer never came" in done.reason


@pytest.mark.parametrize("blind_s", [1, 400])
def test_too_late_it_is_never_paid_and_another_node_does_it_once_that_is_certain(blind_s: int):
    """Certain for a requester is what it has seen; `blind_s` it sees nothing of the chain."""
    world = town()
    requester, provider = world.node("requester"), world.node("provider")
    hold_up(world, provider, 400_000)
    world.run(lambda: bool(requester.machine.requester.jobs) and job(world).stage is Stage.RUNNING, 200)
    requester.lag_ms = blind_s * 1_000
    (order,) = (order for order in provider.machine.provider._jobs.values())
    dead_s = order.order.details.deadline + RETRY_AFTER_DEADLINE_S
    world.run(lambda: job(world).attempt == 1, 900)
    # All blocks that could hold a batch with it are final.
    assert world.chain.blocks[requester.machine.member.final].before.timestamp >= dead_s
    world.run(lambda: provider.machine.provider.jobs[0].stage is Stage.UNPAID, 900)
    refusals = [event.reason for name, event in world.log if name == "provider" and isinstance(event, ev.EffectFailed)]
    assert any("StaleJob" in reason for reason in refusals)
    assert "no receipt came" in provider.machine.provider.jobs[0].reason
    done = until_ended(world)
    assert (done.stage, done.node) == (Stage.SPENDABLE, world.node("spare").address)
    contracts = world.chain.contracts
    spent = 100 * VCN - contracts.free[requester.address] - sum(lane.left for lane in contracts.lanes.values())
    assert spent == done.debit


@pytest.mark.parametrize(("delay_ms", "mine_by"), [(400_000, 2**40 - 1), (1_000, 0)], ids=["late", "not said"])
def test_a_batch_that_hides_that_it_has_no_receipts_or_is_late_is_void(delay_ms: int, mine_by: int):
    world = town()
    provider = world.node("provider")
    hold_up(world, provider, delay_ms, mine_by=mine_by)

    def verdicts() -> list[Verdict]:
        events = [event for name, event in world.log if name == "provider"]
        ours = {
            event.batch_id
            for event in events
            if isinstance(event, ev.BatchSubmitted) and event.node == provider.address
        }
        return [event.verdict for event in events if isinstance(event, ev.CaseResolved) and event.batch_id in ours]

    # The log is long, and this is asked after each event.
    world.run(lambda: ev.CaseResolved in world.told and bool(verdicts()), 1_500)
    assert verdicts() == [Verdict.SEVERE]
