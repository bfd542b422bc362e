"""The owner's word and hours at a whole driver: events in the journal, the view, and who waits until nothing runs."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from node.api.backend import HoldStep
from node.api.faults import Fault
from node.api.views import HoldsView
from node.daemon.holding import HoldDesk
from node.driver import Driver
from node.journal import open_journal
from protocol.effects import HoldContainers, RunContainer
from protocol.events import ContainersHeld, Event, Hold, HoldBegun, HoldEnded, Tick
from protocol.roles.machine import Machine
from protocol.stages.execution import RunSpec
from tests.simulation.world import World

MINUTE_MS = 60_000
NOON_MS = int(datetime(2026, 1, 7, 12, tzinfo=UTC).timestamp() * 1000)
"""A Wednesday."""
RUN = RunContainer(RunSpec(bytes(32), bytes(32), 1, 8, 0, bytes(32), 2**30, 1_000))


class Containers:
    """Answers for the executor; a run ends when the test lets it."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.may_end = trio.Event()

    async def perform(self, effect: Any) -> Event:
        if isinstance(effect, HoldContainers):
            self.asked.append(effect.is_held)
            return ContainersHeld(effect.is_held)
        await self.may_end.wait()
        return Tick()


@dataclasses.dataclass
class House:
    """A provider with its journal, its driver and the desk."""

    machine: Machine
    driver: Driver
    containers: Containers
    now_ms: int = NOON_MS
    hours: str = ""
    runner: object | None = dataclasses.field(default_factory=object)

    def desk(self) -> HoldDesk:
        config = SimpleNamespace(executor=SimpleNamespace(hours=self.hours))
        parts: Any = SimpleNamespace(
            machine=self.machine,
            driver=self.driver,
            config=config,
            clock=lambda: self.now_ms,
            runner=self.runner,
            no_runner="Docker is away",
        )
        return HoldDesk(parts)

    async def look_at_hours(self) -> int | None:
        await self.desk().look_at_hours(lambda seconds: datetime.fromtimestamp(seconds, UTC))
        await self.driver.settled()
        return self.machine.member.holds.from_ms(Hold.HOURS)


@asynccontextmanager
async def opened(home: Path) -> AsyncIterator[House]:
    node = World().add("provider", {"provider"}, 20_000)
    machine, containers = Machine(node.identity, node.machine.rules, node.settings), Containers()
    routes = {HoldContainers: containers, RunContainer: containers}
    with open_journal(home) as journal:
        driver = Driver(machine, journal, routes, lambda: NOON_MS, lambda peer, error: None)
        await driver.fold()
        async with trio.open_nursery() as nursery:
            await nursery.start(driver.run)
            yield House(machine, driver, containers)
            nursery.cancel_scope.cancel()


def held(view: HoldsView) -> list[str]:
    return [each.hold for each in view.holds]


async def test_each_step_leads_to_the_holds_that_it_means_and_a_restart_keeps_them(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        desk = house.desk()
        assert held(await desk.take_step(HoldStep.PAUSE)) == ["pause"]
        assert held(await desk.take_step(HoldStep.DRAIN)) == ["drain"]
        assert held(await desk.take_step(HoldStep.RESUME)) == []
        assert held(await desk.take_step(HoldStep.DRAIN)) == ["drain"]
        (hold,) = (await desk.take_step(HoldStep.PAUSE)).holds[:1]
        assert (hold.words, hold.from_ms) == ("drained by the owner", NOON_MS)
    async with opened(tmp_path) as house:
        assert held(await house.desk().view()) == ["drain", "pause"]
        assert held(await house.desk().take_step(HoldStep.RESUME)) == []
    async with opened(tmp_path) as house:
        assert held(await house.desk().view()) == []


async def test_a_step_that_is_taken_twice_writes_one_row_and_keeps_its_moment(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        events = house.driver.subscribe()
        for _ in range(2):
            await house.desk().take_step(HoldStep.DRAIN)
            house.now_ms += MINUTE_MS
        assert [hold.from_ms for hold in house.desk().look().holds] == [NOON_MS]
        assert [type(event).__name__ for event in _waiting(events)].count("HoldBegun") == 1


async def test_a_pause_reaches_the_containers_and_its_end_does_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        events = house.driver.subscribe()
        for step in (HoldStep.PAUSE, HoldStep.RESUME):
            await house.desk().take_step(step)
            with trio.fail_after(10):
                while not isinstance(await events.receive(), ContainersHeld):
                    pass
        assert house.containers.asked == [True, False]


async def test_a_node_without_containers_has_nothing_to_hold(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        house.runner = None
        with pytest.raises(Fault, match="runs no jobs of others") as refused:
            await house.desk().take_step(HoldStep.DRAIN)
        assert (refused.value.code, refused.value.hint) == ("preflight", "Docker is away")
        assert held(house.desk().look()) == []


async def test_who_follows_sees_what_is_left_until_nothing_runs(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        house.driver._want(RUN, kept=False)
        seen: list[tuple[int, list[str]]] = []
        with trio.fail_after(10):
            async with house.desk().follow() as views:
                async for view in views:
                    seen.append((view.jobs_left, held(view)))
                    if len(seen) == 1:
                        await house.desk().take_step(HoldStep.DRAIN)
                    else:
                        house.containers.may_end.set()
        assert seen == [(1, []), (1, ["drain"]), (0, ["drain"])]


async def test_the_end_of_hours_is_told_ahead_and_the_next_begin_at_its_minute(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        house.hours = "08:00-12:05, 13:00-14:00"
        events, found = house.driver.subscribe(), []
        for minute in (0, 3, 4, 5, 59, 60, 61):
            house.now_ms = NOON_MS + minute * MINUTE_MS
            found.append(await house.look_at_hours())
        end_ms = NOON_MS + 5 * MINUTE_MS
        assert found == [None, None, end_ms, end_ms, end_ms, None, None]
        told = [event for event in _waiting(events) if isinstance(event, HoldBegun | HoldEnded)]
        assert told == [HoldBegun(Hold.HOURS, end_ms), HoldEnded(Hold.HOURS)]


@pytest.mark.parametrize(("hours", "has_runner"), [("", True), ("08:00-09:00", False)])
async def test_hours_that_are_no_longer_asked_for_hold_nothing(tmp_path: Path, hours: str, has_runner: bool) -> None:
    async with opened(tmp_path) as house:
        house.hours = "08:00-09:00"
        assert await house.look_at_hours() == NOON_MS
        house.hours = hours
        house.runner = house.runner if has_runner else None
        assert await house.look_at_hours() is None


def _waiting(events: trio.MemoryReceiveChannel[Event]) -> list[Event]:
    found = []
    while True:
        try:
            found.append(events.receive_nowait())
        except trio.WouldBlock:
            return found
