"""The node is killed while its containers run: the next one takes them over, or removes them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from executor import devices
from executor.containers.sandbox import MIB, Limits
from executor.containers.transcript import RunnerEvent, Tokens
from executor.docker_runner import Capacity, DockerRunner
from executor.runs.container_run import ContainerRun, Task
from executor.runs.context import RunnerContext
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import INPUT_JSON, Workspaces
from executor.workspace.io_volume import discard
from protocol.stages.execution import Outcome, RunSpec, validate_result
from protocol.wire.ids import JobId
from tests.adversaries.images import build
from tests.support.runner_context import docker_host, open_context, small_model

pytestmark = [pytest.mark.docker, pytest.mark.slow]

JOB = bytes.fromhex("ac" * 32)
SALT = "5a" * 16
CHAT = {
    "v": 1,
    "salt": SALT,
    "messages": [{"role": "user", "content": "Name ten rivers of Europe, and where they end."}],
}


@dataclass(frozen=True)
class House:
    """A node's name, its folder and how it runs things."""

    node: str
    home: Path
    context: RunnerContext

    @property
    def workspaces(self) -> Workspaces:
        return Workspaces(self.home / "work")

    def adapter(self) -> DockerRunner:
        return DockerRunner(self.context, self.workspaces, Capacity(1, HostSlots(self.home / "turns", 1)))

    def attempt(self, attack: str, tokens: int, timeout_ms: int, job: bytes = JOB) -> ContainerRun:
        limits = Limits(timeout_ms=timeout_ms, memory_bytes=128 * MIB, output_bytes=8 * MIB, output_files=64)
        inputs: dict[str, bytes | Path] = {"input.json": json.dumps({"tokens": tokens}).encode()}
        return ContainerRun(self.context.engine, self.context.image, Task(job, attack, {}, inputs, ("a",), limits))

    def containers(self) -> list[dict[str, Any]]:
        filters = {"label": f"org.vcoin.node={self.node}"}
        found: list[dict[str, Any]] = self.context.engine.api.containers(all=True, filters=filters)
        return found

    def created(self, since: float) -> int:
        """How many containers of this node were created since then, removed ones too."""
        filters = {"label": f"org.vcoin.node={self.node}", "event": "create"}
        return len(list(self.context.engine.api.events(since=int(since), until=time.time(), filters=filters)))


_numbers = itertools.count()


@pytest.fixture(scope="module")
def hostile() -> str:
    with open_context() as honest:
        return build("hostile_image", honest.image, docker_host())


@pytest.fixture
def house(hostile: str, tmp_path: Path) -> Iterator[House]:
    # Of its own for each test: the engine remembers what it created, by the second.
    name = f"test-restart-{os.getpid()}-{next(_numbers)}"
    with open_context(hostile, name) as context:
        opened = House(name, tmp_path, context)
        yield opened
        for left in opened.containers():
            context.engine.api.remove_container(left["Id"], force=True)
        for exchange in (tmp_path / "run", *tmp_path.glob("work/*/*/run")):
            discard(exchange)


