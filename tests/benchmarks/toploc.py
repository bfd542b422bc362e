"""TOPLOC's proofs beside our fingerprints, of the same answers under the same passes.

TOPLOC is built by scripts/setup/toploc.py and used as its authors do: the 128 largest of the last hidden states of 32
tokens, and an answer is refused where in one of its proofs fewer than 90 exponents agree, or mantissas differ by more
than 10 on average or 8 in the median. "Fitted" are limits a quarter over the worst honest answer of the run instead, so
that what is the method can be told from what is the limits. Ours are judged by the constants that are deployed. Values
are TOPLOC's, anchors ours. The answers are made outside the runner image, by its own code with another build of torch.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from chain.calibration.files import packaged_for
from executor import devices
from executor.models import ModelStore
from node.calibration.constants import OVER_WORST
from node.calibration.prompts import Family, place_of, prompt_of
from protocol.params import PASS_ABOVE_BPS, REVIEW_ABOVE_BPS
from protocol.stages.execution import CHUNK_TOKENS, CLASS_DTYPES
from protocol.stages.verification import Calibration, distances, score, score_bps
from scripts.setup import model, toploc
from scripts.setup.cache import REPOSITORY
from scripts.setup.step import SetupPlan
from tests.benchmarks.line import Line
from tests.support.runner_context import small_model

NEEDS = ("venv", "docker engine", "runner image", "model")
KEYS = (
    *("toploc.bytes_32", "toploc.make_64", "toploc.compare_64", "toploc.honest_reject"),
    *("toploc.catch_int8", "toploc.catch_int8_block", "toploc.catch_int4", "toploc.catch_dropped_layer"),
    "toploc.catch_adaptive_int4",
)
CAUGHT = {
    "toploc.catch_int8": "int8_channel",
    "toploc.catch_int8_block": "int8_block",
    "toploc.catch_int4": "int4_block",
    "toploc.catch_dropped_layer": "dropped_layer",
    # Its tokens under the proof of one true pass: nothing that looks at states alone can tell.
    "toploc.catch_adaptive_int4": "adaptive int4_block",
}
INSIDE = Path(__file__).with_name("toploc_inside.py")
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
ASKED = 60
"""Some answers end by themselves before their 64 tokens, and are left out."""
TOKENS, BATCH, TEMPERATURE_MILLI = 64, 20, 800
Limits = tuple[float, ...]
PUBLISHED: Limits = (128 - 90, 10, 8)
"""Of a proof: exponents that differ among its 128, mean and median of how far mantissas lie apart."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Of one answer: whether TOPLOC refuses it, as published or fitted; our score by states, and by all terms."""

    refused: bool
    refused_fitted: bool
    states_bps: int
    score_bps: int


def run() -> list[Line]:
    """Raises: StepFailed if TOPLOC cannot be built here, RuntimeError if this machine's class has no constants."""
    SetupPlan([toploc.STEP]).run()
    class_id = max(devices.class_ids_for("bf16"))
    file = packaged_for(small_model().cid)
    if file is None or class_id not in file.classes:
        raise RuntimeError(f"no constants of class {class_id} are deployed for the small model")
    calibration = file.classes[class_id].calibration
    found = _found(class_id, file.act_weights)
    answers: Mapping[str, Sequence[Mapping[str, Any]]] = found["answers"]
    where = f"class {class_id}, torch {found['torch']}"
    fitted = tuple(OVER_WORST * each for each in _worst([_worst(row["toploc"]) for row in answers["honest"]]))
    judged = {name: [_judge(each, calibration, fitted) for each in rows] for name, rows in answers.items()}
    return [
        _bytes(answers["honest"]),
        *_costs(found["spent_s"], answers["honest"], calibration),
        _share("toploc.honest_reject", judged["honest"], where),
        *(_share(key, judged[name], where) for key, name in CAUGHT.items()),
    ]


