"""A job whose node is jailed before it brings it on chain: paid once that is over, or given back by its client."""

from dataclasses import replace

from protocol import effects as fx
from protocol.job import Stage
from protocol.params import VCN
from tests.fakes.audits import Audits
from tests.simulation.node import Node
from tests.simulation.scene import ask
from tests.simulation.world import Answer, World


class Town:
    """A requester and a node that goes to jail while it works."""

    def __init__(self) -> None:
        self.world = World()
        self.requester = self.world.add("requester", {"requester"})
        self.provider = self.world.add("provider", {"provider"}, 20_000)
        for number in range(4):
            self.world.add(f"seat-{number}", {"verifier"}, 5_000)
        self.world.chain.deposit(self.requester.address, 100 * VCN)
        self.world.start()
        self.submitted = 0
        self._count_batches()
        self.world.soon(lambda: self.requester.take(ask(now_ms=self.world.now_ms)), 3_000)
        self.world.run(lambda: self.stages == [Stage.RUNNING] * 2, 60)
        self.jail(active=False)
        self.world.run(lambda: self.stages == [Stage.DELIVERED] * 2, 60)
        self.pass_time(600)

    def _count_batches(self) -> None:
        perform = self.provider.perform

        def counted(who: Node, effect: fx.Effect, answer: Answer) -> None:
            self.submitted += isinstance(effect, fx.SubmitBatch)
            perform(who, effect, answer)

        self.provider.perform = counted

    @property
    def stages(self) -> list[Stage]:
        """As its client sees the job, and as its node does."""
        jobs = (*self.requester.machine.requester.jobs, *self.provider.machine.provider.jobs)
        return [job.stage for job in jobs]

    def jail(self, *, active: bool) -> None:
        def change(contracts: Audits) -> None:
            contracts.nodes[self.provider.address].active = active
            contracts.show(self.provider.address)

        self.world.chain.change(change)

    def reclaim(self) -> None:
        def change(contracts: Audits) -> None:
            lane = contracts.lane(self.requester.address, self.requester.address, self.provider.address)
            contracts.set_lane(replace(lane, left=0, mark=lane.mark + lane.left, closing=True))
            contracts.add_free(lane.client, lane.left)

        self.world.chain.change(change)

    def pass_time(self, seconds: int) -> None:
        until_ms = self.world.now_ms + seconds * 1_000
        self.world.run(lambda: self.world.now_ms >= until_ms, seconds + 1)


def test_a_jailed_node_tries_no_batch_and_is_paid_once_it_is_free():
    town = Town()
    assert (town.stages, town.submitted) == ([Stage.DELIVERED] * 2, 0)
    town.jail(active=True)
    town.world.run(lambda: town.stages == [Stage.SPENDABLE] * 2, 300)
    assert (town.stages, town.submitted) == ([Stage.SPENDABLE] * 2, 1)


def test_a_client_that_reclaims_the_lane_has_its_money_back_and_the_job_ends():
    town = Town()
    town.reclaim()
    town.pass_time(10)
    assert town.stages == [Stage.REFUNDED, Stage.UNPAID]
    (asked,), (done,) = town.requester.machine.requester.jobs, town.provider.machine.provider.jobs
    assert (asked.charge, asked.debit, done.charge) == (0, 0, 0)
    assert town.world.chain.contracts.free[town.requester.address] == 100 * VCN
    assert ("reclaimed" in asked.reason, "reclaimed" in done.reason) == (True, True)
    town.jail(active=True)
    town.pass_time(300)
    assert (town.stages, town.submitted) == ([Stage.REFUNDED, Stage.UNPAID], 0)


def test_after_a_restart_the_job_has_ended_as_well():
    town = Town()
    town.reclaim()
    town.pass_time(10)
    for node in (town.requester, town.provider):
        node.kill()
        node.restart()
    assert town.stages == [Stage.REFUNDED, Stage.UNPAID]
