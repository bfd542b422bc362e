"""From measured answers to constants."""

from __future__ import annotations

import pytest

from node.calibration.answers import Cut
from node.calibration.constants import FLOORS, constants
from protocol.stages.verification import Distances, Tolerance

MILLION = 1_000_000


def cut(act: int = 20_000, chunk: int = 20_000, tok: int = 0, worst: int = 0, tokens: int = 64) -> Cut:
    return Cut(tokens, Distances(act, chunk, tok, worst), Distances(0, 0, tok, worst))


def test_even_noise_is_bounded_by_six_deviations() -> None:
    found = constants([cut(act) for act in (19_000, 20_000, 21_000)], [], 2)
    assert found.act == Tolerance(26_000, 29_640)


def test_one_noisy_answer_passes_and_is_a_quarter_away_from_failing() -> None:
    found = constants([cut()] * 400 + [cut(60_000, 60_000, tok=20_000)], [], 2)
    assert found.act == Tolerance(66_000, 75_240)
    assert found.chunk.d0 == found.act.d0
    assert min(found.act.d1, found.chunk.d1) >= 1.25 * 60_000
    assert found.tok == Tolerance(25_000, 50_000)


def test_fingerprints_of_shortened_answers_raise_no_bound_and_their_margins_do() -> None:
    plain = constants([cut()] * 10, [], 2)
    found = constants([cut()] * 10, [cut(60_000, 60_000, tok=80_000, worst=700_000, tokens=16)], 2)
    assert (found.act, found.chunk) == (plain.act, plain.chunk)
    # 80,000 of 16 tokens are as unlikely as 40,000 of 64: the score allows short answers twice as much.
    assert found.tok.d0 >= 1.25 * 40_000
    assert found.worst == Tolerance(1_400_000, 2_800_000)


@pytest.mark.parametrize("class_id", [1, 2])
def test_margins_that_are_all_zero_still_leave_room(class_id: int) -> None:
    found = constants([cut()] * 3, [], class_id)
    assert found.tok.d0 == FLOORS[class_id].tok
    assert found.worst.d0 == FLOORS[class_id].worst


def test_one_answer_makes_no_constants() -> None:
    with pytest.raises(ValueError, match="1 honest"):
        constants([cut()], [cut()], 2)
