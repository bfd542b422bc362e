"""Simulated audits of passed cases."""

from protocol import events as ev
from protocol.params import VCN
from tests.simulation.histories import told
from tests.simulation.world import World
from tests.support.scenes.simulated_courts import only

SEAT_STAKE = 5_000 * VCN


def ended(world: World) -> ev.AuditEnded:
    world.run(lambda: bool(told(world, ev.AuditEnded)))
    found = only(world, ev.AuditEnded)
    assert isinstance(found, ev.AuditEnded)
    return found


def lost(world: World) -> list[int]:
    """The lost stake of each seat, by its number."""
    nodes = world.chain.contracts.nodes
    return [SEAT_STAKE - nodes[seat].stake for seat in only(world, ev.CaseConvened).seats]
