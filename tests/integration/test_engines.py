"""What every engine of the runner keeps to, and that each one checks the answers of the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.runner_context import open_context, run_inside
from tests.support.small_gguf import small_gguf

pytestmark = pytest.mark.docker

ENGINES = ("llama.cpp", "torch")
LENGTH = 24
NOISE = {"bf16": (0.03, 0.25), "q8_0": (0.06, 0.6)}
"""How far honest engines lie apart, at most: states by their length, and margins in logit units."""


@pytest.fixture(scope="module", params=["bf16", "q8_0"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script, home = Path(__file__).with_name("inside_engines.py"), tmp_path_factory.mktemp("engines")
    model_path = None
    if request.param == "q8_0":
        models, manifest = small_gguf(home / "model")
        model_path = models.path(manifest.cid)
    with open_context() as context:
        kept = run_inside(context, script, {}, home / "run", with_model=True, model_path=model_path)
    told: dict[str, Any] = json.loads((kept / "found.json").read_text())
    return {**told, "noise": NOISE[request.param]}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, found: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = found[request.param]
    assert told["build"].startswith(request.param)
    return told


def test_an_answer_ends_at_its_length_or_with_a_stop_token(engine: dict[str, Any]) -> None:
    for ids in (*engine["beside"], *engine["alone"]):
        stops = [token in engine["eos"] for token in ids]
        assert not any(stops[:-1])
        assert stops[-1] or len(ids) == LENGTH
    # The last question has a short answer.
    assert len(engine["beside"][2]) < LENGTH


def test_a_seed_gives_one_answer_and_another_seed_another(engine: dict[str, Any]) -> None:
    # Beside others sums are added in another order, which a near tie may show.
    # Three near ties in the first halves are none.
    same = [
        one[: LENGTH // 2] == other[: LENGTH // 2] for one, other in zip(engine["beside"], engine["alone"], strict=True)
    ]
    assert sum(same) >= 2
    assert engine["other seed"] != engine["beside"][1]


def test_a_dropped_answer_leaves_the_others_alone(engine: dict[str, Any]) -> None:
    assert engine["left"]["told"] == {"0": 5 + 3, "1": LENGTH}


def test_what_does_not_fit_is_refused(engine: dict[str, Any]) -> None:
    assert engine["refusals"] == {
        "long": "prompt_too_long",
        "no chat": "bad_messages",
        "memory": "prompt_too_long",
        "enough": "taken",
        "one": True,
        "many": False,
        "none": False,
    }


def test_a_device_without_kernels_is_refused_before_a_model_is_loaded(found: dict[str, Any]) -> None:
    assert found["strange devices"] == {
        "llama.cpp": [f"llama.cpp computes here on cpu, and not on {device}" for device in ("cuda", "abacus")],
        "torch": [
            "the torch of this image cannot compute on cuda: it is built for processors",
            "torch computes here on cpu or cuda, and not on abacus",
        ],
    }


@pytest.mark.parametrize("writer", ENGINES)
@pytest.mark.parametrize("reader", ENGINES)
def test_each_engine_finds_the_answers_of_each_good_and_forgeries_bad(
    found: dict[str, Any], writer: str, reader: str
) -> None:
    checked, (apart, margin) = found["checks"][f"{writer} by {reader}"], found["noise"]
    for row in checked["rows"]:
        assert row["apart"] < apart
        # Noise of the number format at a near tie, and nothing else.
        assert max(row["margins"]) < margin
        assert row["pieces"] < apart
        assert row["pieces margins"] < margin
    assert checked["forged"] > 1
    assert checked["stolen"] > 0.5
