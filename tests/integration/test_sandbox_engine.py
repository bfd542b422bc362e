"""The Docker Engine dies, hangs or loses an image while a node uses it: how jobs end, and that nothing stays behind."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from executor.containers.container import ENGINE_BACK_S
from executor.containers.ending import Intent
from executor.containers.engine import PROBE_S, Engine
from executor.containers.sandbox import MIB, Limits
from executor.containers.transcript import RunnerEvent, Tokens
from executor.docker_runner import Capacity, DockerRunner
from executor.models import ModelStore
from executor.runs.container_run import ContainerRun, Finish, Task
from executor.runs.context import RunnerContext
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import Workspaces
from node.daemon.node import Node
from protocol.errors import ExecutorError, ImageMissing
from protocol.events import DeviceReported
from protocol.stages.execution import Outcome
from tests.support.private_engine import PrivateEngine, open_private_engine

# Docker's client forgets the sockets with which it failed to connect.
pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

NODE = "test-engine"
JOB = bytes.fromhex("ab" * 32)
LIMITS = Limits(timeout_ms=30_000, memory_bytes=128 * MIB, output_bytes=8 * MIB, output_files=64)
END_S = 60


@pytest.fixture(scope="module")
def stopped() -> Iterator[tuple[PrivateEngine, str]]:
    with open_private_engine() as opened:
        yield opened


@pytest.fixture
def private(stopped: tuple[PrivateEngine, str]) -> Iterator[PrivateEngine]:
    """Running; containers outlive it."""
    engine, _ = stopped
    engine.start(live_restore=True)
    yield engine
    engine.stop()


@pytest.fixture
def context(private: PrivateEngine, stopped: tuple[PrivateEngine, str], tmp_path: Path) -> Iterator[RunnerContext]:
    with closing(Engine(NODE, private.host)) as engine:
        yield RunnerContext(engine, stopped[1], ModelStore(tmp_path / "store"), lambda manifest: None)


@pytest.fixture(autouse=True)
def forgotten_sockets() -> Iterator[None]:
    """They are collected here, where the warning is expected."""
    yield
    gc.collect()


class Run:
    """An attempt in a thread of its own."""

    def __init__(
        self, context: RunnerContext, home: Path, attack: str, tokens: int = 0, limits: Limits = LIMITS
    ) -> None:
        inputs: dict[str, bytes | Path] = {"input.json": b'{"tokens":%d}' % tokens}
        self.attempt = ContainerRun(context.engine, context.image, Task(JOB, attack, {}, inputs, ("a",), limits))
        self.said: list[RunnerEvent] = []
        self._speaks = threading.Event()
        self._finish: list[Finish] = []
        self._home = home
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._finish.append(self.attempt.run(self._home / "run", self._home / "kept", self._hear))

    def _hear(self, said: RunnerEvent) -> None:
        self.said.append(said)
        self._speaks.set()

    def wait_until_it_speaks(self) -> None:
        assert self._speaks.wait(END_S)

    @property
    def ids(self) -> list[int]:
        return [token for said in self.said if isinstance(said, Tokens) for token in said.ids]

    def finish(self) -> Finish:
        self._thread.join(END_S)
        assert self._finish, "the run does not end"
        return self._finish[0]


def containers(context: RunnerContext) -> list[object]:
    found: list[object] = context.engine.api.containers(all=True)
    return found


def wait_for_processes(count: int) -> None:
    """Until so many containers of the hostile image are alive, by the kernel's word: no Engine is needed."""
    deadline = time.monotonic() + END_S
    while len(hostile_processes()) != count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def hostile_processes() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[:1] == [b"/usr/bin/python3"] and b"/opt/vcoin/hostile.py" in words:
                found.append(path.parent.name)
    return found


def adapter(context: RunnerContext, home: Path) -> DockerRunner:
    return DockerRunner(context, Workspaces(home / "work"), Capacity(1, HostSlots(home / "turns", 1)))


