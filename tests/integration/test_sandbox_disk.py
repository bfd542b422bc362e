"""A disk that is full at each step of a job: the provider's fault, said as such; nothing half-written is believed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import trio

from executor.containers.sandbox import MIB, Limits
from executor.containers.transcript import RunnerEvent
from executor.docker_runner import Capacity, DockerRunner
from executor.models import ModelStore
from executor.runs.container_run import ContainerRun, Finish, Task
from executor.runs.context import RunnerContext
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import INPUT_JSON, Workspace, Workspaces
from node.journal import open_journal
from protocol.errors import ConfigError, ExecutorError
from protocol.events import DeadlinePassed
from protocol.stages.execution import Outcome, RunSpec
from protocol.timers import LatencyTimer
from protocol.wire.ids import PeerId
from tests.adversaries.images import build
from tests.support.runner_context import docker_host, open_context, small_model
from tests.support.scenes.models import make

pytestmark = pytest.mark.docker

NODE = "test-disk"
LIMITS = Limits(timeout_ms=20_000, memory_bytes=128 * MIB, output_bytes=8 * MIB, output_files=64)
# The size of the quota of 8 MiB, with the room that its filesystem needs for itself.
EXCHANGE_KIB = 11 * 1024 + 512


@pytest.fixture(scope="module")
def context() -> Iterator[RunnerContext]:
    with open_context() as honest:
        hostile = build("hostile_image", honest.image, docker_host())
    with open_context(hostile, NODE) as opened:
        yield opened


Disk = Callable[[str, int], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Makes small disks: a name and a size in KiB in, a folder out."""
    mounted: list[Path] = []

    def make(name: str, size_kib: int) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)], check=True)
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Until not a byte fits any more."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def run(
    context: RunnerContext,
    home: Path,
    kept: Path,
    attack: str,
    on_event: Callable[[RunnerEvent], None] = lambda said: None,
) -> Finish:
    task = Task(bytes.fromhex("ad" * 32), attack, {}, {"input.json": b"{}"}, ("a",), LIMITS)
    finish = ContainerRun(context.engine, context.image, task).run(home / "run", kept, on_event)
    assert context.engine.api.containers(all=True, filters={"label": f"org.vcoin.node={NODE}"}) == []
    assert not (home / "run").exists()
    return finish


def test_no_room_for_the_quota_of_a_job(context: RunnerContext, disk: Disk, tmp_path: Path) -> None:
    finish = run(context, disk("work", EXCHANGE_KIB // 2), tmp_path / "kept", "good")
    assert finish.outcome is Outcome.PROVIDER, finish
    assert "No space left on device" in finish.detail


def test_no_room_for_the_input(context: RunnerContext, disk: Disk, tmp_path: Path) -> None:
    work = disk("work", EXCHANGE_KIB)
    task = Task(bytes(32), "good", {}, {"input.json": bytes(MIB)}, ("a",), LIMITS)
    finish = ContainerRun(context.engine, context.image, task).run(work / "run", tmp_path / "kept", lambda said: None)
    assert finish.outcome is Outcome.PROVIDER, finish
    assert "No space left on device" in finish.detail
    assert list(work.iterdir()) == []


def test_disk_that_fills_up_under_a_running_job_takes_nothing_from_it(
    context: RunnerContext, disk: Disk, tmp_path: Path
) -> None:
    work = disk("work", EXCHANGE_KIB + 1024)

    def meanwhile(said: RunnerEvent) -> None:
        # All of it is there before the job writes a byte.
        assert (work / "run" / "output.img").stat().st_blocks * 512 > LIMITS.output_bytes
        fill(work)

    finish = run(context, work, tmp_path / "kept", "large_answer", meanwhile)
    # Its room was put aside when it began: else the kernel loses what it wrote, and the honest job looks like a liar.
    assert finish.outcome is Outcome.OK, finish
    assert (tmp_path / "kept" / "a").stat().st_size == 4 * MIB


def test_no_room_for_the_outputs(context: RunnerContext, disk: Disk, tmp_path: Path) -> None:
    kept = disk("kept", 1024)
    finish = run(context, tmp_path, kept, "large_answer")
    assert finish.outcome is Outcome.PROVIDER, finish
    assert "No space left on device" in finish.detail
    assert list(kept.iterdir()) == []


def test_quota_of_the_job_itself_is_the_jobs_fault(context: RunnerContext, tmp_path: Path) -> None:
    finish = run(context, tmp_path, tmp_path / "kept", "fill")
    assert finish.outcome is Outcome.JOB, finish
    assert "output_quota" in finish.detail


async def test_adapter_says_whose_disk_it_was_and_goes_on(context: RunnerContext, disk: Disk, tmp_path: Path) -> None:
    workspaces = Workspaces(disk("work", 512))
    adapter = DockerRunner(context, workspaces, Capacity(1, HostSlots(tmp_path / "turns", 1)))
    spec = RunSpec(bytes(32), small_model().cid, 1, 16, 0, bytes(32), 2 << 30, 60_000)
    workspaces.of_job(spec.job_id).put(INPUT_JSON, b"{}")
    for _ in range(2):
        exited = await adapter.run_job(spec, _no_tokens)
        assert exited.result.outcome is Outcome.PROVIDER
        assert "No space left on device" in exited.result.detail


async def until_it_fails(call: Callable[[], Awaitable[None]]) -> None:
    for _ in range(1000):
        await call()


async def _no_tokens(ids: tuple[int, ...]) -> None:
    raise AssertionError("nothing was run")


def test_workspace_that_is_full_keeps_what_it_had(disk: Disk) -> None:
    root = disk("work", 256)
    workspace = Workspace(root / "job")
    workspace.put("a", b"first")
    fill(root)
    with pytest.raises(OSError, match="No space left"):
        workspace.put("a", bytes(MIB))
    assert workspace.get("a") == b"first"
    assert [path.name for path in (root / "job").iterdir()] == ["a"]


def test_store_that_is_full_takes_no_model_and_keeps_the_others(disk: Disk, tmp_path: Path) -> None:
    store = ModelStore(disk("store", 256))
    small = store.add(make(tmp_path / "small"), "small")
    large = make(tmp_path / "large")
    (large / "vocab.json").write_bytes(b" " * MIB)
    with pytest.raises(ExecutorError, match="No space left") as full:
        store.add(large, "large")
    assert full.value.transient
    assert store.manifests() == (small,)
    assert len(list(store.path(small.cid).parent.iterdir())) == 1


async def test_journal_that_is_full_stops_the_node_with_a_reason_and_is_whole_again(disk: Disk) -> None:
    root = disk("data", 512)
    row = (DeadlinePassed(LatencyTimer(PeerId("x" * 200), slow=True)), 1, None)
    with open_journal(root) as journal:
        await journal.append([row])
        with pytest.raises(ConfigError, match="full") as stopped:
            await until_it_fails(lambda: journal.append([row] * 10))
        assert stopped.value.hint == "is the disk full?"
    (root / "filler").unlink(missing_ok=True)
    await trio.run_process(["mount", "-o", "remount,size=4096k", str(root)])
    with open_journal(root) as journal:
        kept = len(list(journal.read_all()))
        assert kept % 10 == 1
        await journal.append([row])
        assert len(list(journal.read_all())) == kept + 1
    with closing(sqlite3.connect(root / "journal.sqlite")) as opened:
        assert opened.execute("PRAGMA quick_check").fetchone() == ("ok",)
    assert os.stat(root / "journal.sqlite").st_mode & 0o777 == 0o600
