"""A warm engine: real jobs and checks that join it and leave it, each of which passes its own check."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from chain.calibration.files import packaged_for
from executor import devices
from executor.adapter import Runner
from executor.containers.sandbox import Limits, Sandbox
from executor.runs.context import SERVE, RunnerContext
from executor.runs.engines import LLAMA, TORCH
from executor.runs.generation import Generation, PendingRun
from executor.scheduler import held_slots
from executor.scheduler.serving import EngineEnd
from executor.workspace.folders import FINGERPRINT_BIN, INPUT_JSON, RESULT_JSON, STOP_ORDER_BIN, Workspaces
from node.config import load
from node.daemon.runner import Site, Weights, find_docker
from protocol.effects import ReplaySample, ShortenRun
from protocol.events import ContainerExited
from protocol.params import PASS_ABOVE_BPS
from protocol.stages.execution import Outcome, RunSpec
from protocol.stages.stop_order import STOP_ORDER
from protocol.stages.token_rules import signed_temperature
from protocol.stages.verification import score
from protocol.wire.ids import Address
from scripts.setup import model
from tests.support.runner_context import docker_host, open_context, small_model

pytestmark = pytest.mark.docker

CLASSES = devices.class_ids_for("bf16")
MIB = 1 << 20
SIGNATURE = bytes(range(65))
RIVERS = "Name three rivers of Europe and say where each of them ends."
PAPER = "Explain in depth how paper changed the history of human society."


def chat(content: str) -> bytes:
    return json.dumps({"v": 1, "salt": "5a" * 16, "messages": [{"role": "user", "content": content}]}).encode()


@dataclass
class House:
    """One node with one slot, and what came of its jobs."""

    name: str
    home: Path
    context: RunnerContext
    class_id: int
    memory_mib: int = 2048
    at_once: int = 4
    streamed: dict[bytes, list[int]] = field(default_factory=dict)
    spoken: dict[bytes, trio.Event] = field(default_factory=lambda: defaultdict(trio.Event))
    exited: dict[bytes, ContainerExited] = field(default_factory=dict)
    order: list[bytes] = field(default_factory=list)
    over: dict[bytes, trio.Event] = field(default_factory=lambda: defaultdict(trio.Event))

    def __post_init__(self) -> None:
        self.workspaces = Workspaces(self.home / "work")
        self.began = time.time()

    async def find(self) -> Runner:
        """The context of this node's containers, as its configuration says."""
        settings = {
            "executor.slots": 1,
            "executor.at_once": self.at_once,
            "executor.host_slots": 1,
            "executor.memory": self.memory_mib * MIB,
        }
        places = {"node.data_dir": self.home, "executor.store": model.store(), "executor.docker_host": docker_host()}
        config = load({}, {name: str(value) for name, value in {**settings, **places}.items()})
        weights = Weights()
        noise = packaged_for(small_model().cid)
        assert noise is not None
        weights.put(noise.manifest, noise.act_weights)
        runner, problem = await find_docker(
            Site(config, Address(self.name), self.context.models, weights, self.workspaces)
        )
        assert runner is not None, problem
        return runner

    def job(self, name: str, question: str = RIVERS, tokens: int = 16, milli: int = 0, mib: int = 2048) -> RunSpec:
        job_id, seed = hashlib.sha256(name.encode()).digest(), hashlib.sha256(b"seed" + name.encode()).digest()
        spec = RunSpec(job_id, small_model().cid, self.class_id, tokens, milli, seed, mib * MIB, 300_000)
        self.workspaces.of_job(job_id).put(INPUT_JSON, chat(question))
        return spec

    async def run(self, spec: RunSpec) -> None:
        streamed = self.streamed.setdefault(spec.job_id, [])

        async def on_tokens(ids: tuple[int, ...]) -> None:
            streamed.extend(ids)
            self.spoken[spec.job_id].set()

        self.exited[spec.job_id] = await self.runner.run_job(spec, on_tokens)
        self.order.append(spec.job_id)
        self.over[spec.job_id].set()

    def ids(self, spec: RunSpec) -> list[int]:
        found: list[int] = json.loads(self.result(spec))["output_token_ids"]
        return found

    def result(self, spec: RunSpec) -> bytes:
        return self.workspaces.of_job(spec.job_id).get(RESULT_JSON) or b""

    async def score(self, spec: RunSpec, stop_order: bytes = b"") -> int:
        """The score of the answer by a seat of the same class, which may have found a client's order to stop in it."""
        sample = self.workspaces.of_sample(spec.job_id, 0)
        if stop_order:
            sample.put(STOP_ORDER_BIN, stop_order)
        sample.put(INPUT_JSON, self.workspaces.of_job(spec.job_id).get(INPUT_JSON) or b"")
        sample.put(RESULT_JSON, self.result(spec))
        replayed = await self.runner.replay(ReplaySample(spec.job_id, 0, spec))
        assert replayed.problem == ""
        noise = packaged_for(spec.manifest)
        assert noise is not None
        exited, calibration = self.exited[spec.job_id], noise.classes[self.class_id].calibration
        return score(exited.fingerprint, replayed.check, exited.result.new_tokens, calibration)

    def created(self) -> int:
        """How many containers this node has created, removed ones too."""
        filters = {"label": f"org.vcoin.node={self.name}", "event": "create"}
        return len(list(self.context.engine.api.events(since=int(self.began), until=time.time(), filters=filters)))

    def running(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.context.engine.api.containers(
            all=True, filters={"label": f"org.vcoin.node={self.name}"}
        )
        return found

    @asynccontextmanager
    async def open(self) -> AsyncIterator[trio.Nursery]:
        """The place of the runs; it closes when all have ended."""
        self.runner = await self.find()
        with trio.fail_after(240):
            async with trio.open_nursery() as serving:
                serving.start_soon(self.runner.serve)
                async with trio.open_nursery() as jobs:
                    yield jobs
                serving.cancel_scope.cancel()

    async def ended(self, spec: RunSpec) -> None:
        """Wait until a job has ended."""
        with trio.fail_after(60):
            await self.over[spec.job_id].wait()

    async def hear(self, *specs: RunSpec) -> None:
        """Wait until each of these has said something."""
        with trio.fail_after(60):
            for spec in specs:
                await self.spoken[spec.job_id].wait()


@pytest.fixture
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    name = f"test-shared-{os.getpid()}-{request.node.name}"
    with open_context(node=name) as context:
        # Questions that are no matter of numbers go to the faster class.
        opened = House(name, tmp_path, context, getattr(request, "param", max(CLASSES)))
        yield opened
        assert opened.running() == []
        assert list(tmp_path.glob("work/shared/*")) == []


async def begin(house: House, jobs: trio.Nursery, *specs: RunSpec) -> None:
    """A job that is written, and these, which join it."""
    first = house.job("first", PAPER, tokens=64)
    jobs.start_soon(house.run, first)
    await house.hear(first)
    for spec in specs:
        jobs.start_soon(house.run, spec)


@pytest.mark.parametrize("house", CLASSES, indirect=True, ids=lambda class_id: f"class {class_id}")
async def test_each_is_answered_streamed_and_checked_as_if_alone(house: House) -> None:
    paper = house.job("paper", PAPER, 40, milli=800)
    rivers, short = house.job("rivers", tokens=24), house.job("short", "Say something.", 3, milli=800)
    damaged = house.job("damaged", tokens=16)
    house.workspaces.of_job(damaged.job_id).put(INPUT_JSON, b'{"v":1,"salt":"' + b"5a" * 16 + b'","messages":[]}')
    async with house.open() as jobs:
        await begin(house, jobs, paper, rivers, short, damaged)
        await house.hear(paper, rivers)
        # A check joins those who write.
        await house.ended(short)
        assert await house.score(short) > PASS_ABOVE_BPS
    # In class 2 another engine checks than the one that answered.
    assert house.created() == house.class_id
    build = json.loads(house.result(short))["engine"]
    assert build.startswith(LLAMA if house.class_id == 2 else TORCH)
    refused = house.exited[damaged.job_id].result
    assert (refused.outcome, "bad_messages" in refused.detail) == (Outcome.CLIENT, True)
    assert house.order.index(short.job_id) < house.order.index(paper.job_id)
    for spec in (paper, rivers, short):
        ended = house.exited[spec.job_id].result
        assert (ended.outcome, ended.detail) == (Outcome.OK, "")
        assert house.streamed[spec.job_id] == house.ids(spec)
    # Without an engine a check has a container of its own, and finds the same.
    assert await house.score(paper) > PASS_ABOVE_BPS
    serving = house.runner.serving()
    (served,) = serving.models
    assert (served.answers, served.tokens) == (4, sum(map(len, house.streamed.values())))
    assert served.later_tokens / served.writing_ms > 0 < served.first_token_ms
    assert (serving.engine_starts, dict(serving.engine_ends)[EngineEnd.FAILED]) == (house.class_id, 0)
    again = await house.runner.run_job(paper, _nobody)
    assert again == house.exited[paper.job_id]


async def _nobody(ids: tuple[int, ...]) -> None:
    raise AssertionError("what was told once is told again")


async def test_in_float32_an_answer_is_the_same_to_the_byte_whoever_is_beside_it(tmp_path: Path) -> None:
    """Its neighbours: one that is called off, one that takes its number after it, one whose input names other files."""
    name = f"test-shared-{os.getpid()}-same"
    with open_context(node=name) as context:
        house = House(name, tmp_path, context, 1)
        specs = [house.job(word, PAPER + " " + word, 16, milli=800) for word in ("a", "b")]
        off, heir = house.job("off", "My password is tulip.", 400), house.job("heir", "Which password did I say?", 6)
        curious = house.job("curious")
        other = json.loads(chat("../input/0.input.json")) | {"path": "/input/0.input.json", "messages": "0.input.json"}
        house.workspaces.of_job(curious.job_id).put(INPUT_JSON, json.dumps(other).encode())
        scope = trio.CancelScope()

        async def run_until_called_off() -> None:
            with scope:
                await house.run(off)

        async with house.open() as jobs:
            jobs.start_soon(run_until_called_off)
            await house.hear(off)
            for spec in (*specs, curious):
                jobs.start_soon(house.run, spec)
            await house.hear(*specs)
            scope.cancel()
            await house.ended(curious)
            jobs.start_soon(house.run, heir)
            await house.hear(heir)
            held = _input_files(house)
            # The one that was called off has left nothing, or its number is another's already.
            assert not any(b"tulip" in content for content in held.values())
        assert house.created() == 1
        assert house.exited[curious.job_id].result.outcome is Outcome.CLIENT
        for spec in (specs[1], heir):
            alone = Workspaces(tmp_path / "alone").of_job(spec.job_id)
            alone.put(INPUT_JSON, house.workspaces.of_job(spec.job_id).get(INPUT_JSON) or b"")
            Generation(context, PendingRun(context, spec, alone)).run(lambda ids: None)
            assert alone.get(RESULT_JSON) == house.result(spec)
            assert len(alone.get(FINGERPRINT_BIN) or b"") == len(house.exited[spec.job_id].fingerprint)


def _input_files(house: House) -> dict[str, bytes]:
    """The inputs that the engine can read, by name."""
    found = {}
    for path in house.home.glob("work/shared/**/input/*.input.json"):
        # It may go with its job while we look.
        with suppress(FileNotFoundError):
            found[path.name] = path.read_bytes()
    return found


async def test_an_engine_can_read_no_file_of_a_job_that_has_ended(house: House) -> None:
    stays, ends = house.job("stays", PAPER, 40), house.job("ends", "Say yes.", 2)
    async with house.open() as jobs:
        jobs.start_soon(house.run, stays)
        await house.hear(stays)
        jobs.start_soon(house.run, ends)
        await house.ended(ends)
        with trio.fail_after(20):
            while len(_input_files(house)) > 1:
                await trio.lowlevel.checkpoint()
        assert set(_input_files(house)) == {"0.input.json"}
        assert not list(house.home.glob("work/shared/**/output/1.*"))
    assert house.created() == 1


async def test_a_job_alone_has_a_container_of_its_own_and_its_turn(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_slots, "TURN_S", 0.01)
    first, late = house.job("first", PAPER, 24), house.job("late", tokens=4)
    alone = replace(house.job("alone", tokens=4), temperature=signed_temperature(0, ruled=False, alone=True))
    async with house.open() as jobs:
        jobs.start_soon(house.run, first)
        await house.hear(first)
        jobs.start_soon(house.run, alone)
        while not house.runner.is_slot_wanted():
            await trio.lowlevel.checkpoint()
        jobs.start_soon(house.run, late)
    assert house.exited[alone.job_id].result.outcome is Outcome.OK
    # The engine takes no one in while a slot is waited for, and the job that came later joins it in its next turn.
    assert house.order == [first.job_id, alone.job_id, late.job_id]
    assert house.created() == 2


async def test_the_end_of_an_engine_with_eight_streams_is_no_jobs_end(house: House) -> None:
    house.at_once = 8
    specs = [house.job(f"{number}", f"{PAPER} {number}", tokens=32, mib=1024) for number in range(8)]
    async with house.open() as jobs:
        for spec in specs:
            jobs.start_soon(house.run, spec)
        await house.hear(*specs)
        assert not house.exited
        (engine,) = house.running()
        assert engine["Labels"]["org.vcoin.kind"] == SERVE
        house.context.engine.api.kill(engine["Id"])
    # Each once: what a client pays is what the one end of its job says.
    assert sorted(house.order) == sorted(spec.job_id for spec in specs)
    for spec in specs:
        ended = house.exited[spec.job_id].result
        assert (ended.outcome, ended.new_tokens) == (Outcome.OK, len(house.ids(spec)))
        # The beginning was told before; what is told again would be no answer.
        assert len(house.streamed[spec.job_id]) == len(house.ids(spec))
    assert house.created() == 1 + len(specs)
    assert dict(house.runner.serving().engine_ends)[EngineEnd.FAILED] == 1


async def test_an_answer_that_its_client_stops_has_what_was_written_and_passes_its_check(house: House) -> None:
    """In one test, since each engine takes seconds to load: beside another job, alone, and before the first token."""
    stopped, beside = house.job("stopped", PAPER, 2_000, milli=800), house.job("beside", "Say yes.", 24)
    early, alone = house.job("early", PAPER, 2_000), house.job("alone", PAPER, 2_000)
    alone = replace(alone, temperature=signed_temperature(0, ruled=False, alone=True))
    async with house.open() as jobs:
        jobs.start_soon(house.run, stopped)
        jobs.start_soon(house.run, beside)
        await house.hear(stopped, beside)
        await house.runner.shorten(ShortenRun(early.job_id, SIGNATURE))
        jobs.start_soon(house.run, early)
        # Twice, as after a restart.
        for _ in range(2):
            await house.runner.shorten(ShortenRun(stopped.job_id, SIGNATURE))
        for spec in (stopped, beside, early):
            await house.ended(spec)
        jobs.start_soon(house.run, alone)
        await house.hear(alone)
        await house.runner.shorten(ShortenRun(alone.job_id, SIGNATURE))
        await house.ended(alone)
        for spec, least in ((stopped, 1), (alone, 1), (early, 0)):
            ended = house.exited[spec.job_id].result
            assert (ended.outcome, ended.finish) == (Outcome.OK, STOP_ORDER), ended.detail
            assert least <= ended.new_tokens == len(house.ids(spec)) < 2_000
            assert house.streamed[spec.job_id] == house.ids(spec)
            assert json.loads(house.result(spec))[STOP_ORDER] == SIGNATURE.hex()
            assert hashlib.sha256(house.result(spec)).digest() == ended.result_hash
            assert await house.score(spec, SIGNATURE) > PASS_ABOVE_BPS
        assert house.exited[early.job_id].result.new_tokens <= 2
        unsigned = house.workspaces.of_sample(stopped.job_id, 1)
        unsigned.put(INPUT_JSON, house.workspaces.of_job(stopped.job_id).get(INPUT_JSON) or b"")
        unsigned.put(RESULT_JSON, house.result(stopped))
        found = await house.runner.replay(ReplaySample(stopped.job_id, 1, stopped))
        assert (found.check, found.problem) == (b"", "bad_result: the answer ends before it was finished")
    assert house.exited[beside.job_id].result.finish in ("length", "eos")
    assert await house.runner.run_job(stopped, _nobody) == house.exited[stopped.job_id]


async def test_a_job_for_which_there_is_no_room_waits_in_the_engine(house: House) -> None:
    house.memory_mib = 1_200
    specs = [house.job(word, "Say yes." + word, 7_000, mib=1_200) for word in (" ", "  ")]
    async with house.open() as jobs:
        for spec in specs:
            jobs.start_soon(house.run, spec)
    assert [house.exited[spec.job_id].result.outcome for spec in specs] == [Outcome.OK] * 2
    assert house.created() == 1


async def test_a_job_with_less_memory_than_the_model_has_a_container_of_its_own(house: House) -> None:
    poor, rich = house.job("poor", mib=64), house.job("rich")
    async with house.open() as jobs:
        jobs.start_soon(house.run, poor)
        jobs.start_soon(house.run, rich)
    found = house.exited[poor.job_id].result
    assert (found.outcome, "out_of_memory" in found.detail) == (Outcome.JOB, True)
    assert house.exited[rich.job_id].result.outcome is Outcome.OK
    assert house.created() == 2


async def test_a_job_that_is_called_off_leaves_the_others_alone(house: House) -> None:
    off, stays = house.job("off", PAPER, 400), house.job("stays", PAPER, 48)
    scope = trio.CancelScope()

    async def run_until_called_off() -> None:
        with scope:
            await house.run(off)

    async with house.open() as jobs:
        jobs.start_soon(run_until_called_off)
        jobs.start_soon(house.run, stays)
        await house.hear(off, stays)
        scope.cancel()
    assert off.job_id not in house.exited
    assert house.exited[stays.job_id].result.outcome is Outcome.OK
    assert house.created() == 1


async def test_called_off_jobs_take_their_engine_with_them_when_the_node_ends(house: House) -> None:
    specs = [house.job(word, PAPER, 400) for word in ("a", "b")]
    async with house.open() as jobs:
        await begin(house, jobs, *specs)
        await house.hear(*specs)
        jobs.cancel_scope.cancel()
    assert house.running() == []


async def test_after_a_crash_an_engine_is_removed(house: House) -> None:
    """That of a single job stays: the next run of the job takes it over."""
    api, left = house.context.engine.api, {}
    for kind in (SERVE, "generate"):
        labels = {"node": house.name, "job": "aa" * 32, "kind": kind, "deadline": str(int(time.time()) + 600)}
        sandbox = Sandbox(house.context.image, Limits(), (), labels=labels, command=("/usr/bin/sleep", "600"))
        left[kind] = api.create_container_from_config(sandbox.container())["Id"]
        api.start(left[kind])
    await (await house.find()).recover()
    assert [found["Id"] for found in house.running()] == [left["generate"]]
    api.remove_container(left["generate"], force=True)
