"""Files of an earlier version are taken over."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest
import trio

from node.driver import Driver
from node.journal import FILE_NAME, SCHEMA, open_journal
from protocol.errors import ConfigError
from protocol.job import JobState, Stage
from protocol.roles.machine import STATE_VERSION, Machine
from tests.simulation.histories import one_job
from tests.support.saved_journal import SAVED

REPOSITORY = Path(__file__).resolve().parents[3]
VECTORS = REPOSITORY / "tests" / "vectors"
WRITTEN = ("journal_2_requester", "journal_2_provider", "journal_3_provider")
"""Journals of `one_job`, by the version of their tables; 2 is that of `git show 52fbdf0`, 3 that of `git show 8204500`.

Up to 2 a timer was a text, and the tag of an effect the name of its class. Up to 3 there were no snapshots.
"""
PENDING = {
    "journal_2_requester": {"AwaitDeadline": 4, "Send": 1},
    "journal_2_provider": {"AwaitDeadline": 2, "Send": 1},
    "journal_3_provider": {"AwaitDeadline": 1, "Send": 1},
}
"""Effects that the fold asks for again: deadlines to come, and those whose keys were made of a text or an old name.

A requester also shows its node the order for a lane, which it did not then.
"""


@pytest.fixture(params=WRITTEN)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    shutil.copy(VECTORS / f"{request.param}.sqlite", tmp_path / FILE_NAME)
    return str(request.param)


def rows(directory: Path) -> tuple[int, list[object]]:
    """The version of a journal, and the events in it as they are written."""
    with sqlite3.connect(directory / FILE_NAME) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        found = [cbor2.loads(body) for (body,) in db.execute("SELECT body FROM events WHERE body IS NOT NULL")]
    db.close()
    return version, found


def timers(directory: Path) -> list[object]:
    return [fields[0] for name, fields in rows(directory)[1] if name == "DeadlinePassed"]  # type: ignore[misc]


def messages(found: list[object], name: str) -> list[tuple[str, object]]:
    """Messages of a name in rows: the peer, and the content."""
    received = [fields for event, fields in found if event == "MessageReceived"]  # type: ignore[misc]
    return [(peer_id, message[1]) for peer_id, message in received if message[0] == name]


async def folded(directory: Path, role: str) -> tuple[Machine, Driver]:
    machine = one_job().node(role).machine.fresh()
    with open_journal(directory) as journal:
        driver = Driver(machine, journal, {}, lambda: 0, lambda peer, error: None)
        await driver.fold()
        assert not journal.aside
    return machine, driver


def test_journal_of_an_earlier_version_is_brought_to_this_one_at_opening(written: str, tmp_path: Path) -> None:
    before = rows(tmp_path)[1]
    assert any(isinstance(timer, str) for timer in timers(tmp_path)) == ("journal_2" in written)
    with open_journal(tmp_path):
        pass
    assert rows(tmp_path)[0] == SCHEMA
    assert all(isinstance(timer, list) for timer in timers(tmp_path))
    assert len(rows(tmp_path)[1]) == len(before)
    changed = [row for row in rows(tmp_path)[1] if row not in before]
    assert [row for row in changed if row[0] == "DeadlinePassed"] == (
        [["DeadlinePassed", [timer]] for timer in timers(tmp_path)] if "journal_2" in written else []
    )
    renamed = messages(before, "ProofQuery")
    assert len(renamed) == ("provider" in written)
    assert renamed == messages(changed, "FingerprintQuery")
    assert len(changed) == len(renamed) + ("journal_2" in written) * len(timers(tmp_path))


async def test_node_goes_on_where_an_earlier_version_has_left_it(written: str, tmp_path: Path) -> None:
    role = written.rpartition("_")[2]
    machine, driver = await folded(tmp_path, role)
    jobs: dict[str, Callable[[], tuple[JobState, ...]]] = {
        "requester": lambda: machine.requester.jobs,
        "provider": lambda: machine.provider.jobs,
    }
    (job,) = jobs[role]()
    assert (job.stage, job.charge) == (Stage.SPENDABLE, 128 * 10**15)
    assert driver.pending == PENDING[written]


@pytest.mark.parametrize("at_row", [1, 2])
def test_migration_that_is_killed_at_a_row_begins_again(tmp_path: Path, at_row: int) -> None:
    shutil.copy(VECTORS / "journal_2_requester.sqlite", tmp_path / FILE_NAME)
    program = """
        import os, signal, sys
        from pathlib import Path
        from node import journal

        left, form = int(sys.argv[2]), journal.present_form

        def cut(body):
            global left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return form(body)

        journal.present_form = cut
        journal.open_journal(Path(sys.argv[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), str(at_row)]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
    assert rows(tmp_path)[0] == 4
    assert all(isinstance(timer, str) for timer in timers(tmp_path))
    machine, _ = trio.run(folded, tmp_path, "requester")
    assert [job.stage for job in machine.requester.jobs] == [Stage.SPENDABLE]
    assert rows(tmp_path)[0] == SCHEMA


async def test_snapshot_of_this_state_version_is_read(tmp_path: Path) -> None:
    """If a change of the state breaks this, raise STATE_VERSION and run `python -m tests.support.saved_journal`."""
    shutil.copy(SAVED, tmp_path / FILE_NAME)
    machine, driver = await folded(tmp_path, "provider")
    assert [(job.stage, job.charge) for job in machine.provider.jobs] == [(Stage.SPENDABLE, 128 * 10**15)]
    assert driver.pending == {"AwaitDeadline": 1}


@pytest.mark.parametrize("version", [STATE_VERSION - 1, STATE_VERSION + 1])
async def test_snapshot_of_another_state_version_is_refused_and_stays_for_the_program_that_wrote_it(
    tmp_path: Path, version: int
) -> None:
    shutil.copy(SAVED, tmp_path / FILE_NAME)
    stand_for(tmp_path, version)
    with pytest.raises(
        ConfigError, match=f"it is of version {version}, and this program reads {STATE_VERSION}"
    ) as said:
        await folded(tmp_path, "provider")
    assert said.value.hint.startswith("start the version that wrote it once more")
    stand_for(tmp_path, STATE_VERSION)
    machine, _ = await folded(tmp_path, "provider")
    assert [job.stage for job in machine.provider.jobs] == [Stage.SPENDABLE]


def stand_for(directory: Path, version: int) -> None:
    """Let a snapshot be of a version."""
    with sqlite3.connect(directory / FILE_NAME) as db:
        db.execute("UPDATE snapshot SET version = ?", [version])
    db.close()
