"""The leftovers of a killed node on its machine are removed by `localnet down` and `up` and by its next start."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from executor.containers.engine import Engine
from executor.containers.sandbox import MIB, Limits, Sandbox
from executor.docker_runner import Capacity, DockerRunner
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import Workspaces
from executor.workspace.io_volume import IoVolume
from executor.workspace.mounts import discard, mounts_below, volumes_below
from node.api.faults import Exit, Fault
from node.cli import main
from node.journal import own_directory
from node.localnet.leftovers import clear
from node.localnet.record import LocalnetRecord
from node.wallet.home import Home, to_toml
from protocol.errors import ConfigError
from tests.support.runner_context import docker_host, open_context

# Mounts need root, as the tests of containers do.
pytestmark = pytest.mark.docker

LIMITS = Limits(output_bytes=MIB, output_files=16, memory_bytes=128 * MIB)
JOB = bytes(32)


@dataclass
class Wreck:
    """A local network whose nodes were killed in the middle of their jobs."""

    directory: Path
    said: list[str] = field(default_factory=list)

    def home(self, name: str) -> Home:
        home = Home(self.directory / name)
        home.path.mkdir(parents=True, exist_ok=True)
        (home.path / "lock").write_text("1\n")
        home.config.write_text(to_toml({"executor": {"docker_host": docker_host()}}))
        return home

    def volume(self, name: str, job: bytes = JOB) -> IoVolume:
        """An volume as a kill leaves it: mounted, with a file of the job."""
        volume = IoVolume(Workspaces(self.home(name).work).of_job(job).volume, LIMITS)
        volume.__enter__()
        (volume.output / "half").write_bytes(b"half of an answer")
        return volume

    def record(self) -> None:
        """localnet.json, with processes that are no more."""
        name, path = str(self.directory), str(self.directory / "x")
        LocalnetRecord(name, "http://127.0.0.1:1", 31337, "local", path, {}, "0x", path, path, None).write()

    def clear(self) -> None:
        clear(self.directory, self.said.append)


@pytest.fixture
def wreck(tmp_path: Path) -> Iterator[Wreck]:
    wreck = Wreck(tmp_path / "net")
    wreck.directory.mkdir()
    yield wreck
    for point in mounts_below(tmp_path):
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def down(wreck: Wreck) -> int:
    return main(["localnet", "down", "--dir", str(wreck.directory)])


def loops_of(folder: Path) -> list[str]:
    """Image files below a folder that loop devices hold, deleted ones too."""
    listed = subprocess.run(["losetup", "--noheadings", "--output", "BACK-FILE"], capture_output=True, check=True)
    return [line for line in listed.stdout.decode().splitlines() if line.startswith(str(folder))]


def test_down_unmounts_what_a_killed_node_has_left(wreck: Wreck) -> None:
    wreck.record()
    output = wreck.volume("provider").output
    assert down(wreck) == Exit.OK
    assert (mounts_below(wreck.directory), loops_of(wreck.directory)) == ([], [])
    assert not output.exists()
    assert not (wreck.directory / "localnet.json").exists()


def test_down_of_a_network_that_is_down_still_unmounts(wreck: Wreck, capsys: pytest.CaptureFixture[str]) -> None:
    wreck.volume("provider")
    assert down(wreck) == Exit.OK
    assert mounts_below(wreck.directory) == []
    assert "removed what provider has left: 0 containers, 1 mounts" in capsys.readouterr().err


def test_up_clears_a_directory_with_mounts_in_it(wreck: Wreck) -> None:
    (wreck.directory / "deployment.json").write_text("{}")
    wreck.volume("provider")
    wreck.clear()
    assert list(wreck.directory.iterdir()) == []
    assert loops_of(wreck.directory) == []


def test_up_clears_what_a_removal_by_hand_has_left(wreck: Wreck) -> None:
    volume = wreck.volume("provider")
    shutil.rmtree(wreck.directory, ignore_errors=True)
    (volume.output / "late").write_bytes(b"of a container that still runs")
    assert mounts_below(wreck.directory) == [volume.output]
    wreck.clear()
    assert list(wreck.directory.iterdir()) == []
    assert (mounts_below(wreck.directory), loops_of(wreck.directory)) == ([], [])


def test_up_does_not_touch_a_directory_of_something_else(wreck: Wreck) -> None:
    output = wreck.volume("provider").output
    (wreck.directory / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something else"):
        wreck.clear()
    assert mounts_below(wreck.directory) == [output]


def test_up_does_not_touch_a_mount_of_something_else(wreck: Wreck) -> None:
    (wreck.directory / "deployment.json").write_text("{}")
    disk = wreck.directory / "store"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], check=True)
    (disk / "model").write_bytes(b"m")
    with pytest.raises(ConfigError, match="mount point") as refused:
        wreck.clear()
    assert refused.value.hint == f"umount {disk}, then try again"
    assert (disk / "model").exists()


def test_node_that_lives_keeps_its_mounts(wreck: Wreck, capsys: pytest.CaptureFixture[str]) -> None:
    (wreck.directory / "deployment.json").write_text("{}")
    living = wreck.volume("living")
    wreck.volume("dead")
    with own_directory(wreck.home("living").path):
        assert down(wreck) == Exit.OK
        assert mounts_below(wreck.directory) == [living.output]
        assert str(os.getpid()) in capsys.readouterr().err
        with pytest.raises(Fault, match=f"pid {os.getpid()}"):
            wreck.clear()
        assert mounts_below(wreck.directory) == [living.output]
    wreck.clear()
    assert mounts_below(wreck.directory) == []


def test_number_in_a_lock_file_that_is_not_locked_means_nothing(wreck: Wreck) -> None:
    wreck.volume("provider")
    (wreck.home("provider").path / "lock").write_text(f"{os.getpid()}\n")
    assert down(wreck) == Exit.OK
    assert mounts_below(wreck.directory) == []
    with (wreck.home("provider").path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_mount_that_is_in_use_is_detached(wreck: Wreck) -> None:
    output = wreck.volume("provider").output
    with (output / "half").open("rb") as used:
        assert down(wreck) == Exit.OK
        assert mounts_below(wreck.directory) == []
        assert used.read() == b"half of an answer"
    deadline = time.monotonic() + 30
    while loops_of(wreck.directory) and time.monotonic() < deadline:
        os.sched_yield()
    assert loops_of(wreck.directory) == []


def test_exchange_that_was_mounted_twice_goes(wreck: Wreck) -> None:
    volume = wreck.volume("provider")
    for _ in range(2):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(volume.output)], check=True)
    assert down(wreck) == Exit.OK
    assert mounts_below(wreck.directory) == []


def test_loop_device_without_a_mount_is_detached(wreck: Wreck) -> None:
    volume = Workspaces(wreck.home("provider").work).of_job(JOB).volume
    volume.mkdir(parents=True)
    (volume / "output.img").write_bytes(bytes(MIB))
    subprocess.run(["losetup", "--find", str(volume / "output.img")], check=True)
    assert down(wreck) == Exit.OK
    assert loops_of(wreck.directory) == []


def test_path_with_blanks_is_read_from_the_kernels_list(tmp_path: Path) -> None:
    volume = IoVolume(tmp_path / "a b" / "jobs" / "c\td" / "run", LIMITS)
    volume.__enter__()
    assert mounts_below(tmp_path) == [volume.output]
    assert volumes_below(tmp_path / "a b") == [volume.output.parent]
    discard(volume.output.parent)
    assert mounts_below(tmp_path) == []


def test_engine_that_is_away_keeps_nothing_mounted(wreck: Wreck, capsys: pytest.CaptureFixture[str]) -> None:
    wreck.volume("provider")
    wreck.home("provider").config.write_text(to_toml({"executor": {"docker_host": "unix:///nowhere.sock"}}))
    assert down(wreck) == Exit.OK
    assert mounts_below(wreck.directory) == []
    assert "no Docker Engine answers" in capsys.readouterr().err


# --- with containers ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def engine() -> Iterator[tuple[Engine, str]]:
    with open_context(node=f"test-leftovers-{os.getpid()}") as context:
        yield context.engine, context.image


def leave_container(engine: tuple[Engine, str], volume: IoVolume, *, started: bool = True) -> str:
    """A container of a node that was killed. Returns: its id."""
    api, node = engine[0].api, engine[0]._node
    labels = {"node": node, "job": JOB.hex(), "deadline": str(int(time.time()) + 600), "kind": "generate"}
    sandbox = Sandbox(engine[1], LIMITS, volume.mounts, labels=labels, command=("/bin/sleep", "600"))
    container = str(api.create_container_from_config(sandbox.container())["Id"])
    if started:
        api.start(container)
    return container


def containers_of(engine: tuple[Engine, str]) -> list[str]:
    return [found["Id"] for found in engine[0]._mine()]


@pytest.mark.parametrize("started", [True, False])
def test_down_removes_the_containers_of_the_dead_and_no_others(
    wreck: Wreck, engine: tuple[Engine, str], tmp_path: Path, started: bool
) -> None:
    other = Wreck(tmp_path / "other")
    kept = leave_container(engine, other.volume("provider"))
    living = leave_container(engine, wreck.volume("living"))
    leave_container(engine, wreck.volume("provider"), started=started)
    try:
        with own_directory(wreck.home("living").path):
            assert down(wreck) == Exit.OK
        assert set(containers_of(engine)) == {kept, living}
        assert down(wreck) == down(other) == Exit.OK
        assert containers_of(engine) == []
        assert loops_of(tmp_path) == []
    finally:
        for left in containers_of(engine):
            engine[0].api.remove_container(left, force=True)


@pytest.mark.parametrize("started", [True, False])
async def test_start_of_a_node_removes_container_and_mount_of_a_job_that_is_not_asked_again(
    wreck: Wreck, started: bool
) -> None:
    with open_context(node=f"test-leftovers-start-{os.getpid()}") as context:
        leave_container((context.engine, context.image), wreck.volume("provider"), started=started)
        work = wreck.home("provider").work
        adapter = DockerRunner(context, Workspaces(work), Capacity(1, HostSlots(wreck.directory / "turns", 1)))
        await adapter.recover()
        await adapter.report()
        assert containers_of((context.engine, context.image)) == []
        assert (mounts_below(work), loops_of(work)) == ([], [])
