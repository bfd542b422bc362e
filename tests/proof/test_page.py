"""docs/proof.md against the tests: every promise has its row, and what a row names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.setup.cache import REPOSITORY

CONTRACTS = REPOSITORY / "tests" / "contracts"
SYMBOLIC = REPOSITORY / "tests" / "proof" / "symbolic"
FUZZ = ("Invariants.t.sol", "Handler.sol", "Stakers.sol", "Trials.sol")
PROMISES = 45
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall((REPOSITORY / "docs" / "proof.md").read_text("utf-8"))


def functions(*files: Path) -> set[str]:
    return {name for file in files for name in re.findall(r"function (\w+)\(", file.read_text("utf-8"))}


def missing(held_by: str) -> list[str]:
    """Names of a row that are not where it says."""
    lacking = []
    for part in held_by.split("; "):
        place, names = part.split(" ")[0], re.findall(r"`(\w+)`", part)
        if place == "fuzz":
            files = [CONTRACTS / each for each in FUZZ]
        elif place == "symbolic":
            files = sorted(SYMBOLIC.glob("*.sol"))
        elif place == "histories":
            continue
        else:
            files = [CONTRACTS / f"{place}.t.sol"]
        lacking += [name for name in names if name not in functions(*files)]
    return lacking


def test_every_promise_has_its_row() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, PROMISES + 1))


@pytest.mark.parametrize(("number", "held_by"), [(number, held_by) for number, _, held_by in ROWS])
def test_what_a_row_names_is_there(number: str, held_by: str) -> None:
    assert missing(held_by) == []
    # Training, the fortieth, is yet to come.
    assert "`" in held_by or number == "40"


def test_a_name_that_is_nowhere_is_missed() -> None:
    assert missing("fuzz `wash`, `nothing`; Stake `test_nothing`; symbolic `prove_nothing`") == [
        *("nothing", "test_nothing", "prove_nothing")
    ]
