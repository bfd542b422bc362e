"""A sandbox of the conformance tests, and the runs that it is given."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
import trio
import trio.testing

from executor import devices
from executor.docker_runner import Capacity, DockerRunner
from executor.scheduler.live_engine import OnTokens
from executor.scheduler.serving import ServingReport
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import INPUT_JSON, RESULT_JSON, Workspaces
from protocol.effects import ReplaySample
from protocol.errors import ExecutorError
from protocol.events import ContainerExited, ContainersHeld, DeviceReported, SampleReplayed
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.stages.execution import RunSpec
from protocol.wire.ids import Cid
from tests.fakes.sandbox import FakeSandbox
from tests.support.runner_context import open_context, small_model

T = TypeVar("T")
SALT = "5a" * 16
TINY = ModelManifest(
    *("hash function", (ModelFile("tokenizer.json", Cid(bytes(32)), 1),), "tokenizer.json", (2,), 2, "bf16"),
    *(8, 1000, 1, 8192, 1),
)


@dataclass
class Bench:
    """An executor with one model, and the workspaces that it and its user share."""

    sandbox: DockerRunner | Served | FakeSandbox
    workspaces: Workspaces
    manifest: ModelManifest
    class_id: int

    def spec(self, name: str, **changes: Any) -> RunSpec:
        job_id = hashlib.sha256(name.encode()).digest()
        spec = RunSpec(job_id, self.manifest.cid, self.class_id, 16, 0, bytes(32), 2 << 30, 60_000)
        return dataclasses.replace(spec, **changes)

    async def run(self, spec: RunSpec, content: bytes | None) -> tuple[ContainerExited, list[int]]:
        if content is not None:
            self.workspaces.of_job(spec.job_id).put(INPUT_JSON, content)
        streamed: list[int] = []

        async def on_tokens(ids: tuple[int, ...]) -> None:
            streamed.extend(ids)

        return await self.sandbox.run_job(spec, on_tokens), streamed

    def sample(self, spec: RunSpec, content: bytes, result: bytes) -> ReplaySample:
        """A drawn leaf of somebody else's batch, opened into its workspace."""
        batch = hashlib.sha256(content + result).digest()
        self.workspaces.of_sample(batch, 3).put(INPUT_JSON, content)
        self.workspaces.of_sample(batch, 3).put(RESULT_JSON, result)
        return ReplaySample(batch, 3, spec)

    def result_of(self, spec: RunSpec) -> bytes:
        return self.workspaces.of_job(spec.job_id).get(RESULT_JSON) or b""


class Served:
    """A runner whose engines run for one call at a time, as each test has an event loop of its own."""

    def __init__(self, runner: DockerRunner) -> None:
        self._runner = runner

    async def run_job(self, spec: RunSpec, on_tokens: OnTokens) -> ContainerExited:
        return await self._served(lambda: self._runner.run_job(spec, on_tokens))

    async def replay(self, effect: ReplaySample) -> SampleReplayed:
        return await self._served(lambda: self._runner.replay(effect))

    async def hold(self, *, is_held: bool) -> ContainersHeld:
        return await self._runner.hold(is_held=is_held)

    def serving(self) -> ServingReport:
        return self._runner.serving()

    async def report(self) -> DeviceReported:
        return await self._runner.report()

    async def let_go(self, manifest: bytes) -> None:
        await self._runner.let_go(manifest)

    async def recover(self) -> None:
        await self._runner.recover()

    async def _served(self, call: Callable[[], Awaitable[T]]) -> T:
        problem = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._runner.serve)
            await trio.testing.wait_all_tasks_blocked()
            try:
                found = await call()
            except ExecutorError as error:
                # Raised in the nursery, it would come out wrapped in a group.
                problem = error
            nursery.cancel_scope.cancel()
        if problem is not None:
            raise problem
        return found


@pytest.fixture(
    scope="module",
    params=["fake", *(pytest.param(name, marks=pytest.mark.docker) for name in ("containers", "engines"))],
)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    workspaces = Workspaces(tmp_path_factory.mktemp("work"))
    if request.param == "fake":
        yield Bench(FakeSandbox(workspaces, {TINY.cid: TINY}), workspaces, TINY, 2)
        return
    class_id = max(devices.class_ids_for("bf16"))
    with open_context() as context:
        at_once = 4 if request.param == "engines" else 1
        capacity = Capacity(1, HostSlots(tmp_path_factory.mktemp("slots"), 1), at_once=at_once)
        runner = DockerRunner(context, workspaces, capacity)
        served = Served(runner) if request.param == "engines" else runner
        yield Bench(served, workspaces, small_model(), class_id)
