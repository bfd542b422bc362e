"""`python -m scripts.calibration [--confirm] [--model ID] [CLASS ...]`, in the environment, with DOCKER_HOST set."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from chain.calibration import files as calibration
from executor import devices, images
from executor.containers.engine import Engine
from executor.models import ModelStore
from node.calibration.campaign import confirm, released
from node.calibration.measuring import FOUNDING_SEED, MeasuringBench
from node.calibration.plan import Extent
from protocol.errors import NodeError
from protocol.params import PASS_ABOVE_BPS
from scripts.setup.cache import REPOSITORY, cache_directory
from scripts.setup.model import manifest_id, store

FOLDER = REPOSITORY / "chain" / "calibration"
EXTENT = Extent(1_500, 125, (16, 64, 256))


def tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def measured(bench: MeasuringBench, classes: list[int], known: dict[str, Any]) -> dict[str, Any]:
    """The calibration file anew; what other classes and kinds of output have in it stays."""
    rest = set(known["classes"]) - {str(each) for each in classes}
    act_w = bytes.fromhex(known["act_w"]) if rest else None
    rows: dict[str, Any] = dict(known["classes"])
    founding = replace(bench, work=bench.work / "founding", seed=FOUNDING_SEED)
    for class_id in classes:
        row, act_w = released(founding, class_id, EXTENT, act_w, tell)
        rows[str(class_id)] = {**rows.get(str(class_id), {}), **row}
    assert act_w is not None
    return {**known, "act_w": act_w.hex(), "classes": rows}


def confirmed(bench: MeasuringBench, classes: list[int], known: dict[str, Any], file: Path) -> dict[str, Any]:
    """The calibration file with the hash of the runner as it is now. Raises: SystemExit if an honest answer fails."""
    noise = calibration.read(json.dumps(known), file.name)
    for class_id in classes:
        n, least = confirm(bench, class_id, noise.classes[class_id].calibration, noise.act_weights, tell)
        print(json.dumps({"class": class_id, "n": n, "least_score": least}), flush=True)
        if least <= PASS_ABOVE_BPS:
            sys.exit(f"error: class {class_id}: an honest run did not pass: measure the constants again")
        known["classes"][str(class_id)]["runtime"] = images.runtime()
    return known


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/calibrate")
    parser.add_argument("--confirm", action="store_true")
    parser.add_argument("--model", type=bytes.fromhex, default=manifest_id())
    parser.add_argument("classes", type=int, nargs="*")
    arguments = parser.parse_args()
    host, cid = os.environ["DOCKER_HOST"], arguments.model
    try:
        present = devices.class_ids_for(ModelStore(store()).manifest(cid or b"").dtype)
    except NodeError as error:
        sys.exit(f"error: {error}")
    wanted = arguments.classes or sorted(present, reverse=True)
    if missing := set(wanted) - set(present):
        sys.exit(f"error: this processor does not run the model in class {min(missing)}")
    file = FOLDER / f"{cid.hex()}.json"
    known: dict[str, Any] = {"v": 1, "manifest": cid.hex(), "classes": {}}
    if file.is_file():
        known = json.loads(file.read_text())
    # Kept, so that a constant can be compared with what it was made from.
    work = cache_directory() / "calibration" / cid.hex()[:12]
    work.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.closing(Engine("calibrate", host)) as engine:
            bench = MeasuringBench(engine, images.find(host), ModelStore(store()), cid, work)
            if not arguments.confirm:
                known = measured(bench, wanted, known)
            known = confirmed(bench, wanted, known, file)
    except NodeError as error:
        sys.exit(f"error: {error}")
    FOLDER.mkdir(exist_ok=True)
    file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
