"""What an earlier version has written is taken over."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from node.driver import Driver
from node.journal import FILE_NAME, SCHEMA, open_journal
from protocol.job import Stage
from tests.simulation.histories import one_job

WRITTEN = Path(__file__).resolve().parents[2] / "vectors" / "journal_3.sqlite"
"""The journal of the provider of `one_job`, written by the tables' version 3 (`git show 8204500`), before snapshots."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    shutil.copy(WRITTEN, tmp_path / FILE_NAME)
    return tmp_path


def test_journal_of_the_version_before_is_brought_to_this_one(directory: Path) -> None:
    with open_journal(directory):
        pass
    with sqlite3.connect(directory / FILE_NAME) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    db.close()


async def test_node_goes_on_where_the_version_before_has_left_it(directory: Path) -> None:
    machine = one_job().node("provider").machine.fresh()
    with open_journal(directory) as journal:
        driver = Driver(machine, journal, {}, lambda: 0, lambda peer, error: None)
        await driver.fold()
        assert not journal.aside
    (job,) = machine.provider.jobs
    assert (job.stage, job.charge) == (Stage.SPENDABLE, 128 * 10**15)
    assert driver.pending == {"AwaitDeadline": 1}
