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
    lines = {line.key: line for line in truth.run()}
    assert set(lines) <= set(truth.KEYS)
    honest = [
        row
        for row in measured["deployed_rates"]
        if row["variant"] == "honest" and row["length"] == "whole" and row["worker"] == row["checker"]
    ]
    assert lines["truth.honest_reject_same"].n == sum(row["n"] for row in honest)
    assert lines["truth.catch_int8"].n == sum(
        row["n"]
        for row in measured["deployed_rates"]
        if row["variant"] == "int8_channel" and row["length"] == "64" and row["worker"] == row["checker"]
    )
    assert lines["truth.ev_max"].verdict() == "met"
