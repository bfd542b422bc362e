"""Simulated jobs that are checked for certain."""

from tests.simulation.scene import Work
from tests.simulation.world import World
from tests.support.scenes.simulated_jobs import network


def proven(work: Work = Work.HONEST) -> World:
    """A network whose provider is past its probation."""
    world = network(work=work)
    provider = world.node("provider").address

    def trust(contracts) -> None:
        contracts.nodes[provider].samples_left = 0
        contracts.show(provider)

    world.chain.change(trust)
    return world
