"""Whole jobs of the simulated world, and what a node's daemon would have seen of them."""

from dataclasses import dataclass

from node.driver import Driver
from node.journal import Entry, Journal
from protocol.events import is_durable
from protocol.job import TERMINAL, JobState
from protocol.params import VCN
from protocol.roles.machine import Machine
from tests.simulation.node import Node
from tests.simulation.scene import Work, ask
from tests.simulation.world import World


@dataclass
class Story:
    """A world in which the requester's one job has ended."""

    world: World
    done: JobState

    def node(self, name: str) -> Node:
        return next(node for node in self.world.nodes.values() if node.name == name)

    async def fold(self, name: str, journal: Journal) -> Machine:
        """The same node after a restart: what its journal gives back."""
        await journal.append([Entry(event, at_ms) for at_ms, event in self.world.heard[name] if is_durable(event)])
        old = self.node(name).machine
        machine = Machine(old.identity, old.rules, old.settings)
        driver = Driver(machine, journal, {}, lambda: self.world.now_ms, lambda peer, error: None)
        await driver.fold()
        return machine


def ended_job(*, work: Work = Work.HONEST, checked: bool = False) -> Story:
    """One requester, one provider, three verifiers; a job from bid to pay, or to refund where the provider cheats."""
    world = World()
    client = world.add("requester", {"requester"})
    world.chain.deposit(client.address, 100 * VCN)
    provider = world.add("provider", {"provider", "verifier"}, 20_000, work)
    for number in range(3):
        world.add(f"verifier-{number}", {"verifier"}, 5_000)
    world.start()
    world.soon(lambda: client.take(ask(checked=checked)), 3_000)
    jobs = client.machine.requester
    world.run(lambda: bool(jobs.jobs) and jobs.jobs[0].stage in TERMINAL)
    world.run(lambda: provider.machine.provider.jobs[0].stage in TERMINAL)
    return Story(world, jobs.jobs[0])
