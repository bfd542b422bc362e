"""When a measurement confirms what it proposes."""

from __future__ import annotations

import pytest

from node.calibration.campaign import is_confirmed


@pytest.mark.parametrize(
    ("n", "not_passed", "confirmed"),
    # The promise is one in five hundred; what refutes it is a count that it makes less than one time in forty.
    [(782, 0, True), (492, 1, True), (492, 3, True), (492, 4, False), (1_500, 7, True), (1_500, 8, False)],
)
def test_constants_are_refuted_by_more_than_the_promise_explains(n: int, not_passed: int, confirmed: bool) -> None:
    good = {"held_out": {"n": 782, "not_passed": 0}}
    report = {"classes": {"1": good, "2": {"held_out": {"n": n, "not_passed": not_passed}}}}
    assert is_confirmed(report) is confirmed
