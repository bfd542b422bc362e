"""Kill -9 of every role at every step of a job and of its batch: it ends settled, moved or refunded."""

from __future__ import annotations

import pytest

from protocol import events as ev
from protocol.job import Stage
from tests.simulation.kills import NEVER, STAGES, VICTIMS, WORKS, Away, Kill, Town, ends_of, table
from tests.simulation.node import Node
from tests.simulation.scene import Work


@pytest.mark.parametrize("away", Away)
@pytest.mark.parametrize("role", VICTIMS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_any_stage_ends_the_job_well(role: str, stage: Stage, away: Away) -> None:
    ends = [Kill(role, stage, work, away).end() for work in WORKS]
    if all(end is None for end in ends):
        # A node hears of a job when it is assigned.
        assert role == "provider"
        assert stage in (Stage.REQUESTED, Stage.OFFERED)


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
            world.soon(lambda: world.kill(victim, Away.LONG if rows % 3 == 0 else Away.BRIEFLY), 25 * (rows % 2))

    victim.hear = watch
    end = town.end()
    assert end.stage in (Stage.SPENDABLE, Stage.REFUNDED), f"row {rows}, {fired}: {end.reason}"
    if rows % 3:
        # Back in time, a seat goes on where it was.
        assert not [event for _, event in world.log if isinstance(event, ev.SeatSilenced)], f"row {rows}, {fired}"
    return bool(fired)


def shown(node: Node) -> tuple[object, ...]:
    machine = node.machine
    return machine.requester.jobs, machine.provider.jobs, machine.docket.batches, machine.verifier.sittings


def test_a_fold_gives_the_same_machine_back() -> None:
    town = Town.of(Work.DISHONEST)
    town.end()
    for node in town.world.nodes.values():
        before = shown(node)
        node.kill()
        node.restart()
        assert shown(node) == before


def test_the_table_says_how_each_kill_ended() -> None:
    kills = [Kill("provider", stage, Work.FAILING, Away.BRIEFLY) for stage in (Stage.ASSIGNED, Stage.DELIVERED)]
    told: list[tuple[int, int]] = []
    ends, faults = ends_of(kills, lambda ended, jobs: told.append((ended, jobs)))
    assert (list(ends.values()), faults, told) == (["moved+spendable", NEVER], [], [(1, 2), (2, 2)])
    heading, second, *rows = (line.split() for line in table(ends))
    assert (heading, second) == (["killed", "at", "failing"], ["briefly"])
    assert rows == [["provider", "assigned", "moved+spendable"], ["provider", "delivered", NEVER]]
