"""The runner's choice of tokens under a JSON schema: both engines, their checks, and schemas that mean harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.runner_context import open_context, run_inside

pytestmark = pytest.mark.docker

ENGINES = ("llama.cpp", "torch")
STEP_MS = 40
"""Of a core. Up to 10 were measured, and a step of the model beside it takes 30; processors differ."""
GROWTH_MS = 400
"""Of the few steps in which the library's tables double: up to 72 were measured."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Takes half a minute, since two engines are loaded, write and check."""
    script = Path(__file__).with_name("inside_schema.py")
    with open_context() as context:
        kept = run_inside(context, script, {}, tmp_path_factory.mktemp("schema"), with_model=True)
    told: dict[str, Any] = json.loads((kept / "found.json").read_text())
    return told


@pytest.mark.parametrize("engine", ENGINES)
def test_answer_of_each_engine_fits_its_schema_and_passes_the_check_of_the_other(
    found: dict[str, Any], engine: str
) -> None:
    written = found[engine]
    assert written["finish"] == "eos"
    person = json.loads(written["text"])
    assert list(person) == ["name", "age", "kind"]
    assert (type(person["age"]), person["kind"] in ("adult", "child")) == (int, True)
    assert len(written["margins"]) == len(written["ids"]) + 1
    assert max(written["margins"]) < 0.1


def test_choice_is_the_best_of_what_is_allowed_and_kept(found: dict[str, Any]) -> None:
    assert found["literal"]["right"] is True
    assert found["literal"]["ended"] > 0


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.4])
def test_margin_under_a_schema_is_at_most_the_noise_of_two_logits(found: dict[str, Any], noise: float) -> None:
    margins = found["literal"]["margins"][str(noise)]
    assert len(margins) > 50
    assert max(margins) <= 2 * noise + 1e-5
    assert noise < 0.4 or max(margins) > 0


@pytest.mark.parametrize(
    ("cheat", "words"),
    [
        ("another token", "the answer holds a token that its schema forbids"),
        ("goes on", "the answer holds a token that its schema forbids"),
        ("ends early", "the answer ends before it is an instance of its schema"),
        ("stuck, and says that it is whole", "the answer ends before it is an instance of its schema"),
        ("no dead end", "the answer ends though its schema lets it go on"),
    ],
)
def test_answer_that_its_schema_does_not_let_be_scores_nothing(found: dict[str, Any], cheat: str, words: str) -> None:
    assert found["cheats"][cheat] == f"bad_result: {words}"


def test_dead_end_is_found_by_worker_and_checker_at_the_same_place(found: dict[str, Any]) -> None:
    count, finish, margins = found["cheats"]["stuck"]
    assert (count > 0, finish, len(margins)) == (True, "dead_end", count + 1)


def test_hostile_schema_is_refused_or_costs_less_than_a_step_of_a_model(found: dict[str, Any]) -> None:
    assert len(found["hostile"]) > 10
    for name, seen in found["hostile"].items():
        assert seen["begin_ms"] < STEP_MS, name
        growing_ms, *steps_ms = seen.get("steps_ms", [0.0])
        assert growing_ms < GROWTH_MS, name
        assert all(each < STEP_MS for each in steps_ms[2:]), name
        assert "steps_ms" in seen or seen["refused"].startswith("bad_schema: no answer can be written"), name
    assert {seen.get("ended") for seen in found["hostile"].values()} == {None, "dead_end", "eos", "length"}
    # It is large, and means no harm.
    assert found["hostile"]["one value of many"]["ended"] == "eos"
    assert "minimum (5) is greater than maximum (3)" in found["hostile"]["too small"]["refused"]