def test_engine_that_dies_and_comes_back_costs_a_job_nothing(
    private: PrivateEngine, context: RunnerContext, tmp_path: Path
) -> None:
    run = Run(context, tmp_path, "talker", tokens=60)
    run.wait_until_it_speaks()
    private.kill()
    private.start(live_restore=True)
    assert run.finish().outcome is Outcome.OK, run.finish()
    # Each token once and in order, also those of a moment without a reader.
    assert run.ids == list(range(60))
    assert (tmp_path / "kept" / "a").read_bytes() == b"a"
    assert containers(context) == []
    assert not (tmp_path / "run").exists()


def test_engine_that_dies_over_and_over_costs_a_job_nothing(
    private: PrivateEngine, context: RunnerContext, tmp_path: Path
) -> None:
    run = Run(context, tmp_path, "talker", tokens=100)
    run.wait_until_it_speaks()
    for _ in range(2):
        private.kill()
        private.start(live_restore=True)
    assert run.finish().outcome is Outcome.OK, run.finish()
    assert run.ids == list(range(100))
    assert containers(context) == []


def test_container_that_stays_after_done_is_killed_when_the_engine_is_back(
    private: PrivateEngine, context: RunnerContext, tmp_path: Path
) -> None:
    run = Run(context, tmp_path, "talk_and_stay", tokens=20)
    run.wait_until_it_speaks()
    private.kill()
    private.start(live_restore=True)
    assert run.finish().outcome is Outcome.OK, run.finish()
    assert run.ids == list(range(20))
    assert (tmp_path / "kept" / "a").read_bytes() == b"a"
    assert containers(context) == []


@pytest.mark.parametrize(
    ("attack", "tokens", "outcome"), [("talker", 20, Outcome.OK), ("die_half_way", 0, Outcome.PROVIDER)]
)
def test_container_that_ends_while_the_engine_is_away_is_judged_by_what_it_left(
    private: PrivateEngine, context: RunnerContext, tmp_path: Path, attack: str, tokens: int, outcome: Outcome
) -> None:
    run = Run(context, tmp_path, attack, tokens)
    run.wait_until_it_speaks()
    private.kill()
    wait_for_processes(0)
    private.start(live_restore=True)
    finish = run.finish()
    assert finish.outcome is outcome, finish
    assert (tmp_path / "kept" / "a").exists() == (outcome is Outcome.OK)
    assert containers(context) == []


def test_job_whose_container_is_stopped_by_the_new_engine_may_be_resumed(
    private: PrivateEngine, context: RunnerContext, tmp_path: Path
) -> None:
    run = Run(context, tmp_path, "talker", tokens=600)
    run.wait_until_it_speaks()
    private.kill()
    private.start(live_restore=False)
    assert run.finish().outcome is Outcome.RESUMABLE, run.finish()
    assert containers(context) == []
    assert not (tmp_path / "run").exists()


async def test_engine_that_stays_away_is_the_providers_fault_and_what_it_kept_is_removed(
    private: PrivateEngine, context: RunnerContext, tmp_path: Path
) -> None:
    runner = adapter(context, tmp_path)
    assert (await runner.report()).status.slots == 1
    run = Run(context, tmp_path, "talker", tokens=600)
    run.wait_until_it_speaks()
    private.kill()
    with pytest.raises(ExecutorError, match="does not answer") as away:
        await runner.report()
    assert away.value.transient
    started = time.monotonic()
    finish = run.finish()
    assert finish.outcome is Outcome.PROVIDER, finish
    assert time.monotonic() - started < ENGINE_BACK_S + 5
    # Its container goes on; the first look at the engine that is back ends it.
    private.start(live_restore=True)
    assert len(containers(context)) == 1
    assert (await runner.report()).status.slots == 1
    assert containers(context) == []


