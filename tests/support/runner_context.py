"""This machine's Docker Engine, runner image and small model, for the tests and benchmarks that run real containers."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chain.calibration.files import packaged_for
from executor import images
from executor.containers.engine import DEFAULT_HOST, Engine
from executor.containers.sandbox import MODELS, Limits, Mount, Sandbox
from executor.models import ModelStore
from executor.runs.context import RunnerContext
from executor.workspace.io_volume import IoVolume
from protocol.stages.blob import ModelManifest
from protocol.wire.ids import Cid
from scripts.setup import model

NODE = "0x00000000000000000000000000000000000000T1"


def docker_host() -> str:
    return os.environ.get("DOCKER_HOST", DEFAULT_HOST)


def small_model() -> ModelManifest:
    """The model that set-up converted."""
    cid = model.manifest_id()
    assert cid is not None, "the small model is not on this machine: run ./scripts/test, which fetches it"
    return ModelStore(model.store()).manifest(cid)


@contextmanager
def open_context(image: str | None = None, node: str = NODE) -> Iterator[RunnerContext]:
    """A context with the calibration of this release; `image` replaces the honest runner's."""
    engine = Engine(node, docker_host())
    try:
        yield RunnerContext(engine, image or images.find(docker_host()), ModelStore(model.store()), _act_weights)
    finally:
        engine.close()


def _act_weights(manifest: bytes) -> bytes | None:
    found = packaged_for(Cid(manifest))
    return found.act_weights if found else None


def found_inside(script: Path, home: Path, inputs: dict[str, bytes] | None = None) -> dict[str, Any]:
    """The found.json that a script of ours leaves, run in the runner image."""
    with open_context() as context:
        kept = run_inside(context, script, inputs or {}, home)
    told: dict[str, Any] = json.loads((kept / "found.json").read_text())
    return told


def run_inside(
    context: RunnerContext,
    script: Path,
    inputs: dict[str, bytes],
    home: Path,
    *,
    with_model: bool = False,
    model_path: Path | None = None,
    output_bytes: int = 64 << 20,
) -> Path:
    """Run a script of ours in a container of the context's image, with /input and /output as a job has them.

    Args: with_model, the small model lies at MODEL_PATH, or that of the folder `model_path`.
    Returns: the folder with copies of its outputs.
    """
    limits = Limits(memory_bytes=3 << 30, timeout_ms=300_000, file_bytes=output_bytes, output_bytes=output_bytes)
    kept = home / "kept"
    kept.mkdir(parents=True)
    with IoVolume(home / "run", limits) as exchange:
        for name, content in {**inputs, script.name: script.read_bytes()}.items():
            exchange.put(name, content)
        mounts, environment = exchange.mounts, {}
        if with_model:
            folder = model_path or context.models.path(small_model().cid)
            mounts = (*mounts, Mount(str(folder), MODELS))
            environment = {"MODEL_PATH": MODELS}
        command = ("/opt/vcoin/venv/bin/python", f"/input/{script.name}")
        sandbox = Sandbox(context.image, limits, mounts, environment, command=command)
        ending = context.engine.container(sandbox, "inside", int(time.time()) + 600).run(lambda said: None)
        assert ending.exit_code == 0, ending.log
        for path in exchange.output.iterdir():
            shutil.copyfile(path, kept / path.name)
    return kept
