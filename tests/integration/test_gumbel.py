"""The runner's choice of tokens against the golden vectors, which another implementation has made."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.runner_context import found_inside

pytestmark = pytest.mark.docker

VECTORS = Path(__file__).parents[1] / "vectors" / "gumbel.json"
CASES = json.loads(VECTORS.read_text())["cases"]
STORIES = [case for case in CASES if "texts" in case]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return found_inside(
        Path(__file__).with_name("inside_image.py"),
        tmp_path_factory.mktemp("inside"),
        {VECTORS.name: VECTORS.read_bytes()},
    )


def test_numbers_of_tokens(found: dict[str, Any]) -> None:
    assert found["numbers"] == pytest.approx([float(case["g"]) for case in CASES if "token" in case], rel=1e-13)


def test_both_ends_of_the_scale_keep_their_digits(found: dict[str, Any]) -> None:
    ends = [float(case["g"]) for case in CASES if "x" in case and "token" not in case]
    assert found["ends"] == pytest.approx(ends, rel=1e-14)


@pytest.mark.parametrize("index", range(len(STORIES)), ids=[str(each["temperatureMilli"]) for each in STORIES])
def test_answers_and_margins(found: dict[str, Any], index: int) -> None:
    case, ours = STORIES[index], found["stories"][index]
    honest = case["texts"][0]
    # The stop token ends the run, and is no part of the answer.
    assert ours["ids"][: len(honest["ids"])] == honest["ids"]
    assert [token in case["stopIds"] for token in ours["ids"][len(honest["ids"]) :]] == [True] * honest["stopped"]
    for text, margins in zip(case["texts"], ours["margins"], strict=True):
        assert margins == pytest.approx(text["margins"], abs=1), text["name"]


def test_tokens_that_are_left_out_could_not_have_won(found: dict[str, Any]) -> None:
    assert found["shortcuts"] is True


@pytest.mark.parametrize("temperature", ["300", "1000", "2000"])
def test_tokens_come_as_often_as_softmax_says(found: dict[str, Any], temperature: str) -> None:
    counts = found["draws"][temperature]
    weights = [math.exp(z / int(temperature) * 1000) for z in found["odds"]]
    expected = [sum(counts) * weight / sum(weights) for weight in weights]
    # Rare ones together, as the test wants; of honest draws one in ten thousand would be above.
    bins = [(c, e) for c, e in zip(counts, expected, strict=True) if e >= 5]
    rest = sum(counts) - sum(c for c, _ in bins), sum(expected) - sum(e for _, e in bins)
    assert sum((c - e) ** 2 / e for c, e in (*bins, rest) if e >= 1) < 25.7


def test_what_is_not_a_number_is_not_hidden(found: dict[str, Any]) -> None:
    assert found["not_finite"] == [True, True]


def test_rough_logits_are_as_near_as_their_head_says(found: dict[str, Any]) -> None:
    for each in found["heads"]:
        assert each["rough"] <= each["off"] + 1e-6 * each["largest"]
        assert each["exact"] <= (1e-12 if each["off"] else 1e-6) * each["largest"]
    assert {each["off"] > 0 for each in found["heads"]} == {True, False}
