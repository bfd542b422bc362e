"""`python -m scripts.calibration [--confirm] [CLASS ...]`, in the virtual environment and with DOCKER_HOST set."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain import calibration
from executor import devices, images
from executor.containers import Engine
from executor.models import ModelStore
from executor.sandbox import MIB, Limits
from executor.task import Attempt, Task
from executor.transcript import Progress, Said
from protocol.params import PASS_ABOVE_BPS
from protocol.stages.execution import CLASS_DTYPES, Outcome
from protocol.stages.verification import Distances, points
from scripts.calibration.constants import FULL_LENGTH, Measured, constants
from scripts.calibration.prompts import all_prompts
from scripts.setup.cache import REPOSITORY, cache_directory
from scripts.setup.model import manifest_id, store

FOLDER = REPOSITORY / "chain" / "calibration"
LIMITS = Limits(timeout_ms=3 * 3600 * 1000, file_bytes=512 * MIB, output_bytes=512 * MIB)
MEASURED = {0: 1, 800: 1, 2_000: 5}
"""Temperatures in thousandths, the ends among them, and at each every how many prompts are run."""
CONFIRMED = {0: 15, 800: 5, 2_000: 15}
TERMS = ("act", "chunk", "tok", "worst")


@dataclass(frozen=True)
class Bench:
    """What all measurements of one class share; their files end up in folders of `target`."""

    engine: Engine
    image: str
    model: Path
    class_id: int
    target: Path


def measure(bench: Bench, temperature_milli: int, every: int, inputs: dict[str, bytes | Path]) -> list[Measured]:
    """Every so many-th prompt through one container: it leaves distances.json, act_w.bin and runs.npz.

    `inputs`: act_w.bin and runs.npz of an earlier measurement, where they are to be used.
    Raises: SystemExit with the reason if the container fails.
    """
    class_id, target = bench.class_id, bench.target / str(temperature_milli)

    def hear(said: Said) -> None:
        if isinstance(said, Progress):
            words = f"class {class_id} at {temperature_milli / 1000}: {said.step} of {said.total}"
            print(words, file=sys.stderr, flush=True)

    params = {
        "max_new_tokens": FULL_LENGTH,
        "temperature_milli": temperature_milli,
        "device_class": class_id,
        "dtype": CLASS_DTYPES[class_id],
    }
    given: dict[str, bytes | Path] = {
        "prompts.json": json.dumps({"prompts": all_prompts()[::every]}).encode(),
        **inputs,
    }
    wanted = ("distances.json", "act_w.bin", *(() if "runs.npz" in inputs else ("runs.npz",)))
    job_id = hashlib.sha256(f"vcoin/calibrate/{class_id}/{time.time_ns()}".encode()).digest()
    # The runs are found again by whoever measures again.
    seed = hashlib.sha256(f"vcoin/calibrate/seed/{temperature_milli}".encode()).digest()
    task = Task(job_id, "calibrate", params, given, wanted, LIMITS, bench.model, seed)
    with tempfile.TemporaryDirectory(prefix="vcoin-calibrate-") as made:
        finish = Attempt(bench.engine, bench.image, task).run(Path(made) / "run", target, hear)
    if finish.outcome is not Outcome.OK:
        sys.exit(f"error: class {class_id}: {finish.detail}")
    rows = json.loads((target / "distances.json").read_text())["runs"]
    return [Measured(tokens=row["tokens"], **dict(zip(TERMS, row["whole"], strict=True))) for row in rows]


def calibrate(bench: Bench, act_w: bytes | None) -> tuple[dict[str, Any], bytes]:
    """The class's entry of a calibration file, and the whitening weights: `act_w` where they are known."""
    runs: list[Measured] = []
    for temperature_milli, every in MEASURED.items():
        runs += measure(bench, temperature_milli, every, {"act_w.bin": act_w} if act_w else {})
        act_w = act_w or (bench.target / str(temperature_milli) / "act_w.bin").read_bytes()
    assert act_w is not None
    return {**constants(runs, bench.class_id), "runtime": images.runtime()}, act_w


def confirm(bench: Bench, noise: calibration.ClassNoise, act_w: bytes) -> bool:
    """Whether honest runs of the runner as it is now pass by the constants that are there; tells how far they lie."""
    good = True
    for temperature_milli, every in CONFIRMED.items():
        runs = measure(bench, temperature_milli, every, {"act_w.bin": act_w})
        scores = [points(Distances(r.act, r.chunk, r.tok, r.worst), r.tokens, noise.calibration) for r in runs]
        good &= min(scores) > PASS_ABOVE_BPS
        said = {term: max(getattr(run, term) for run in runs) for term in TERMS}
        d0 = {term: getattr(noise.calibration, term).d0 for term in TERMS}
        told = {"class": bench.class_id, "temperature_milli": temperature_milli, "n": len(runs)}
        print(json.dumps({**told, "largest_ppm": said, "d0_ppm": d0, "least_score": min(scores)}), flush=True)
    return good


def main() -> None:
    present = devices.cpu_classes(Path("/proc/cpuinfo").read_text())
    only_confirm = "--confirm" in sys.argv[1:]
    classes = [int(argument) for argument in sys.argv[1:] if argument != "--confirm"]
    wanted = classes or sorted(present, reverse=True)
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
            bench = Bench(engine, images.find(host), ModelStore(store()).path(cid), class_id, target)
            if only_confirm:
                noise = calibration.read(file.read_text(), file.name)
                if not confirm(bench, noise.classes[class_id], noise.act_weights):
                    sys.exit(f"error: class {class_id}: an honest run did not pass: measure the constants again")
                known["classes"][str(class_id)]["runtime"] = images.runtime()
            else:
                carried = bytes.fromhex(known["act_w"]) if known["classes"] and class_id != max(present) else None
                known["classes"][str(class_id)], act_w = calibrate(bench, carried)
                known["act_w"] = act_w.hex()
            FOLDER.mkdir(exist_ok=True)
            file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            print(json.dumps({"class": class_id, **known["classes"][str(class_id)]}))
    finally:
        engine.close()


if __name__ == "__main__":
    main()
