"""The running margin: what it adds up, whom it finds, and whom it must leave alone."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.judging.margins import (
    HEAD_START,
    MAX_LLR_MILLINATS,
    MOST_A_CASE,
    MOST_A_LEAF,
    RUNNING_ALARM,
    SUSPECT,
    SequentialTest,
    case_llr,
    margin_llr,
    median_llr,
)
from protocol.stages.verification import MarginScores

EDGES = (1, 10_000, 100_000)
HONEST = (0.90, 0.07, 0.025, 0.005)
"""How often an honest token's margin falls into each bin."""
CHEAT = (0.80, 0.13, 0.055, 0.015)
RATIOS = tuple(math.floor(1_000 * math.log(cheat / honest)) for honest, cheat in zip(HONEST, CHEAT, strict=True))
SCORES = MarginScores(EDGES, RATIOS)
IN_BIN = (0, 5_000, 50_000, 500_000)
TOKENS = 64
LLR_MILLINATS = st.integers(-MAX_LLR_MILLINATS, MAX_LLR_MILLINATS)


def answer(chance: random.Random, weights: tuple[float, ...]) -> list[int]:
    return chance.choices(IN_BIN, weights, k=TOKENS)


def test_each_token_scores_by_the_bin_of_its_margin():
    for margin, bin_ in ((0, 0), (1, 1), (9_999, 1), (10_000, 2), (99_999, 2), (100_000, 3), (2**32 - 1, 3)):
        assert margin_llr([margin], SCORES) == RATIOS[bin_]
    assert margin_llr([0, 0, 10_000], SCORES) == 2 * RATIOS[0] + RATIOS[2]
    assert margin_llr([], SCORES) == 0


def test_one_leaf_and_one_case_say_no_more_than_they_may():
    assert margin_llr([500_000] * 1_000, SCORES) == MOST_A_LEAF
    assert margin_llr([0] * 1_000, SCORES) == 1_000 * RATIOS[0] < -MOST_A_LEAF
    assert case_llr([MOST_A_LEAF, -3_000, 5]) == MOST_A_LEAF - 2_995
    assert case_llr([2**31, 1]) == MAX_LLR_MILLINATS
    assert case_llr([-(2**40)]) == -MAX_LLR_MILLINATS


def test_the_middle_one_counts_and_of_two_the_lower():
    assert median_llr([7, -3, 5]) == 5
    assert median_llr([7, -3]) == -3
    assert median_llr([4]) == 4
    assert median_llr([]) == 0


def test_a_bench_confirms_what_a_single_seat_only_tells():
    assert SequentialTest(0, 0).after(900, bench=False) == SequentialTest(900, 0)
    assert SequentialTest(0, 0).after(900, bench=True) == SequentialTest(900, 900)
    assert SequentialTest(900, 500).after(-600, bench=False) == SequentialTest(300, 0)


def test_a_node_begins_with_a_head_start_and_is_found_in_two_full_cases():
    running = SequentialTest().after(MAX_LLR_MILLINATS, bench=True)
    assert (running.confirmed, running.is_alarm) == (HEAD_START + MOST_A_CASE, False)
    assert running.after(RUNNING_ALARM - running.confirmed, bench=True).is_alarm
    assert not running.after(RUNNING_ALARM - running.confirmed - 1, bench=True).is_alarm


def test_halves_of_the_bound_are_for_the_head_start_and_for_all_cases_after_it():
    half = 0.5e-4
    assert math.exp((HEAD_START - RUNNING_ALARM) / 1_000) <= half
    assert 1e5 * math.exp(-RUNNING_ALARM / 1_000) <= half


def test_four_full_cases_are_an_alarm_and_three_are_none():
    running = SequentialTest(0, 0)
    for _ in range(3):
        running = running.after(MAX_LLR_MILLINATS, bench=True)
        assert not running.is_alarm
    assert running.after(MOST_A_CASE, bench=True).is_alarm
    assert not running.after(RUNNING_ALARM - 3 * MOST_A_CASE - 1, bench=True).is_alarm


