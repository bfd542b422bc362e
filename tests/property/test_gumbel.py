"""The rule by which tokens are chosen, as scripts/vectors/gumbel.py has it: a fair draw that anybody can repeat."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.vectors.gumbel import PPM, STOPS, GumbelStory, gumbel, number

STORIES = [
    case
    for case in json.loads((Path(__file__).parents[1] / "vectors" / "gumbel.json").read_text())["cases"]
    if "texts" in case
]
SEEDS = st.binary(min_size=32, max_size=32)
LOGITS = (2.0, 1.0, 0.5, 0.0, -1.0, -3.0)


def as_float(x: int) -> float:
    return -math.log(-math.log((x + 0.5) * 2.0**-53))


def chosen(seed: bytes, place: int, temperature: float) -> int:
    scores = [z + temperature * as_float(number(seed, place, v)) for v, z in enumerate(LOGITS)]
    return scores.index(max(scores))


@pytest.mark.parametrize("temperature", [0.3, 0.8, 2.0])
def test_tokens_come_as_often_as_softmax_says(temperature: float) -> None:
    draws = 6_000
    counts = Counter(chosen(b"\x05" * 32, place, temperature) for place in range(draws))
    weights = [math.exp(z / temperature) for z in LOGITS]
    expected = [draws * weight / sum(weights) for weight in weights]
    bins = [(counts[v], e) for v, e in enumerate(expected) if e >= 5]
    # Five degrees of freedom at most: of honest draws one in ten thousand would be above.
    assert sum((c - e) ** 2 / e for c, e in bins) < 25.7


@given(SEEDS, SEEDS)
@settings(max_examples=30)
def test_same_seed_gives_the_same_tokens_and_another_one_others(seed: bytes, other: bytes) -> None:
    tokens = [chosen(seed, place, 2.0) for place in range(100)]
    assert tokens == [chosen(seed, place, 2.0) for place in range(100)]
    assert seed == other or tokens != [chosen(other, place, 2.0) for place in range(100)]


@given(SEEDS, st.integers(0, 2**20), st.integers(0, 2**20))
def test_numbers_lie_between_the_two_ends(seed: bytes, place: int, token: int) -> None:
    x = number(seed, place, token)
    assert 0 <= x < 2**53
    assert gumbel(0) <= gumbel(x) <= gumbel(2**53 - 1)


def test_hot_or_cold_an_honest_answer_has_no_margin_above_zero() -> None:
    for temperature_milli in (0, 500, 1500):
        story = GumbelStory(temperature_milli, 12)
        ids, stopped = story.answer()
        *margins, last = story.margins(ids, stopped)
        assert last == 0
        # Of two equal ones the lower id was taken: its margin is zero, too.
        assert max(margins, default=0) <= 0
        assert min(margins, default=0) >= -PPM
        assert not set(ids) & set(STOPS)


@pytest.mark.parametrize("case", STORIES, ids=[str(case["temperatureMilli"]) for case in STORIES])
def test_what_somebody_changed_has_one(case: dict[str, list[dict[str, list[int]]]]) -> None:
    honest, *changed = case["texts"]
    assert max(honest["margins"]) == 0
    assert all(max(text["margins"]) > 10_000 for text in changed)
