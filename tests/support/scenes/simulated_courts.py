"""Simulated networks whose batches go to court."""

from typing import Any

from protocol.job import Stage
from protocol.params import VCN
from tests.simulation.histories import requested, told
from tests.simulation.world import World
from tests.support.scenes.simulated_jobs import money

STAKE = 20_000 * VCN


def only(world: World, kind: type[Any]) -> Any:
    """The events of one kind, the same for all nodes."""
    (found,) = set(told(world, kind))
    return found


def refunded(world: World) -> bool:
    (job,) = requested(world)
    return job.stage is Stage.REFUNDED and money(world, job) == 100 * VCN
