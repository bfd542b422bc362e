"""Answers at temperature 0.8 of nodes that choose tokens otherwise than ordered, judged by this release's calibration.

Their fingerprints are those of an honest run of what they say, so only the margins can tell.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chain.calibration.files import packaged_for
from executor import devices
from protocol.stages.execution import CLASS_DTYPES, validate_fingerprint
from protocol.stages.verification import Calibration, Distances, distances, points
from tests.support.runner_context import open_context, run_inside, small_model

pytestmark = [pytest.mark.docker, pytest.mark.long]

SCRIPT = Path(__file__).parents[1] / "adversaries" / "choosers.py"
LENGTH = 32
ONCE = ["stops early", "one token", "last token", "endless"]
ALWAYS = ["other seed", "colder", "greedy"]
Judged = dict[str, tuple[int, Distances]]


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    noise = packaged_for(small_model().cid)
    assert noise is not None, "this release carries no calibration of the small model"
    return noise.classes[max(devices.class_ids_for("bf16"))].calibration


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, calibration: Calibration) -> Judged:
    """Points and distances of every node's answer: one container answers, another one checks."""
    home, noise = tmp_path_factory.mktemp("forged"), packaged_for(small_model().cid)
    order = {
        "job_id": "0b" * 32,
        "seed": bytes(range(32)).hex(),
        "temperature_milli": 800,
        "length": LENGTH,
        "dtype": CLASS_DTYPES[max(devices.class_ids_for("bf16"))],
        "long": "Explain in depth how salt changed the history of human society, with examples.",
        "short": "What is 12 + 30? Answer with the number only.",
    }
    assert noise is not None
    given = {"order.json": json.dumps(order).encode(), "act_w.bin": noise.act_weights}
    with open_context() as context:
        work = run_inside(context, SCRIPT, given, home / "nodes", with_model=True)
        texts = (work / "texts.json").read_bytes()
        check = run_inside(context, SCRIPT, {**given, "texts.json": texts}, home / "seat", with_model=True)
    found: Judged = {}
    for name, text in json.loads(texts).items():
        fingerprint, tokens = (work / f"{name}.proof").read_bytes(), len(text["ids"])
        validate_fingerprint(fingerprint, tokens)
        far = distances(fingerprint, (check / f"{name}.check").read_bytes(), tokens)
        found[name] = points(far, tokens, calibration), far
    return found


def test_honest_answer_passes(judged: Judged) -> None:
    score, found = judged["honest"]
    assert score > 9500, found


def test_fingerprints_of_forgers_tell_nothing(judged: Judged, calibration: Calibration) -> None:
    assert all(found.act <= calibration.act.d0 for _, found in judged.values())
    assert sorted(judged) == sorted([*ONCE, *ALWAYS, "honest"])


@pytest.mark.parametrize("name", ALWAYS)
def test_another_way_of_choosing_shows_in_the_mean_margin(judged: Judged, calibration: Calibration, name: str) -> None:
    score, found = judged[name]
    assert score <= 8500, found
    assert found.tok > 2 * calibration.tok.d1


@pytest.mark.parametrize("name", ONCE)
def test_one_forged_choice_shows_in_the_worst_margin(judged: Judged, calibration: Calibration, name: str) -> None:
    score, found = judged[name]
    assert score <= 8500, found
    assert found.worst > calibration.worst.d1
