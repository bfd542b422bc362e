"""HostSlots of a machine: no more at once than there are, and none is lost."""

import sys
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
    await trio.run_process([sys.executable, "-c", take, str(tmp_path / "0")], check=False)
    with trio.fail_after(5):
        async with HostSlots(tmp_path, 1).hold():
            pass


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExecutorError, match="cannot wait for a slot"):
        async with HostSlots(tmp_path / "file" / "slots", 1).hold():
            pass
