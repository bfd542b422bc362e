"""HostSlots of a machine: no more at once than there are, and none is lost."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from executor.scheduler.slots import HostSlots
from protocol.errors import ExecutorError


async def test_no_more_hold_a_slot_than_there_are(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    holding = most = 0

    async def hold() -> None:
        nonlocal holding, most
        # As another node would: with its own view of the folder.
        async with HostSlots(tmp_path / "slots", 2).hold():
            holding += 1
            most = max(most, holding)
            await trio.sleep(1)
            holding -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(hold)
    assert most == 2


async def test_without_a_limit_nobody_waits(tmp_path: Path) -> None:
    slots = HostSlots(tmp_path / "slots", 0)
    async with slots.hold(), slots.hold():
        assert not (tmp_path / "slots").exists()


async def test_a_cancelled_wait_takes_no_slot(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    slots = HostSlots(tmp_path, 1)
    async with slots.hold():
        with trio.move_on_after(1) as waiting:
            async with slots.hold():
                pytest.fail("two held one slot")
        assert waiting.cancelled_caught
    with trio.fail_after(1):
        async with slots.hold():
            pass


async def test_the_slot_of_a_process_that_died_is_free(tmp_path: Path) -> None:
    take = "import fcntl, os, sys; f = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR); fcntl.flock(f, 2); os._exit(9)"
    await trio.run_process([sys.executable, "-c", take, str(tmp_path / "slot-0")], check=False)
    with trio.fail_after(5):
        async with HostSlots(tmp_path, 1).hold():
            pass


OTHER_NODE = """
import os, sys, trio, trio.testing
from pathlib import Path
from executor.scheduler.slots import HostSlots

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked(0.01)
        os.write(1, b"asked")

async def hold():
    async with HostSlots(Path(sys.argv[1]), 1).hold():
        await trio.sleep_forever()

trio.run(main)
"""


@asynccontextmanager
async def other_node(folder: Path) -> AsyncIterator[trio.Process]:
    """A process that holds the one slot of a folder, or waits for it, until it is killed."""
    command = [sys.executable, "-c", OTHER_NODE, str(folder)]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE, check=False))
        try:
            assert await process.stdout.receive_some() == b"asked"
            yield process
        finally:
            process.kill()


async def test_a_waiter_goes_on_when_the_process_that_holds_the_slot_is_killed(tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with other_node(tmp_path) as process, trio.open_nursery() as nursery:
            nursery.start_soon(hold_once, tmp_path)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(nursery.child_tasks) == 1
            process.kill()


async def test_a_waiter_goes_on_when_the_process_before_it_is_killed(tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, HostSlots(tmp_path, 1).hold():
            async with other_node(tmp_path):
                nursery.start_soon(hold_once, tmp_path)
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(nursery.child_tasks) == 1


async def hold_once(folder: Path) -> None:
    async with HostSlots(folder, 1).hold():
        pass


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExecutorError, match="cannot wait for a slot"):
        async with HostSlots(tmp_path / "file" / "slots", 1).hold():
            pass


async def test_slots_are_given_in_the_order_of_their_due_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    order: list[str] = []

    async def hold(name: str, waits_s: float) -> None:
        # As another node would: with its own view of the folder.
        async with HostSlots(tmp_path, 1).hold(waits_s):
            order.append(name)

    slots = HostSlots(tmp_path, 1)
    async with trio.open_nursery() as nursery, slots.hold():
        for name, waits_s in (("check", 3600), ("first", 0), ("second", 0)):
            nursery.start_soon(hold, name, waits_s)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert slots.is_wanted()
    assert order == ["first", "second", "check"]
    assert not slots.is_wanted()


async def test_the_place_of_a_process_that_died_keeps_nobody_waiting(tmp_path: Path) -> None:
    dead = tmp_path / "places" / f"{0:020d}-1-0"
    dead.parent.mkdir()
    dead.touch()
    with trio.fail_after(5):
        async with HostSlots(tmp_path, 1).hold():
            assert not dead.exists()


def test_a_slot_is_taken_at_once_or_not_at_all(tmp_path: Path) -> None:
    slots = HostSlots(tmp_path, 1)
    held = slots.take()
    assert held is not None
    assert slots.take() is None
    os.close(held)
    again = slots.take()
    assert again is not None
    os.close(again)
