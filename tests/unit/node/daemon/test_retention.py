"""Content of jobs goes a day after they have ended, and not before."""

import os
from pathlib import Path

import pytest

from executor.workspace.folders import Workspaces
from node.daemon.retention import Retention
from node.wallet.sealing import Sealing
from node.wallet.secrets import ContentKeys, HpkeSecrets, SecretFiles
from p2p.store import ContentStore
from protocol.court.phases import BatchPhase
from protocol.events import JobAsked
from protocol.job import JobState
from protocol.params import KEEP_AFTER_FINAL_MS
from protocol.wire.ids import Cid, JobId
from tests.simulation.scene import DOMAIN
from tests.unit.node.daemon.worlds import Story, ended_job

STRANGER = Cid(b"\x77" * 32)


class House:
    """One node's data directory with the content of its job in it, everything older than the job."""

    def __init__(self, home: Path, story: Story, name: str) -> None:
        self.home = home
        self.machine = story.node(name).machine
        self.keys = ContentKeys(SecretFiles(home / "keys"))
        workspaces = Workspaces(home / "work")
        sealing = Sealing(
            HpkeSecrets(SecretFiles(home / "hpke")),
            self.keys,
            ContentStore(home / "store"),
            workspaces,
            home / "results",
            lambda job_id: None,
            DOMAIN,
        )
        self.retention = Retention(self.machine, sealing, home / "work")
        self.view: JobState = (*self.machine.requester.jobs, *self.machine.provider.jobs)[0]
        self.ended_ms = self.view.history[-1][1]
        job_id = JobId(self.view.job_id or b"")
        held = self.machine.provider.job(job_id)
        (asked,) = (event for _, event in story.world.heard["requester"] if isinstance(event, JobAsked))
        self.input = Cid(held.order.details.input_cid if held else asked.input_cid)
        for cid in (self.input, STRANGER):
            self.keys.put(cid, bytes(32))
        workspaces.of_job(job_id).put("input.json", b"secret")
        (batch_id,) = self.machine.docket.batches
        workspaces.of_sample(batch_id, 0).put("input.json", b"secret")
        (home / "work" / "samples" / "unreadable").mkdir()
        for path in home.rglob("*"):
            os.utime(path, ns=(0, (self.ended_ms - 1) * 1_000_000))

    def left(self) -> set[str]:
        found = {path.name for folder in ("jobs", "samples") for path in (self.home / "work" / folder).iterdir()}
        return {name for name in found if name != "unreadable"}


@pytest.mark.parametrize("name", ["requester", "provider"])
async def test_content_stays_for_a_day_after_the_end(tmp_path: Path, name: str) -> None:
    house = House(tmp_path, ended_job(), name)
    await house.retention.sweep(house.ended_ms + KEEP_AFTER_FINAL_MS - 1)
    assert house.keys.get(house.input) is not None
    await house.retention.sweep(house.ended_ms + KEEP_AFTER_FINAL_MS)
    assert house.keys.get(house.input) is not None
    await house.retention.sweep(house.ended_ms + KEEP_AFTER_FINAL_MS + 1)
    assert house.keys.get(house.input) is None
    assert house.left() == set()


async def test_content_that_belongs_to_no_job_goes_when_it_is_old(tmp_path: Path) -> None:
    house = House(tmp_path, ended_job(), "provider")
    await house.retention.sweep(house.ended_ms + KEEP_AFTER_FINAL_MS)
    assert house.keys.get(STRANGER) is None
    assert house.keys.get(house.input) is not None


async def test_folder_that_was_just_made_stays(tmp_path: Path) -> None:
    house = House(tmp_path, ended_job(), "requester")
    Workspaces(tmp_path / "work").of_job(STRANGER).put("input.json", b"a job whose assignment is being opened")
    now_ms = house.ended_ms + 2 * KEEP_AFTER_FINAL_MS
    os.utime(tmp_path / "work" / "jobs" / STRANGER.hex(), ns=(0, now_ms * 1_000_000))
    await house.retention.sweep(now_ms)
    assert house.left() == {STRANGER.hex()}


async def test_content_of_an_open_job_stays_however_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = ended_job()
    house = House(tmp_path, story, "provider")
    monkeypatch.setattr("node.daemon.retention.TERMINAL", frozenset())
    for batch in house.machine.docket.batches.values():
        batch.phase = BatchPhase.PENDING
    await house.retention.sweep(house.ended_ms + 100 * KEEP_AFTER_FINAL_MS)
    assert house.keys.get(house.input) is not None
    assert len(house.left()) == 2


async def test_disk_that_refuses_is_tried_again_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    house = House(tmp_path, ended_job(), "provider")
    (tmp_path / "store").mkdir()
    blob = ContentStore(tmp_path / "store").blob_path(house.input)
    blob.mkdir(parents=True)
    await house.retention.sweep(house.ended_ms + 2 * KEEP_AFTER_FINAL_MS)
    assert "old content cannot be removed" in caplog.text
