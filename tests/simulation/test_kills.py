"""Kill -9 of every role at every step of a job and of its batch: it ends settled, moved or refunded.

What may not happen twice is checked by the world itself: no number of a lane is signed for two jobs, and no block makes
or loses a wei.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest
from coincurve import PrivateKey

from protocol import events as ev
from protocol.job import TERMINAL, TRANSITIONS, JobView, Stage
from protocol.params import VCN
from protocol.wire.ids import address_of
from tests.simulation.node import Node
from tests.simulation.scene import Work, ask
from tests.simulation.world import World

VICTIMS = ("requester", "provider", "seat")
SHORT_MS, LONG_MS = 4_000, 150_000
"""Away for less than the others wait, and for longer than any of them does."""
DEPOSIT = 100 * VCN
ENOUGH_S = 2_000
SPARE = address_of(PrivateKey(hashlib.sha256(b"spare").digest()).public_key.format())


@dataclass
class Town:
    """A requester, a provider, one to move to, and seats."""

    world: World

    @classmethod
    def of(cls, work: Work, seed: int = 0) -> Town:
        world = World(seed)
        client = world.add("requester", {"requester"})
        world.chain.deposit(client.address, DEPOSIT)
        world.add("provider", {"provider", "verifier"}, 20_000, work)
        assert world.add("spare", {"provider"}, 10_000).address == SPARE
        for number in range(4):
            world.add(f"seat-{number}", {"verifier"}, 5_000)
        world.start()
        town = cls(world)
        # Asked again until it is heard: the user of a node that is down waits until it is up.
        world.soon(town._ask, 3_000)
        return town

    def _ask(self) -> None:
        if not self.requester.up:
            self.world.soon(self._ask, 1_000)
        else:
            self.requester.take(ask(now_ms=self.world.now_ms))

    @property
    def requester(self) -> Node:
        return self.world.node("requester")

    @property
    def job(self) -> JobView | None:
        jobs = self.requester.machine.requester.jobs
        return jobs[0] if jobs else None

    def victim(self, role: str) -> Node:
        """Who is to die; of the seats one that sits, or is likely to."""
        if role != "seat":
            return self.world.node(role)
        seated = [node for _, event in self.world.log if isinstance(event, ev.CaseConvened) for node in event.seats]
        by_address = {node.address: node for node in self.world.nodes.values()}
        return by_address[seated[0]] if seated else self.world.node("seat-0")

    def end(self) -> JobView:
        """Let everything come to its end; what the client has then is what the job's end says."""
        world = self.world
        world.run(lambda: (job := self.job) is not None and job.stage in TERMINAL, ENOUGH_S)
        world.run(lambda: all(node.up for node in world.nodes.values()), ENOUGH_S)
        job = self.job
        assert job is not None
        contracts = world.chain.contracts
        left = contracts.free[self.requester.address] + sum(lane.left for lane in contracts.lanes.values())
        if job.stage is Stage.SPENDABLE:
            assert left == DEPOSIT - job.debit
        else:
            assert left == DEPOSIT
        return job


def reaches(town: Town, role: str, stage: Stage) -> bool:
    """Whether a job has come to a stage, as the one who is to die sees it; a seat knows it only from its batch."""
    if role == "provider":
        views = town.world.node("provider").machine.provider.jobs
        return any(view.stage is stage for view in views)
    return town.job is not None and town.job.stage is stage


def kill_at(role: str, stage: Stage, work: Work, away_ms: int) -> JobView | None:
    """The job's end after a kill at a stage; None if the job never comes to it."""
    town = Town.of(work)
    world = town.world
    world.run(lambda: reaches(town, role, stage) or (town.job is not None and town.job.stage in TERMINAL))
    if not reaches(town, role, stage):
        return None
    world.kill(town.victim(role), away_ms)
    return town.end()


@pytest.mark.parametrize("away_ms", [SHORT_MS, LONG_MS], ids=["briefly", "for long"])
@pytest.mark.parametrize("role", VICTIMS)
@pytest.mark.parametrize("stage", [stage for stage in TRANSITIONS if stage not in TERMINAL])
def test_a_kill_at_any_stage_ends_the_job_well(role: str, stage: Stage, away_ms: int) -> None:
    ends = {work: kill_at(role, stage, work, away_ms) for work in Work}
    if all(end is None for end in ends.values()):
        # A node hears of a job when it is assigned.
        assert role == "provider"
        assert stage in (Stage.REQUESTED, Stage.OFFERED)
    for work, end in ends.items():
        if end is None:
            continue
        moved = end.node == SPARE
        allowed = {Stage.SPENDABLE if work is Work.HONEST or moved else Stage.REFUNDED}
        if role == "provider" and away_ms == LONG_MS:
            # A batch that its own node does not bring to court starves.
            allowed.add(Stage.REFUNDED)
        assert end.stage in allowed, f"{work}: {end.reason}"


@pytest.mark.parametrize("work", [Work.HONEST, Work.DISHONEST])
@pytest.mark.parametrize("role", VICTIMS)
def test_a_kill_after_any_row_of_the_journal_ends_the_job_well(role: str, work: Work) -> None:
    """The finest cut there is: between any two rows, before and after their effects are done."""
    rows = 8
    while killed_after(role, work, rows):
        rows += 1
    assert rows > 20


def killed_after(role: str, work: Work, rows: int) -> bool:
    """Kill a node once its journal has so many rows; False if it never has."""
    town = Town.of(work, seed=rows)
    world, fired = town.world, []
    victim = town.world.node("seat-0" if role == "seat" else role)
    hear = victim.hear

    def watch(node: Node, event: ev.Event) -> None:
        hear(node, event)
        if len(node.journal) >= rows and not fired:
            fired.append(event)
            # At once, with nothing done, or when the first effects are done and not yet answered.
            world.soon(lambda: world.kill(victim, LONG_MS if rows % 3 == 0 else SHORT_MS), 25 * (rows % 2))

    victim.hear = watch
    end = town.end()
    assert end.stage in (Stage.SPENDABLE, Stage.REFUNDED), f"row {rows}, {fired}: {end.reason}"
    return bool(fired)


def test_a_fold_gives_the_same_machine_back() -> None:
    town = Town.of(Work.DISHONEST)
    town.end()
    for node in town.world.nodes.values():
        before = (node.machine.requester.jobs, node.machine.provider.jobs, node.machine.verifier.cases)
        node.kill()
        node.restart()
        assert before == (node.machine.requester.jobs, node.machine.provider.jobs, node.machine.verifier.cases)
