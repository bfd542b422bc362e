"""The page on what the checks catch says what was measured, and the bench reads the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.calibration.page import MEASURED, PAGE, TABLES, refreshed
from tests.benchmarks import truth


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(MEASURED.read_text())
    return found


def test_page_says_what_was_measured() -> None:
    page = PAGE.read_text()
    assert all(f"<!-- table: {name} -->" in page for name in TABLES)
    assert refreshed(page) == page, "run python -m scripts.calibration.page --write"


def test_bench_counts_what_the_page_shows(measured: dict[str, Any]) -> None:
    """Of the class of which it is worst, or where none is, of the one with fewer answers."""
    lines = {line.key: line for line in truth.run()}
    assert set(lines) <= set(truth.KEYS)
    for key, variant, length in (
        ("truth.honest_reject_same", "honest", "whole"),
        ("truth.catch_int8", "int8_channel", "64"),
    ):
        shares: dict[int, list[int]] = {}
        for row in measured["deployed_rates"]:
            if (row["variant"], row["length"]) == (variant, length) and row["worker"] == row["checker"]:
                counts = shares.setdefault(row["worker"], [0, 0])
                counts[0], counts[1] = counts[0] + row["not_passed"], counts[1] + row["n"]
        worst = (max if variant == "honest" else min)(hits / n for hits, n in shares.values())
        assert lines[key].value == 100 * worst
        assert lines[key].n == min(n for hits, n in shares.values() if hits / n == worst)
    assert lines["truth.ev_max"].verdict() == "met"
