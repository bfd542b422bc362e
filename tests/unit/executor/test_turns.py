"""Turns of a machine: no more at once than there are, and none is lost."""

import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from executor.scheduler.slots import Turns
from protocol.errors import ExecutorError


async def test_no_more_hold_a_turn_than_there_are(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    holding = most = 0

    async def hold() -> None:
        nonlocal holding, most
        # As another node would: with its own view of the folder.
        async with Turns(tmp_path / "turns", 2).turn():
            holding += 1
            most = max(most, holding)
            await trio.sleep(1)
            holding -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(hold)
    assert most == 2


async def test_without_a_limit_nobody_waits(tmp_path: Path) -> None:
    turns = Turns(tmp_path / "turns", 0)
    async with turns.turn(), turns.turn():
        assert not (tmp_path / "turns").exists()


async def test_a_cancelled_wait_takes_no_turn(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    turns = Turns(tmp_path, 1)
    async with turns.turn():
        with trio.move_on_after(1) as waiting:
            async with turns.turn():
                pytest.fail("two held one turn")
        assert waiting.cancelled_caught
    with trio.fail_after(1):
        async with turns.turn():
            pass


async def test_the_turn_of_a_process_that_died_is_free(tmp_path: Path) -> None:
    take = "import fcntl, os, sys; f = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR); fcntl.flock(f, 2); os._exit(9)"
    await trio.run_process([sys.executable, "-c", take, str(tmp_path / "0")], check=False)
    with trio.fail_after(5):
        async with Turns(tmp_path, 1).turn():
            pass


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExecutorError, match="cannot wait for a turn"):
        async with Turns(tmp_path / "file" / "turns", 1).turn():
            pass
