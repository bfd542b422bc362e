"""The plan of a measurement, which can be repeated."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from node.calibration.measuring import FOUNDING_SEED, SEED
from node.calibration.plan import (
    ALTERED,
    CHEAT,
    DRAWN,
    HONEST,
    PADDED,
    PART_TOKENS,
    WEIGHTS,
    Extent,
    PlanSegment,
    founding,
    plan,
)
from node.calibration.prompts import PROMPTS, SEED_STRIDE, Family, place_of, prompt_of

LENGTHS = (16, 64, 256)
WHOLE = Extent(1_500, 125, LENGTHS)


def test_prompts_are_many_and_no_two_are_alike() -> None:
    assert len(PROMPTS) > 200
    assert len({prompt.text for prompt in PROMPTS}) == len(PROMPTS)


def test_every_prompt_has_its_turn_before_one_comes_again() -> None:
    assert len(PROMPTS) % SEED_STRIDE
    assert sorted(place_of(number) for number in range(len(PROMPTS))) == list(range(len(PROMPTS)))


def test_both_halves_have_prompts_of_every_family() -> None:
    for half in (0, 1):
        assert {prompt.family for prompt in PROMPTS[half::2]} == set(Family)


@pytest.mark.parametrize("runs", [96, 1_500])
def test_each_class_has_its_honest_answers_and_no_number_twice(runs: int) -> None:
    parts = plan([1, 2], Extent(runs, 8, LENGTHS))
    for worker in (1, 2):
        for checker in (1, 2):
            mine = [p for p in parts if (p.worker, p.checker) == (worker, checker) and p.max_new_tokens == 64]
            numbers = [n for p in mine for each in p.segments if each.variant == HONEST for n in each.numbers]
            assert len(numbers) >= runs
            assert max(Counter(numbers).values()) == 1


def segments(class_id: int, length: int = 64) -> list[PlanSegment]:
    parts = plan([1, 2], WHOLE)
    mine = [p for p in parts if p.worker == p.checker == class_id and p.max_new_tokens == length]
    assert all(p.lengths == tuple(each for each in LENGTHS if each <= length) for p in mine)
    return [each for p in mine for each in p.segments]


@pytest.mark.parametrize("class_id", [1, 2])
def test_every_substitute_is_measured_where_it_differs(class_id: int) -> None:
    found: Counter[tuple[int, str]] = Counter()
    for each in segments(class_id):
        found[each.temperature_milli, each.variant] += len(each.numbers)
    assert {variant for temperature, variant in found if temperature == 800} == {
        *(HONEST, PADDED),
        *(*WEIGHTS, *ALTERED, *DRAWN),
    }
    assert {variant for temperature, variant in found if temperature == 0} == {HONEST, *WEIGHTS, *ALTERED}
    assert min(found[temperature, variant] for temperature in (0, 800) for variant in WEIGHTS) >= 100
    assert {each.variant for each in segments(class_id, 256)} == {HONEST, *WEIGHTS}


@pytest.mark.parametrize("substitutes", [8, 125, 1_000])
def test_four_bits_are_asked_more_often_and_nothing_undrawn_twice(substitutes: int) -> None:
    told = [each for part in plan([2], Extent(96, substitutes, (64,))) for each in part.segments]
    counts: Counter[tuple[int, str]] = Counter()
    for each in told:
        counts[each.temperature_milli, each.variant] += len(each.numbers)
    assert counts[800, "int4_block"] == 3 * counts[800, "int8_block"] == 3 * substitutes
    undrawn = {number for each in told if not each.temperature_milli for number in each.numbers}
    assert max(undrawn) < len(PROMPTS)
    assert counts[0, "int4_block"] >= counts[0, "int8_block"]


def test_what_comes_first_is_honest_and_not_drawn() -> None:
    # The whitening weights are made from it.
    assert (segments(2)[0].variant, segments(2)[0].temperature_milli) == (HONEST, 0)


def test_honest_nodes_differ_in_batches_and_threads() -> None:
    shapes = {(each.batch, each.threads) for each in segments(1) if each.variant == HONEST}
    assert len(shapes) == 4
    assert {1, 2} == {threads for _, threads in shapes}


def test_a_release_is_founded_on_enough_of_every_family_and_on_nothing_that_has_no_seed() -> None:
    told = [each for part in founding(2, WHOLE) for each in part.segments]
    assert {each.variant for each in told} == {HONEST, CHEAT}
    assert all(each.temperature_milli for each in told)
    assert FOUNDING_SEED != SEED
    numbers = [n for each in told if each.variant == HONEST for n in each.numbers]
    assert max(Counter(numbers).values()) == 1
    families = Counter(prompt_of(n).family for n in numbers)
    assert min(families[family] for family in Family) == WHOLE.runs // len(Family)
    assert {(each.batch, each.threads) for each in told} >= {(each.batch, each.threads) for each in segments(2)}


def test_padding_is_asked_of_what_ends_by_itself() -> None:
    for each in segments(1):
        families = {prompt_of(n).family for n in each.numbers}
        if each.variant == PADDED:
            assert families == {Family.SHORT}
        elif each.variant != HONEST:
            assert Family.SHORT not in families


@pytest.mark.parametrize("lengths", [LENGTHS, (16,)])
def test_no_part_is_larger_than_what_an_interruption_may_cost(lengths: tuple[int, ...]) -> None:
    parts = plan([1, 2], Extent(1_500, 125, lengths))
    assert len({part.name for part in parts}) == len(parts)
    assert all(0 < part.answers * part.max_new_tokens <= PART_TOKENS for part in parts)
    assert max(part.max_new_tokens for part in parts) == max(lengths)


def test_a_result_is_of_its_part_and_context() -> None:
    one = plan([1, 2], WHOLE)[0]
    first = one.segments[0]
    other = replace(one, segments=(replace(first, batch=3), *one.segments[1:]))
    assert len({one.key("runner", "model"), one.key("other", "model"), other.key("runner", "model")}) == 3
