"""`python -m scripts.calibration.readings [CLASS ...]`: the noise of embeddings and classifications, in the same files.

Texts are read in one container as a worker does, several in a pass, and then each alone, as a seat does. How far the
two lie apart gives the pairs `embed` and `classify` of a class; the class must have been calibrated for text before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from executor import devices, images
from executor.containers.engine import Engine
from executor.containers.sandbox import MIB, Limits
from executor.containers.transcript import RunnerEvent, RunProgress
from executor.models import ModelStore
from executor.runs.container_run import ContainerRun, Task
from node.calibration.constants import reading_constants
from node.calibration.prompts import PROMPTS
from protocol.stages.execution import CLASS_DTYPES, Outcome
from scripts.calibration.__main__ import FOLDER
from scripts.setup.cache import cache_directory
from scripts.setup.model import manifest_id, store

LIMITS = Limits(timeout_ms=3 * 3600 * 1000, file_bytes=64 * MIB, output_bytes=64 * MIB)
TOGETHER = 6
"""Prompts that are read once more as one long text."""
LABELS = (
    ("positive", "negative", "neutral"),
    ("science", "sports", "politics", "business", "art", "health", "travel", "food"),
)


def texts() -> list[str]:
    """The texts that are read."""
    short = [prompt.text for prompt in PROMPTS]
    return [*short, *(" ".join(short[at : at + TOGETHER]) for at in range(0, len(short) - TOGETHER, TOGETHER))]


def measure(engine: Engine, image: str, model: Path, class_id: int, target: Path) -> dict[str, Any]:
    """noise.json of one container; it is left in `target` with what was read. Raises: SystemExit."""

    def hear(said: RunnerEvent) -> None:
        if isinstance(said, RunProgress):
            print(f"class {class_id}: {said.step} of {said.total}", file=sys.stderr, flush=True)

    params = {
        "max_new_tokens": 1,
        "temperature_milli": 0,
        "device_class": class_id,
        "dtype": CLASS_DTYPES[class_id],
        "of": "generate",
    }
    given: dict[str, bytes | Path] = {"texts.json": json.dumps({"texts": texts(), "labels": LABELS}).encode()}
    job_id = hashlib.sha256(f"vcoin/noise/{class_id}/{time.time_ns()}".encode()).digest()
    task = Task(job_id, "noise", params, given, ("noise.json", "readings.npz"), LIMITS, model)
    with tempfile.TemporaryDirectory(prefix="vcoin-noise-") as made:
        finish = ContainerRun(engine, image, task).run(Path(made) / "run", target, hear)
    if finish.outcome is not Outcome.OK:
        sys.exit(f"error: class {class_id}: {finish.detail}")
    found: dict[str, Any] = json.loads((target / "noise.json").read_text())
    return found


def main(arguments: Sequence[str]) -> None:
    present = devices.class_ids_for("bf16")
    wanted = [int(argument) for argument in arguments] or sorted(present, reverse=True)
    host, cid = os.environ["DOCKER_HOST"], manifest_id()
    if cid is None or not set(wanted) <= set(present):
        sys.exit("error: the model is not in the store, or this processor is not of that class")
    file = FOLDER / f"{cid.hex()}.json"
    with contextlib.closing(Engine("calibrate-readings", host)) as engine:
        for class_id in wanted:
            target = cache_directory() / "calibration" / f"{cid.hex()[:12]}-{class_id}" / "readings"
            found = measure(engine, images.find(host), ModelStore(store()).path(cid), class_id, target)
            noise = reading_constants(found["embed"], found["classify"], class_id)
            known = json.loads(file.read_text())
            known["classes"][str(class_id)] |= noise
            file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            print(json.dumps({"class": class_id, "texts": len(found["embed"]), **noise}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
