"""`python -m scripts.calibration [CLASS ...]`, in the virtual environment and with DOCKER_HOST set."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from executor import devices, images
from executor.containers import Engine
from executor.models import ModelStore
from executor.sandbox import MIB, Limits
from executor.task import Attempt, Task
from executor.transcript import Progress, Said
from protocol.stages.execution import CLASS_DTYPES, Outcome
from scripts.calibration.constants import FULL_LENGTH, Measured, constants
from scripts.calibration.prompts import all_prompts
from scripts.setup.cache import REPOSITORY, cache_directory
from scripts.setup.model import manifest_id, store

FOLDER = REPOSITORY / "chain" / "calibration"
LIMITS = Limits(timeout_ms=3 * 3600 * 1000, file_bytes=512 * MIB, output_bytes=512 * MIB)


def measure(
    engine: Engine, image: str, model: Path, class_id: int, target: Path, inputs: dict[str, bytes | Path]
) -> list[Measured]:
    """All prompts through one container: distances.json, act_w.bin and runs.npz end up in `target`.

    `inputs`: act_w.bin and runs.npz of an earlier measurement, where they are to be used.
    Raises: SystemExit with the reason if the container fails.
    """

    def hear(said: Said) -> None:
        if isinstance(said, Progress):
            print(f"class {class_id}: {said.step} of {said.total}", file=sys.stderr, flush=True)

    params = {"max_new_tokens": FULL_LENGTH, "device_class": class_id, "dtype": CLASS_DTYPES[class_id]}
    given: dict[str, bytes | Path] = {"prompts.json": json.dumps({"prompts": all_prompts()}).encode(), **inputs}
    wanted = ("distances.json", "act_w.bin", *(() if "runs.npz" in inputs else ("runs.npz",)))
    job_id = hashlib.sha256(f"vcoin/calibrate/{class_id}/{time.time_ns()}".encode()).digest()
    task = Task(job_id, "calibrate", params, given, wanted, LIMITS, model)
    with tempfile.TemporaryDirectory(prefix="vcoin-calibrate-") as made:
        finish = Attempt(engine, image, task).run(Path(made) / "run", target, hear)
    if finish.outcome is not Outcome.OK:
        sys.exit(f"error: class {class_id}: {finish.detail}")
    rows = json.loads((target / "distances.json").read_text())["runs"]
    terms = ("act", "chunk", "tok", "worst")
    return [Measured(tokens=row["tokens"], **dict(zip(terms, row["whole"], strict=True))) for row in rows]


def main() -> None:
    present = devices.cpu_classes(Path("/proc/cpuinfo").read_text())
    wanted = [int(argument) for argument in sys.argv[1:]] or sorted(present, reverse=True)
    if missing := set(wanted) - set(present):
        sys.exit(f"error: this processor is not of class {min(missing)}")
    host, cid = os.environ["DOCKER_HOST"], manifest_id()
    if cid is None:
        sys.exit("error: the model is not in the store")
    file = FOLDER / f"{cid.hex()}.json"
    known: dict[str, Any] = {"v": 1, "manifest": cid.hex(), "classes": {}}
    if file.is_file():
        known = json.loads(file.read_text())
    engine = Engine("calibrate", host)
    try:
        for class_id in wanted:
            # Kept, so that whoever doubts a constant can look at what it was made from.
            target = cache_directory() / "calibration" / f"{cid.hex()[:12]}-{class_id}"
            inputs: dict[str, bytes | Path] = {}
            if known["classes"] and class_id != max(present):
                inputs = {"act_w.bin": bytes.fromhex(known["act_w"])}
            runs = measure(engine, images.find(host), ModelStore(store()).path(cid), class_id, target, inputs)
            known["act_w"] = (target / "act_w.bin").read_bytes().hex()
            known["classes"][str(class_id)] = {**constants(runs, class_id), "runtime": images.runtime()}
            FOLDER.mkdir(exist_ok=True)
            file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            print(json.dumps({"class": class_id, **known["classes"][str(class_id)]}))
    finally:
        engine.close()


if __name__ == "__main__":
    main()