def _found(class_id: int, act_weights: bytes) -> dict[str, Any]:
    """The file that toploc_inside.py leaves."""
    # Prompts that constants are not made from, and whose answers go on for long enough.
    usable = (n for n in count() if place_of(n) % 2 == 1 and prompt_of(n).family is not Family.SHORT)
    orders = {
        "model": str(ModelStore(model.store()).path(small_model().cid)),
        "dtype": CLASS_DTYPES[class_id],
        "act_w": act_weights.hex(),
        "tokens": TOKENS,
        "batch": BATCH,
        "temperature_milli": TEMPERATURE_MILLI,
        "prompts": {str(number): prompt_of(number).text for number in islice(usable, ASKED)},
        "variants": ["honest", *dict.fromkeys(name.removeprefix("adaptive ") for name in CAUGHT.values())],
    }
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        given, left = Path(made) / "orders.json", Path(made) / "found.json"
        given.write_text(json.dumps(orders))
        # -P: next to the script lies this file, which has the name of what it imports.
        subprocess.run(
            [toploc.python(), "-P", INSIDE, given, left],
            env={**os.environ, **QUIET, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            check=True,
        )
        found: dict[str, Any] = json.loads(left.read_text())
        return found


def _worst(rows: Sequence[Sequence[float]]) -> Limits:
    return tuple(max(column) for column in zip(*rows, strict=True))


def _judge(row: Mapping[str, Any], calibration: Calibration, fitted: Limits) -> Verdicts:
    worst = _worst(row["toploc"])
    refused, refused_fitted = (
        any(found > limit for found, limit in zip(worst, limits, strict=True)) for limits in (PUBLISHED, fitted)
    )
    proof, check = bytes.fromhex(row["proof"]), bytes.fromhex(row["check"])
    seen = distances(proof, check, TOKENS)
    states = min(score_bps(seen.act, calibration.act), score_bps(seen.chunk, calibration.chunk))
    return Verdicts(refused, refused_fitted, states, score(proof, check, TOKENS, calibration))


def _bytes(honest: Sequence[Mapping[str, Any]]) -> Line:
    theirs = [size for row in honest for size in row["toploc_bytes"]]
    ours = statistics.median(len(row["proof"]) // 2 * CHUNK_TOKENS / TOKENS for row in honest)
    return Line("toploc.bytes_32", statistics.median(theirs), "B", "", f"ours {ours:.0f} B", len(theirs))


def _costs(
    spent_s: Mapping[str, Sequence[float]], honest: Sequence[Mapping[str, Any]], calibration: Calibration
) -> list[Line]:
    """Shares of the pass over a prompt and its answer, which any check begins with; 64 tokens each, on one core."""
    ms = {name: 1000 * statistics.median(each) for name, each in spent_s.items()}
    # A seat's work on two files, in the language of the node.
    compare_ms = ms["check"] + 1000 * statistics.median(_seconds_of_score(row, calibration) for row in honest)
    pair = (("toploc.make_64", "toploc_make", ms["make"]), ("toploc.compare_64", "toploc_compare", compare_ms))
    lines = []
    for key, theirs, ours_ms in pair:
        words = f"ours {100 * ours_ms / ms['pass']:.1f} %; {ms[theirs]:.1f} and {ours_ms:.1f} ms"
        passes = f"a pass {ms['pass']:.0f} ms, {ms['pass_margins']:.0f} with our margins"
        lines.append(Line(key, 100 * ms[theirs] / ms["pass"], "%", "", f"{words}; {passes}", len(honest)))
    return lines


def _seconds_of_score(row: Mapping[str, Any], calibration: Calibration) -> float:
    proof, check = bytes.fromhex(row["proof"]), bytes.fromhex(row["check"])
    started = time.perf_counter()
    score(proof, check, TOKENS, calibration)
    return time.perf_counter() - started


def _share(key: str, judged: Sequence[Verdicts], where: str) -> Line:
    """How many TOPLOC refuses, and how many do not pass ours; those that fail, which may cost a stake, in brackets."""
    n, refused, fitted = len(judged), sum(each.refused for each in judged), sum(each.refused_fitted for each in judged)
    states, terms = (
        f"{sum(bps <= PASS_ABOVE_BPS for bps in scores)} ({sum(bps <= REVIEW_ABOVE_BPS for bps in scores)})"
        for scores in ([each.states_bps for each in judged], [each.score_bps for each in judged])
    )
    words = f"{refused} of {n}, {fitted} if fitted; ours by states {states}, by all terms {terms}; {where}"
    return Line(key, 100 * refused / n, "%", "", words, n)
