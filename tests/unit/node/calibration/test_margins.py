"""Scores of margins: what they may never do to the honest, and what they find."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from node.calibration.margins import NEVER, fit, mean_evidence, tokens_to_alarm
from protocol.stages.margins import HEAD_START, MOST_A_CASE, RUNNING_ALARM, evidence_of
from protocol.stages.verification import MarginScores

TOKENS = 64


def answers(count: int, share: float, mean: float, seed: int) -> list[tuple[int, ...]]:
    """Answers whose margins are zero but for a share of them, which decay from there on."""
    chance = random.Random(seed)

    def margin() -> int:
        return 1 + int(chance.expovariate(1 / mean)) if chance.random() < share else 0

    return [tuple(margin() for _ in range(TOKENS)) for _ in range(count)]


def groups(share: float = 0.02) -> dict[str, list[tuple[int, ...]]]:
    return {"prose": answers(400, share, 60_000, 3), "numbers": answers(150, share, 70_000, 4)}


@pytest.fixture(scope="module")
def scores() -> MarginScores:
    return fit(answers(600, 0.02, 60_000, 1), answers(120, 0.05, 150_000, 2), groups()).scores


def test_honest_answers_have_at_most_one_on_average(scores: MarginScores) -> None:
    for told in groups().values():
        mean, bound = mean_evidence(scores, told)
        assert mean <= bound <= 1
    # What the table has never seen, too.
    assert mean_evidence(scores, answers(2_000, 0.02, 60_000, 9))[0] < 1.02


def test_the_family_with_the_most_noise_decides(scores: MarginScores) -> None:
    noisy = {**groups(), "digits": answers(150, 0.04, 60_000, 5)}
    careful = fit(answers(600, 0.02, 60_000, 1), answers(120, 0.05, 150_000, 2), noisy).scores
    assert mean_evidence(scores, noisy["digits"])[0] > 1
    assert mean_evidence(careful, noisy["digits"])[1] <= 1


def test_larger_margins_of_a_cheat_say_more(scores: MarginScores) -> None:
    assert scores.edges[0] == 1
    assert scores.scores[0] < 0 < scores.scores[-1]
    assert evidence_of([0] * TOKENS, scores) == TOKENS * scores.scores[0]


def test_what_was_never_seen_of_honest_nodes_may_yet_come() -> None:
    """In float32 no honest token has a margin: one in ten thousand with one must still leave the mean at one."""
    exact = {name: answers(len(each), 0, 1, 3) for name, each in groups().items()}
    found = fit(answers(300, 0, 1, 1), answers(120, 0.05, 150_000, 2), exact)
    assert all(bound <= 1 for _, bound in found.honest.values())
    assert mean_evidence(found.scores, answers(20_000, 0.0001, 150_000, 4))[0] <= 1


def test_a_larger_margin_never_says_less() -> None:
    """Of few tokens, whose shares of the bins are chance."""
    for seed in range(20):
        found = fit(answers(30, 0.02, 60_000, seed), answers(6, 0.05, 150_000, 100 + seed), groups()).scores.scores
        assert list(found) == sorted(found)


def test_cheat_is_found_and_honest_node_is_not(scores: MarginScores) -> None:
    cheat = tokens_to_alarm(scores, answers(120, 0.05, 150_000, 6))
    assert max(cheat) < 4_096
    assert min(cheat) >= TOKENS * math.ceil((RUNNING_ALARM - HEAD_START) / MOST_A_CASE)
    assert set(tokens_to_alarm(scores, answers(400, 0.02, 60_000, 7))) == {NEVER}


def test_a_new_node_is_found_in_half_of_the_time(scores: MarginScores) -> None:
    told = answers(120, 0.05, 150_000, 6)
    new, known = (statistics.mean(tokens_to_alarm(scores, told, begin)) for begin in (HEAD_START, 0))
    assert 0.4 < new / known < 0.6


def test_cheat_that_chooses_as_the_honest_do_gives_no_table() -> None:
    with pytest.raises(ValueError, match="honest node"):
        fit(answers(10, 0.02, 60_000, 1), [(0,) * TOKENS], groups())


def test_table_that_nothing_makes_safe_is_refused() -> None:
    same = answers(50, 0.02, 60_000, 1)
    with pytest.raises(ValueError, match="safe"):
        fit(same, answers(50, 0.05, 150_000, 2), {"liars": [(10**6,) * TOKENS] * 9})
