"""Scores of margins: what they may never do to the honest, and what they find."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from node.calibration.margins import FURTHEST, NEVER, fit, mean_likelihood_ratio, tokens_to_alarm
from protocol.judging.margins import HEAD_START, MOST_A_CASE, RUNNING_ALARM, margin_llr
from protocol.stages.verification import MarginScores

TOKENS = 64


def answers(count: int, noise: float, seed: int, apart: float = 2_000_000) -> list[tuple[int, ...]]:
    """Answers of who sees each of two tokens, so far apart at most, with so much noise, in ppm."""
    chance = random.Random(seed)

    def margin() -> int:
        gap = 1 + int(chance.uniform(0, apart))
        if chance.gauss(0, noise) > gap:
            return gap
        return max(-FURTHEST, -gap)

    return [tuple(margin() for _ in range(TOKENS)) for _ in range(count)]


NOISE, CHEATS = 60_000, 150_000


def groups(noise: float = NOISE) -> dict[str, list[tuple[int, ...]]]:
    return {"prose": answers(400, noise, 3), "numbers": answers(150, noise, 4, apart=4_000_000)}


@pytest.fixture(scope="module")
def scores() -> MarginScores:
    return fit(answers(600, NOISE, 1), answers(200, CHEATS, 2), groups()).scores


def test_honest_answers_have_at_most_one_on_average(scores: MarginScores) -> None:
    for told in groups().values():
        mean, bound = mean_likelihood_ratio(scores, told)
        assert mean <= bound <= 1
    # Margins that the table has never seen, too.
    assert mean_likelihood_ratio(scores, answers(2_000, NOISE, 9))[0] < 1.02


def test_how_often_tokens_are_near_is_no_evidence(scores: MarginScores) -> None:
    """Somebody may ask for what has four times as many near ties: an honest node chooses among them as ever."""
    assert mean_likelihood_ratio(scores, answers(600, NOISE, 8, apart=500_000))[1] <= 1


def test_the_family_with_the_most_noise_decides(scores: MarginScores) -> None:
    noisy = {**groups(), "digits": answers(150, 1.6 * NOISE, 5)}
    careful = fit(answers(600, NOISE, 1), answers(200, CHEATS, 2), noisy).scores
    assert mean_likelihood_ratio(scores, noisy["digits"])[0] > 1
    assert mean_likelihood_ratio(careful, noisy["digits"])[1] <= 1


def test_the_lesser_of_two_tokens_speaks_against_a_node_and_the_better_one_for_it(scores: MarginScores) -> None:
    against, in_favour = ([margin_llr([sign * gap], scores) for gap in (20_000, 100_000, 300_000)] for sign in (1, -1))
    assert min(against) >= 0 >= max(in_favour)
    assert against[-1] > 0 > min(in_favour)
    # Of equals neither is the lesser one.
    assert margin_llr([0], scores) == 0


def test_what_was_never_seen_of_honest_nodes_may_yet_come() -> None:
    """In float32 no honest node takes the lesser token: one near tie in a thousand must leave the mean at one."""
    exact = {name: answers(len(each), 0, 3) for name, each in groups().items()}
    found = fit(answers(300, 0, 1), answers(200, CHEATS, 2), exact)
    assert all(bound <= 1 for _, bound in found.honest.values())
    chance = random.Random(4)
    erring = [
        tuple(-margin if margin > -FURTHEST and chance.random() < 0.001 else margin for margin in each)
        for each in answers(4_000, 0, 5)
    ]
    assert mean_likelihood_ratio(found.scores, erring)[0] <= 1


def test_a_larger_margin_never_says_less() -> None:
    """Of few tokens, whose shares of the bins are chance."""
    for seed in range(20):
        found = fit(answers(30, NOISE, seed), answers(12, CHEATS, 100 + seed), groups()).scores
        lesser = [margin_llr([gap], found) for gap in range(1, FURTHEST, 5_000)]
        assert lesser == sorted(lesser)


def test_cheat_is_found_and_honest_node_is_not(scores: MarginScores) -> None:
    cheat = tokens_to_alarm(scores, answers(200, CHEATS, 6))
    assert max(cheat) < 8_192
    assert min(cheat) >= TOKENS * math.ceil((RUNNING_ALARM - HEAD_START) / MOST_A_CASE)
    assert set(tokens_to_alarm(scores, answers(400, NOISE, 7))) == {NEVER}


def test_a_new_node_is_found_in_half_of_the_time(scores: MarginScores) -> None:
    told = answers(200, CHEATS, 6)
    new, known = (statistics.mean(tokens_to_alarm(scores, told, begin)) for begin in (HEAD_START, 0))
    assert 0.4 < new / known < 0.6


def test_cheat_that_chooses_as_the_honest_do_gives_no_table() -> None:
    with pytest.raises(ValueError, match="honest node"):
        fit(answers(10, NOISE, 1), answers(10, 0, 2), groups())


def test_table_that_nothing_makes_safe_is_refused() -> None:
    with pytest.raises(ValueError, match="safe"):
        fit(answers(50, NOISE, 1), answers(50, CHEATS, 2), {"liars": [(10**6,) * TOKENS] * 9})