def test_single_seats_are_never_an_alarm_but_soon_suspicious():
    assert SequentialTest().is_suspect(1), "nothing is known of it yet"
    running = SequentialTest(0, 0)
    assert running.is_suspect(SUSPECT)
    assert not running.is_suspect(SUSPECT - 1)
    for _ in range(100):
        running = running.after(MAX_LLR_MILLINATS, bench=False)
    assert (running.confirmed, running.is_alarm) == (0, False)
    assert running.is_suspect(1)
    assert not running.is_suspect(0)


@given(st.lists(st.tuples(LLR_MILLINATS, st.booleans()), max_size=20))
def test_no_case_adds_more_than_it_says_and_nothing_that_is_negative_is_left_out(cases):
    running = SequentialTest()
    for llr_millinats, bench in cases:
        after = running.after(llr_millinats, bench=bench)
        for was, now in ((running.told, after.told), (running.confirmed, after.confirmed)):
            assert 0 <= now <= RUNNING_ALARM
            # This keeps the product of exp(llr) a supermartingale.
            assert now <= max(0, was + llr_millinats, was if llr_millinats > 0 else 0)
            assert now - was <= MOST_A_CASE
        assert after.confirmed <= after.told
        running = after


@given(st.permutations([-900, 2_000, 350, -10]))
def test_without_a_floor_in_the_way_the_order_makes_no_difference(cases):
    running = SequentialTest(5_000, 5_000)
    for llr_millinats in cases:
        running = running.after(llr_millinats, bench=True)
    assert running == SequentialTest(6_440, 6_440)


@pytest.mark.parametrize("level", [2, 4, 6])
def test_an_honest_node_rises_no_more_often_than_stated(level):
    """At lower levels than the alarm's, where it can be counted: n cases may begin a rise, each with exp(-level)."""
    chance = random.Random(level)
    nodes, cases, hurt = 2_000, 20, 0
    for _ in range(nodes):
        running = SequentialTest(0, 0)
        for _ in range(cases):
            running = running.after(margin_llr(answer(chance, HONEST), SCORES), bench=True)
            if running.confirmed >= 1_000 * level:
                hurt += 1
                break
    assert hurt <= nodes * min(1, cases * math.exp(-level))
    assert hurt or level > 2, "so low a level is reached"


def test_an_honest_node_is_never_alarmed_over_many_cases():
    chance = random.Random(1)
    running = SequentialTest()
    for _ in range(10_000):
        running = running.after(margin_llr(answer(chance, HONEST), SCORES), bench=True)
        assert not running.is_alarm


def test_a_cheat_whose_single_answers_show_nothing_is_found():
    chance = random.Random(2)
    found = []
    for _ in range(50):
        running, cases, most = SequentialTest(0, 0), 0, 0
        while not running.is_alarm:
            llr_millinats = margin_llr(answer(chance, CHEAT), SCORES)
            running, cases, most = running.after(llr_millinats, bench=True), cases + 1, max(most, llr_millinats)
        found.append(cases)
        assert most < RUNNING_ALARM
    assert 4 < min(found) < max(found) < 60


@pytest.mark.parametrize("level", [2, 4])
def test_a_head_start_hurts_honest_nodes_no_more_often_than_stated(level):
    """So much below the level: it is reached, before the sum was zero once, with exp(-level) at most."""
    chance = random.Random(level)
    nodes, hurt = 2_000, 0
    for _ in range(nodes):
        total = HEAD_START
        while 0 < total < HEAD_START + 1_000 * level:
            total += margin_llr(answer(chance, HONEST), SCORES)
        hurt += total > 0
    assert 0 < hurt <= nodes * math.exp(-level)


def test_to_leave_out_what_is_negative_would_hurt_the_honest():
    """The rule that the bound rests on, broken: the sum then grows by chance alone."""
    chance = random.Random(3)
    total = sum(max(0, margin_llr(answer(chance, HONEST), SCORES)) for _ in range(1_000))
    assert total > RUNNING_ALARM


def test_a_table_of_ratios_is_an_e_value_over_honest_tokens():
    mean = sum(share * math.exp(score / 1_000) for share, score in zip(HONEST, SCORES.scores, strict=True))
    assert 0.99 < mean <= 1
    assert all(low < high for low, high in pairwise(SCORES.scores))
