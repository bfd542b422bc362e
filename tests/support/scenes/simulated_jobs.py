"""A simulated network with clients and providers, and jobs that run on it."""

from dataclasses import replace

from protocol.params import VCN
from protocol.roles.machine import Machine
from tests.simulation.node import Node
from tests.simulation.scene import RULES, Work
from tests.simulation.world import World


def network(seed: int = 0, work: Work = Work.HONEST) -> World:
    world = World(seed)
    client = world.add("requester", {"requester"})
    world.chain.deposit(client.address, 100 * VCN)
    world.add("provider", {"provider", "verifier"}, 20_000, work)
    for number in range(3):
        world.add(f"verifier-{number}", {"verifier"}, 5_000)
    world.start()
    return world


def money(world: World, done) -> int:
    """The rest of the client, free and in lanes."""
    contracts = world.chain.contracts
    return contracts.free[done.client] + sum(lane.left for lane in contracts.lanes.values())


def choose(node: Node, **settings: object) -> None:
    """Change the choices of a node's owner; it starts anew with its journal."""
    node.settings = replace(node.settings, **settings)  # type: ignore[arg-type]
    node.machine = Machine(node.identity, RULES, node.settings)
