"""How many tokens are read between two steps of those who write."""

from __future__ import annotations

import pytest

from executor.runner.pieces import LEAST, MOST, START, WAIT_S, PieceSize


def read_on(size: PieceSize, passes: int, token_s: float) -> list[float]:
    """So many passes over pieces of tokens that take so long each. Returns: how much longer each took than a step."""
    found = []
    for _ in range(passes):
        found.append(size.tokens * token_s)
        size.passed(size.tokens, size.step_s + found[-1])
    return found


@pytest.mark.parametrize("token_s", [0.0005, 0.001, 0.0025])
def test_a_pass_takes_as_much_longer_as_may_be_waited(token_s: float) -> None:
    size = PieceSize(step_s=0.05)
    assert read_on(size, 40, token_s)[-1] == pytest.approx(WAIT_S, rel=0.1)


def test_slow_tokens_are_read_a_few_at_a_time_after_a_few_passes() -> None:
    size = PieceSize(step_s=0.05)
    waits = read_on(size, 12, 0.005)
    assert waits[0] == START * 0.005
    assert waits[4] < 1.5 * WAIT_S
    assert size.tokens <= LEAST + 1


def test_fast_tokens_are_read_in_large_pieces() -> None:
    size = PieceSize(step_s=0.05)
    read_on(size, 60, 0.0001)
    assert MOST - 8 <= size.tokens <= MOST


def test_a_quick_pass_changes_little_and_a_slow_one_much() -> None:
    size = PieceSize(step_s=0.01)
    size.passed(64, 0.011)
    assert START < size.tokens <= START + (MOST - START) // 8
    size.passed(size.tokens, 1.0)
    assert size.tokens < START


@pytest.mark.parametrize("pass_s", [0.0, 0.001, 10.0, 1e9])
def test_no_clock_leads_it_astray(pass_s: float) -> None:
    size = PieceSize(step_s=0.05)
    for _ in range(100):
        size.passed(size.tokens, pass_s)
        assert LEAST <= size.tokens <= MOST


def test_what_a_step_takes_is_that_of_the_last_one_that_read_nothing() -> None:
    size = PieceSize()
    for step_s in (0.2, 0.04):
        size.passed(0, step_s)
        assert (size.step_s, size.tokens) == (step_s, START)
