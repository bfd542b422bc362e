"""A sandbox of the conformance tests, and the runs that it is given."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from executor import devices
from executor.docker_runner import DockerRunner
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import INPUT_JSON, RESULT_JSON, Workspaces
from protocol.effects import ReplaySample
from protocol.events import ContainerExited
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.stages.execution import RunSpec
from protocol.wire.ids import Cid
from tests.fakes.sandbox import FakeSandbox
from tests.support.runner_context import open_context, small_model

SALT = "5a" * 16
TINY = ModelManifest(
    *("hash function", (ModelFile("tokenizer.json", Cid(bytes(32)), 1),), "tokenizer.json", (2,), 2, "bf16"),
    *(8, 1000, 1, 8192, 1),
)


@dataclass
class Bench:
    """An executor with one model, and the workspaces that it and its user share."""

    sandbox: DockerRunner | FakeSandbox
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


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.docker)])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    workspaces = Workspaces(tmp_path_factory.mktemp("work"))
    if request.param == "fake":
        yield Bench(FakeSandbox(workspaces, {TINY.cid: TINY}), workspaces, TINY, 2)
        return
    class_id = max(devices.cpu_classes(Path("/proc/cpuinfo").read_text()))
    with open_context() as context:
        adapter = DockerRunner(context, workspaces, 1, HostSlots(tmp_path_factory.mktemp("slots"), 1))
        yield Bench(adapter, workspaces, small_model(), class_id)