@pytest.mark.parametrize(
    ("stop", "timeout_ms", "outcome"),
    [
        # Its own time is up.
        (lambda run: None, 3_000, Outcome.JOB),
        (lambda run: run.attempt.stop(Intent.CANCELLED), 30_000, Outcome.CANCELLED),
    ],
    ids=["timeout", "cancelled"],
)
async def test_job_that_is_to_end_while_the_engine_is_away_ends_at_once(
    private: PrivateEngine,
    context: RunnerContext,
    tmp_path: Path,
    stop: Callable[[Run], None],
    timeout_ms: int,
    outcome: Outcome,
) -> None:
    limits = Limits(timeout_ms=timeout_ms, memory_bytes=128 * MIB)
    run = Run(context, tmp_path, "talker", tokens=600, limits=limits)
    run.wait_until_it_speaks()
    private.kill()
    stop(run)
    finish = run.finish()
    assert finish.outcome is outcome, finish
    assert finish.duration_ms < 3_000 + 1_500
    private.start(live_restore=True)
    await adapter(context, tmp_path).report()
    assert containers(context) == []


def test_timeout_that_falls_on_a_restart_is_carried_out(
    private: PrivateEngine, context: RunnerContext, tmp_path: Path
) -> None:
    run = Run(context, tmp_path, "sleep", limits=Limits(timeout_ms=6_000, memory_bytes=128 * MIB))
    run.wait_until_it_speaks()
    private.kill()
    private.start(live_restore=True)
    finish = run.finish()
    assert finish.outcome is Outcome.JOB, finish
    assert "timeout" in finish.detail
    assert finish.duration_ms < 6_000 + 1_500
    assert containers(context) == []


async def test_nothing_is_run_while_the_engine_is_away(
    private: PrivateEngine, context: RunnerContext, tmp_path: Path
) -> None:
    private.kill()
    run = Run(context, tmp_path, "good")
    assert run.finish().outcome is Outcome.PROVIDER
    await adapter(context, tmp_path).recover()
    private.start(live_restore=True)
    assert Run(context, tmp_path, "good").finish().outcome is Outcome.OK


async def test_engine_that_hangs_counts_as_away(private: PrivateEngine, context: RunnerContext, tmp_path: Path) -> None:
    runner = adapter(context, tmp_path)
    private.signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(ExecutorError, match="does not answer"):
            await runner.report()
        assert time.monotonic() - started < 4 * PROBE_S
    finally:
        private.signal(signal.SIGCONT)
    assert (await runner.report()).status.slots == 1


async def test_node_tells_its_peers_of_no_slots_while_the_engine_is_away(
    private: PrivateEngine, context: RunnerContext, tmp_path: Path
) -> None:
    told: list[DeviceReported] = []

    class Driver:
        async def report(self, event: DeviceReported) -> None:
            told.append(event)

    runner = adapter(context, tmp_path)
    node: Any = SimpleNamespace(parts=SimpleNamespace(runner=runner, driver=Driver()))
    await Node._report_device(node)
    private.kill()
    await Node._report_device(node)
    private.start(live_restore=True)
    await Node._report_device(node)
    assert [event.status.slots for event in told] == [1, 0, 1]
    assert [bool(event.status.class_ids) for event in told] == [True, False, True]


async def test_image_that_is_removed_meanwhile_is_the_providers_fault(context: RunnerContext, tmp_path: Path) -> None:
    context.engine.api.tag(context.image, "vcoin-removed", "now")
    lost = RunnerContext(context.engine, "vcoin-removed:now", context.models, context.act_w)
    runner = adapter(lost, tmp_path)
    assert (await runner.report()).status.slots == 1
    context.engine.api.remove_image("vcoin-removed:now")
    with pytest.raises(ImageMissing, match="prepare"):
        await runner.report()
    finish = Run(lost, tmp_path, "good").finish()
    assert (finish.outcome, "is not on this machine" in finish.detail) == (Outcome.PROVIDER, True)
    assert containers(context) == []
    assert not (tmp_path / "run").exists()
