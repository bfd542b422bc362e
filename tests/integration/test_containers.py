"""Containers that misbehave: how each ends, and that nothing of them is left."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from docker.errors import APIError

from executor.cards.card_desk import CardLease
from executor.containers.ending import EXIT_KILLED, Intent
from executor.containers.engine import Engine
from executor.containers.sandbox import MIB, Limits, Sandbox
from executor.containers.transcript import RunnerEvent, Tokens
from executor.runs.container_run import ContainerRun, Finish, Task
from executor.runs.context import RunnerContext
from protocol.errors import ExecutorError, ImageMissing
from protocol.stages.execution import Outcome
from tests.adversaries.images import build
from tests.support.runner_context import docker_host, open_context

pytestmark = pytest.mark.docker

NODE = "test-containers"
LIMITS = Limits(
    timeout_ms=20_000,
    memory_bytes=128 * MIB,
    pids=64,
    file_bytes=4 * MIB,
    output_bytes=8 * MIB,
    output_files=64,
    stdout_bytes=MIB,
)


@pytest.fixture(scope="module")
def context() -> Iterator[RunnerContext]:
    with open_context() as honest:
        hostile = build("hostile_image", honest.image, docker_host())
    with open_context(hostile, NODE) as opened:
        yield opened


def attempt(context: RunnerContext, attack: str, limits: Limits = LIMITS) -> ContainerRun:
    task = Task(bytes.fromhex("aa" * 32), attack, {}, {"input.json": b"{}"}, ("a",), limits)
    return ContainerRun(context.engine, context.image, task)


def run(context: RunnerContext, attack: str, home: Path, limits: Limits = LIMITS) -> Finish:
    finish = attempt(context, attack, limits).run(home / "run", home / "kept", lambda said: None)
    assert context.engine.api.containers(all=True, filters={"label": f"org.vcoin.node={NODE}"}) == []
    assert not (home / "run").exists()
    return finish


def test_good_output_is_kept_and_nothing_else(context: RunnerContext, tmp_path: Path) -> None:
    assert run(context, "good", tmp_path).outcome is Outcome.OK
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["a"]


@pytest.mark.parametrize(
    "attack",
    [
        *("symlink", "linked_folder", "hard_link", "fifo", "device", "escape", "lie", "wrong_size", "missing_file"),
        *("no_manifest", "nothing", "not_json", "large_manifest", "manifest_bomb", "endless_number"),
        *("deep", "bad_name", "sparse"),
    ],
)
def test_hostile_output_is_refused(context: RunnerContext, tmp_path: Path, attack: str) -> None:
    finish = run(context, attack, tmp_path)
    assert finish.outcome is Outcome.HOSTILE, finish
    assert finish.detail.startswith("output: ")
    # It goes into the journal, to a peer and to a terminal.
    assert finish.detail.isprintable()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_files_that_nobody_asked_for_are_left(context: RunnerContext, tmp_path: Path) -> None:
    assert run(context, "extra_files", tmp_path).outcome is Outcome.OK
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("attack", "outcome", "detail"),
    [
        ("exit_3", Outcome.PROVIDER, "exited with 3"),
        ("exit_143", Outcome.PROVIDER, "exited with 143"),
        # Not by us, and not for its memory.
        ("kill_self", Outcome.PROVIDER, "exited with 137"),
        ("hidden_oom", Outcome.JOB, "out_of_memory"),
        ("huge_hole", Outcome.JOB, "output_quota"),
    ],
)
def test_what_the_exit_says_is_asked_last(
    context: RunnerContext, tmp_path: Path, attack: str, outcome: Outcome, detail: str
) -> None:
    finish = run(context, attack, tmp_path)
    assert finish.outcome is outcome, finish
    assert detail in finish.detail


@pytest.mark.parametrize("attack", ["binary", "deep_events"])
def test_noise_on_stdout_is_dropped(context: RunnerContext, tmp_path: Path, attack: str) -> None:
    said: list[RunnerEvent] = []
    finish = attempt(context, attack).run(tmp_path / "run", tmp_path / "kept", said.append)
    assert (finish.outcome, said) == (Outcome.OK, [])


def test_what_is_said_after_done_is_not_heard(context: RunnerContext, tmp_path: Path) -> None:
    said: list[RunnerEvent] = []
    finish = attempt(context, "after_done").run(tmp_path / "run", tmp_path / "kept", said.append)
    assert (finish.outcome, said) == (Outcome.OK, [Tokens((1,))])
    assert finish.ending is not None
    assert finish.ending.metrics == {"run_ms": 7}


def test_what_stays_after_done_is_killed_at_once_and_its_output_kept(context: RunnerContext, tmp_path: Path) -> None:
    finish = run(context, "hang_after_done", tmp_path)
    assert finish.outcome is Outcome.OK
    assert finish.ending is not None
    assert finish.ending.exit_code == EXIT_KILLED
    assert finish.duration_ms < LIMITS.timeout_ms / 2
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["a"]


@pytest.mark.parametrize("attack", ["many", "fill"])
def test_output_quota_holds(context: RunnerContext, tmp_path: Path, attack: str) -> None:
    finish = run(context, attack, tmp_path)
    assert finish.outcome is Outcome.JOB, finish
    assert "output_quota" in finish.detail
    assert "No space left" in (finish.ending.log if finish.ending else ""), finish


def test_one_large_file_is_cut_off(context: RunnerContext, tmp_path: Path) -> None:
    finish = run(context, "one_large", tmp_path)
    assert finish.outcome is Outcome.JOB
    assert "output_quota" in finish.detail


def test_memory_hog_is_killed_as_out_of_memory(context: RunnerContext, tmp_path: Path) -> None:
    finish = run(context, "memory", tmp_path)
    assert finish.outcome is Outcome.JOB
    assert "out_of_memory" in finish.detail


@pytest.mark.parametrize("attack", ["flood", "flood_of_tokens", "flood_of_errors", "long_line"])
def test_flood_is_stopped(context: RunnerContext, tmp_path: Path, attack: str) -> None:
    finish = run(context, attack, tmp_path)
    assert finish.outcome is Outcome.HOSTILE
    assert "flood" in finish.detail
    assert finish.duration_ms < LIMITS.timeout_ms / 2


@pytest.mark.parametrize("attack", ["sleep", "mute_and_stay", "fork"])
def test_timeout_kills_what_ignores_signals(context: RunnerContext, tmp_path: Path, attack: str) -> None:
    timeout_ms = 1500
    finish = run(context, attack, tmp_path, Limits(timeout_ms=timeout_ms, memory_bytes=128 * MIB, pids=64))
    assert finish.outcome is Outcome.JOB
    assert "timeout" in finish.detail
    assert timeout_ms <= finish.duration_ms < timeout_ms + 1500


def test_timeout_asks_before_it_kills(context: RunnerContext, tmp_path: Path) -> None:
    finish = run(context, "polite", tmp_path, Limits(timeout_ms=1500, memory_bytes=128 * MIB))
    # It was asked, and left as one that may go on: that we ended it decides.
    assert finish.outcome is Outcome.JOB
    assert finish.ending is not None
    assert (finish.ending.exit_code, finish.ending.log) == (75, "asked to stop\n")


@pytest.mark.parametrize(("stumbles", "outcome"), [(1, Outcome.OK), (2, Outcome.PROVIDER)])
def test_a_container_that_could_not_be_set_up_is_started_once_more(
    context: RunnerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stumbles: int, outcome: Outcome
) -> None:
    start, left = context.engine.api.start, [stumbles]

    def stumble(container: str) -> None:
        left[0] -= 1
        if left[0] >= 0:
            response = requests.Response()
            response.status_code = 500
            reason = "failed to create task for container: OCI runtime create failed: runc create failed: reset by peer"
            raise APIError("500 Server Error", response, reason)
        start(container)

    monkeypatch.setattr(context.engine.api, "start", stumble)
    assert run(context, "good", tmp_path).outcome is outcome


def test_stop_from_another_thread_ends_the_run(context: RunnerContext, tmp_path: Path) -> None:
    sleeper = attempt(context, "sleep")
    ended: list[Finish] = []
    ready = threading.Event()
    thread = threading.Thread(
        target=lambda: ended.append(sleeper.run(tmp_path / "run", tmp_path / "kept", lambda said: ready.set()))
    )
    thread.start()
    assert ready.wait(timeout=10)
    sleeper.stop(Intent.CANCELLED)
    thread.join(timeout=10)
    assert [finish.outcome for finish in ended] == [Outcome.CANCELLED]


def test_stopped_before_it_starts_never_runs(context: RunnerContext, tmp_path: Path) -> None:
    early = attempt(context, "good")
    early.stop(Intent.CANCELLED)
    assert early.run(tmp_path / "run", tmp_path / "kept", lambda said: None).outcome is Outcome.CANCELLED
    assert not (tmp_path / "kept").exists()


def test_listener_that_fails_leaves_no_container(context: RunnerContext, tmp_path: Path) -> None:
    def fail(said: RunnerEvent) -> None:
        raise RuntimeError("listener")

    with pytest.raises(RuntimeError, match="listener"):
        attempt(context, "sleep").run(tmp_path / "run", tmp_path / "kept", fail)
    assert context.engine.api.containers(all=True, filters={"label": f"org.vcoin.node={NODE}"}) == []


def test_missing_image_is_told_at_once(context: RunnerContext, tmp_path: Path) -> None:
    sandbox = Sandbox("vcoin-runner:never-built", LIMITS, ())
    with pytest.raises(ImageMissing):
        context.engine.container(sandbox, "job", 0).run(lambda said: None)


def test_card_that_is_not_there_is_the_providers_fault(context: RunnerContext, tmp_path: Path) -> None:
    task = Task(bytes(32), "good", {}, {}, ("a",), LIMITS)
    lease = CardLease(("GPU-00000000-0000-0000-0000-000000000000",), 1 << 30)
    finish = ContainerRun(context.engine, context.image, task, lambda: lease).run(
        tmp_path / "run", tmp_path / "kept", lambda said: None
    )
    assert finish.outcome is Outcome.PROVIDER
    assert context.engine.api.containers(all=True, filters={"label": f"org.vcoin.node={NODE}"}) == []


# Docker's client forgets the socket with which it failed to connect.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_engine_that_does_not_answer_is_a_transient_error(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError) as caught:
        Engine(NODE, f"unix://{tmp_path}/no.sock")
    assert caught.value.transient
    del caught
    gc.collect()


def test_sweep_removes_orphans_and_leaves_the_rest(context: RunnerContext) -> None:
    now = time.time()
    late, unknown, known = (
        _leave_behind(context, NODE, job, deadline)
        for job, deadline in (("late", now - 10), ("unknown", now + 100), ("known", now + 100))
    )
    others = _leave_behind(context, "another-node", "unknown", now - 10)
    try:
        assert sorted(context.engine.sweep({"late", "known"}, now)) == ["late", "unknown"]
        left = {found["Id"] for found in context.engine.api.containers(all=True)}
        assert {known, others} <= left
        assert not {late, unknown} & left
    finally:
        for container in (known, others):
            context.engine.api.remove_container(container, force=True)


def _leave_behind(context: RunnerContext, node: str, job: str, deadline: float) -> str:
    labels = {"node": node, "job": job, "deadline": str(int(deadline))}
    body = Sandbox(context.image, LIMITS, (), labels=labels).container()
    return str(context.engine.api.create_container_from_config(body)["Id"])
