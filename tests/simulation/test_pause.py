"""The network takes nothing new for a while: what is under way goes on, batches wait, and clients hear why."""

from datetime import UTC, datetime

import pytest

from protocol import effects as fx
from protocol import events as ev
from protocol.job import TERMINAL, Stage
from protocol.params import VCN
from protocol.stages.assignment import RefuseCode, SignedRefuse
from protocol.stages.offer import SignedOffer
from tests.simulation.histories import later, requested, settled, told
from tests.simulation.scene import ask
from tests.support.scenes.simulated_jobs import money, network
from tests.support.scenes.stalled_cases import asked_for
from tests.support.scenes.unreceipted_jobs import is_answer, lose


class Town:
    """A network that may be paused, and the batches, offers and lanes that its people ask for."""

    def __init__(self) -> None:
        self.world = network()
        self.requester, self.provider = self.world.node("requester"), self.world.node("provider")
        self.batches = asked_for(self.provider, fx.SubmitBatch)
        self.sent = asked_for(self.provider, fx.Send)
        self.lanes = asked_for(self.requester, fx.OpenLane)
        self.signed = asked_for(self.requester, fx.SignMessage)
        self.until_s = 0

    def ask(self, number: int = 1) -> None:
        self.world.soon(lambda: self.requester.take(ask(number, now_ms=self.world.now_ms)), 3_000)

    def pause(self, seconds: int) -> None:
        """From the next block on, and known to all once that is final."""
        self.until_s = self.now_s + 1 + seconds
        self.world.chain.change(lambda contracts: contracts.pause_intake(self.until_s))

    def wait(self, stage: Stage) -> None:
        self.world.run(lambda: bool(requested(self.world)) and requested(self.world)[0].stage is stage, 300)

    @property
    def now_s(self) -> int:
        return self.world.now_ms // 1_000


def test_a_job_under_way_is_delivered_and_its_batch_waits_for_the_end_of_the_pause() -> None:
    town = Town()
    town.ask()
    town.wait(Stage.RUNNING)
    town.pause(300)
    town.wait(Stage.DELIVERED)
    town.world.run(lambda: town.now_s >= town.until_s - 1, 400)
    assert (town.batches, requested(town.world)[0].stage) == ([], Stage.DELIVERED)
    settled(town.world)
    assert requested(town.world)[0].stage is Stage.SPENDABLE
    assert len(town.batches) == 1
    assert told(town.world, ev.BatchSubmitted)[0].timestamp >= town.until_s


def test_a_pause_that_ends_early_frees_the_batch() -> None:
    town = Town()
    town.ask()
    town.wait(Stage.RUNNING)
    town.pause(86_400)
    town.wait(Stage.DELIVERED)
    later(town.world, 60_000)
    assert town.batches == []
    town.world.chain.change(lambda contracts: contracts.pause_intake(contracts.timestamp))
    settled(town.world)
    assert requested(town.world)[0].stage is Stage.SPENDABLE


def test_a_case_goes_on_through_a_pause() -> None:
    town = Town()
    town.ask()
    town.wait(Stage.IN_BATCH)
    town.pause(86_400)
    settled(town.world)
    assert requested(town.world)[0].stage is Stage.SPENDABLE


def test_nothing_is_asked_for_nor_locked_and_the_client_hears_until_when() -> None:
    town = Town()
    town.pause(600)
    later(town.world, 10_000)
    town.ask()
    later(town.world, 10_000)
    (job,) = requested(town.world)
    until = datetime.fromtimestamp(town.until_s, UTC)
    assert job.stage is Stage.UNSERVED
    assert f"takes nothing new before {until:%Y-%m-%d %H:%M:%S} UTC" in job.reason
    assert town.signed == town.lanes == []
    assert town.world.chain.contracts.free == {town.requester.address: 100 * VCN}
    town.world.run(lambda: town.now_s > town.until_s, 700)
    town.ask(2)
    settled(town.world, 2)
    assert requested(town.world)[1].stage is Stage.SPENDABLE


def test_a_requester_that_has_not_heard_of_it_finds_nobody_to_hire() -> None:
    town = Town()
    later(town.world, 10_000)
    town.requester.lag_ms = 60_000
    town.pause(600)
    later(town.world, 10_000)
    town.ask()
    later(town.world, 30_000)
    assert [each for each in town.sent if isinstance(each.message, SignedOffer)] == []
    assert told(town.world, ev.RequestReceived)
    (job,) = requested(town.world)
    assert (job.stage, town.lanes) == (Stage.UNSERVED, [])


def test_an_order_that_comes_after_the_pause_has_begun_is_refused_and_costs_nothing() -> None:
    town = Town()
    town.ask()
    town.world.run(lambda: bool(town.lanes))
    # The node hears of it before the requester does.
    town.provider.take(ev.IntakeStopped(town.now_s + 600))
    later(town.world, 60_000)
    refusals = [each.message.refuse.code for each in town.sent if isinstance(each.message, SignedRefuse)]
    assert refusals == [RefuseCode.PAUSED]
    (job,) = requested(town.world)
    assert job.stage is Stage.UNSERVED
    assert money(town.world, job) == 100 * VCN


def test_a_lane_that_a_pause_overtakes_is_not_opened_and_its_job_ends_with_the_reason() -> None:
    town = Town()
    town.ask()
    town.wait(Stage.OFFERED)
    assert town.lanes == []
    town.requester.take(ev.IntakeStopped(town.now_s + 600))
    later(town.world, 10_000)
    (job,) = requested(town.world)
    assert (job.stage, town.lanes) == (Stage.UNSERVED, [])
    assert "takes nothing new before" in job.reason


def test_a_job_without_a_receipt_whose_time_runs_out_in_a_pause_is_paid_to_nobody() -> None:
    town = Town()
    lose(town.provider, is_answer)
    town.ask()
    town.wait(Stage.RUNNING)
    town.pause(86_400)
    town.world.run(lambda: requested(town.world)[0].stage in TERMINAL, 2_000)
    (job,) = requested(town.world)
    assert job.stage is Stage.UNSERVED
    assert "takes nothing new before" in job.reason
    assert [view.stage for view in town.provider.machine.provider.jobs] == [Stage.UNPAID]
    assert town.batches == []
    assert money(town.world, job) == 100 * VCN


@pytest.mark.parametrize("away_ms", [4_000, 100_000])
def test_a_kill_in_a_pause_loses_no_batch(away_ms: int) -> None:
    town = Town()
    town.ask()
    town.wait(Stage.RUNNING)
    town.pause(60)
    town.wait(Stage.DELIVERED)
    for node in (town.provider, town.requester):
        town.world.kill(node, away_ms)
    settled(town.world)
    assert requested(town.world)[0].stage is Stage.SPENDABLE
    assert told(town.world, ev.BatchSubmitted)[0].timestamp >= town.until_s
    # A fold finds the same.
    for node in (town.provider, town.requester):
        before = (node.machine.requester.jobs, node.machine.provider.jobs)
        node.kill()
        node.restart()
        assert (node.machine.requester.jobs, node.machine.provider.jobs) == before