def die_at_first_token(house: House, *call: object) -> None:
    """Run `call` of this file in another process, and kill that as soon as its container has said something."""
    command = [sys.executable, "-m", "tests.integration.test_sandbox_restart", house.node, str(house.home)]
    with subprocess.Popen([*command, house.context.image, *map(str, call)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"speaks\n"
        finally:
            process.kill()


def follow(house: House, attempt: ContainerRun) -> tuple[Outcome, str, list[int]]:
    said: list[RunnerEvent] = []
    finish = attempt.run(house.home / "run", house.home / "kept", said.append)
    assert house.containers() == []
    assert not (house.home / "run").exists()
    return finish.outcome, finish.detail, [token for each in said if isinstance(each, Tokens) for token in each.ids]


def test_container_that_still_runs_is_taken_over(house: House) -> None:
    began = time.time()
    die_at_first_token(house, "attempt", "talker", 40, 30_000)
    assert [found["State"] for found in house.containers()] == ["running"]
    assert follow(house, house.attempt("talker", 40, 30_000)) == (Outcome.OK, "", list(range(40)))
    assert (house.home / "kept" / "a").read_bytes() == b"a"
    assert house.created(began) == 1


def test_container_that_stands_still_is_taken_over_and_goes_on(house: House) -> None:
    began, engine = time.time(), house.context.engine
    die_at_first_token(house, "attempt", "talker", 40, 30_000)
    engine.hold(is_held=True)
    assert [found["State"] for found in house.containers()] == ["paused"]
    said: list[int] = []

    def hear(event: RunnerEvent) -> None:
        if not said:
            # What it said before is heard; the rest comes once it goes on.
            engine.hold(is_held=False)
        said.extend(event.ids if isinstance(event, Tokens) else ())

    finish = house.attempt("talker", 40, 30_000).run(house.home / "run", house.home / "kept", hear)
    assert (finish.outcome, said) == (Outcome.OK, list(range(40)))
    assert house.created(began) == 1


def test_answer_of_a_container_that_ended_meanwhile_is_taken(house: House) -> None:
    began = time.time()
    die_at_first_token(house, "attempt", "talker", 10, 30_000)
    house.context.engine.api.wait(house.containers()[0]["Id"])
    assert follow(house, house.attempt("talker", 10, 30_000)) == (Outcome.OK, "", list(range(10)))
    assert house.created(began) == 1


def test_its_time_runs_from_when_it_was_started(house: House) -> None:
    died = time.monotonic()
    die_at_first_token(house, "attempt", "sleep", 0, 4_000)
    outcome, detail, _ = follow(house, house.attempt("sleep", 0, 4_000))
    assert (outcome, "timeout" in detail) == (Outcome.JOB, True)
    # The start of the other process comes on top.
    assert time.monotonic() - died < 4 + 1.5 + 8


def test_what_ran_longer_than_it_might_has_timed_out_whatever_it_says(house: House) -> None:
    die_at_first_token(house, "attempt", "talker", 40, 2_000)
    assert house.context.engine.api.wait(house.containers()[0]["Id"])["StatusCode"] == 0
    outcome, detail, _ = follow(house, house.attempt("talker", 40, 2_000))
    assert (outcome, "timeout" in detail) == (Outcome.JOB, True)
    assert not (house.home / "kept").exists()


def test_memory_is_asked_of_the_engine_after_a_restart_too(house: House) -> None:
    die_at_first_token(house, "attempt", "speak_and_eat", 0, 30_000)
    house.context.engine.api.wait(house.containers()[0]["Id"])
    outcome, detail, _ = follow(house, house.attempt("speak_and_eat", 0, 30_000))
    assert (outcome, "out_of_memory" in detail) == (Outcome.JOB, True)


def test_container_of_another_run_of_the_job_is_replaced(house: House) -> None:
    began = time.time()
    die_at_first_token(house, "attempt", "talker", 600, 60_000)
    assert follow(house, house.attempt("talker", 3, 60_000)) == (Outcome.OK, "", [0, 1, 2])
    assert house.created(began) == 2


def test_container_whose_output_is_lost_is_replaced(house: House) -> None:
    began = time.time()
    die_at_first_token(house, "attempt", "talker", 30, 60_000)
    # As after a restart of the machine.
    subprocess.run(["umount", "--lazy", str(house.home / "run" / "output")], check=True)
    assert follow(house, house.attempt("talker", 30, 60_000)) == (Outcome.OK, "", list(range(30)))
    assert house.created(began) == 2


async def test_job_goes_on_with_a_real_model_and_orphans_go(house: House) -> None:
    began = time.time()
    with open_context(node=house.node) as honest:
        real = House(house.node, house.home, honest)
        spec = run_spec()
        real.workspaces.of_job(spec.job_id).put(INPUT_JSON, json.dumps(CHAT).encode())
        die_at_first_token(real, "job")
        # Somebody else's job, of which this node knows nothing any more.
        die_at_first_token(house, "attempt", "sleep", 0, 60_000)
        assert len(real.containers()) == 2
        adapter = real.adapter()
        await adapter.recover()
        assert len(real.containers()) == 2
        streamed: list[int] = []
        running = trio.Event()

        async def on_tokens(ids: tuple[int, ...]) -> None:
            streamed.extend(ids)
            running.set()
            await trio.lowlevel.checkpoint()

        async def look() -> None:
            await running.wait()
            assert (await adapter.report()).status.slots == 1
            assert [found["Labels"]["org.vcoin.job"] for found in real.containers()] == [spec.job_id.hex()]

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                exited = await adapter.run_job(spec, on_tokens)
        assert exited.result.outcome is Outcome.OK, exited.result.detail
        raw = real.workspaces.of_job(spec.job_id).get("result.json") or b""
        facts = validate_result(raw, JobId(spec.job_id), small_model(), spec.max_new_tokens, salt=SALT)
        assert tuple(streamed) == facts.output_ids
        assert real.created(began) == 2
        assert real.containers() == []


async def test_containers_over_their_time_are_removed_at_the_start(house: House) -> None:
    die_at_first_token(house, "attempt", "sleep", 0, 60_000)
    # LATE_S after its time: only the clock that the sweep is given can be that late.
    assert house.context.engine.sweep(None, time.time()) == []
    assert house.context.engine.sweep(None, time.time() + 60 + 61) == [JOB.hex()]
    assert house.containers() == []


def run_spec() -> RunSpec:
    class_id = max(devices.class_ids_for("bf16"))
    job_id = hashlib.sha256(b"restart").digest()
    return RunSpec(job_id, small_model().cid, class_id, 200, 0, bytes(32), 2 << 30, 90_000)


def main(node: str, home: str, image: str, what: str, *rest: str) -> None:
    """The victim: a node that runs one thing."""
    with open_context(image, node) as context:
        house = House(node, Path(home), context)
        if what == "attempt":
            attack, tokens, timeout_ms = rest
            attempt = house.attempt(attack, int(tokens), int(timeout_ms))
            attempt.run(house.home / "run", house.home / "kept", lambda said: speak())
        else:
            trio.run(house.adapter().run_job, run_spec(), speak_later)


def speak() -> None:
    print("speaks", flush=True)  # noqa: T201 (to the process that will kill this one)


async def speak_later(ids: tuple[int, ...]) -> None:
    speak()
    await trio.lowlevel.checkpoint()


if __name__ == "__main__":
    main(*sys.argv[1:])
