"""Exact intervals and tests, against numbers from tables and against each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.calibration.statistics import at_most, interval, same_share


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        # Closed forms at the ends: 1 - (alpha/2)^(1/n).
        (0, 10, 0.0, 0.30849710781876083),
        (10, 10, 0.6915028921812392, 1.0),
        (0, 1_500, 0.0, 0.0024562314),
        # Clopper and Pearson, 1934, and any table since.
        (5, 10, 0.1870860284, 0.8129139716),
        (1, 100, 0.0002531460, 0.0544594),
    ],
)
def test_intervals_are_those_of_the_tables(hits: int, of: int, low: float, high: float) -> None:
    assert interval(hits, of) == pytest.approx((low, high), abs=1e-6)


def test_1500_without_a_hit_show_a_fifth_of_a_percent() -> None:
    # The end of an interval of 90 % is that of a one-sided one of 95 %.
    assert interval(0, 1_500, 0.9)[1] < 0.002 < interval(0, 1_400, 0.9)[1]


@given(st.integers(1, 400), st.data())
def test_ends_of_an_interval_leave_a_fortieth_each(of: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, of))
    low, high = interval(hits, of)
    assert low <= hits / of <= high
    if hits < of:
        assert at_most(hits, of, high) == pytest.approx(0.025, abs=1e-6)
    if hits > 0:
        assert 1 - at_most(hits - 1, of, low) == pytest.approx(0.025, abs=1e-6)


@pytest.mark.parametrize(("hits", "of"), [(1, 0), (3, 2), (-1, 5)])
def test_counts_that_cannot_be_are_refused(hits: int, of: int) -> None:
    with pytest.raises(ValueError, match="of"):
        interval(hits, of)


def test_fishers_test_of_the_lady_tasting_tea() -> None:
    assert same_share(4, 4, 0, 4) == pytest.approx(2 / 70)
    assert same_share(3, 4, 1, 4) == pytest.approx(34 / 70)


@given(st.integers(0, 30), st.integers(0, 30))
def test_equal_counts_are_never_unlike(hits: int, misses: int) -> None:
    if hits + misses:
        assert same_share(hits, hits + misses, hits, hits + misses) == pytest.approx(1)
