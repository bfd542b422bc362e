"""Compares tests/contracts/PROPERTIES.md with the tests: each promise and attack has a row, each named test exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.setup.cache import REPOSITORY

TESTS = REPOSITORY / "tests"
CONTRACTS = TESTS / "contracts"
SYMBOLIC = TESTS / "proof" / "symbolic"
FUZZ = ("Invariants.t.sol", "Handler.sol", "Scrutiny.sol", "Stakers.sol", "Trials.sol")
PROMISES = 47
ATTACKS = {"Money": 30, "Draw and court": 49, "Reputation and liveness": 14, "Stakes and rewards": 8}
PAGE = (CONTRACTS / "PROPERTIES.md").read_text("utf-8")
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE)
ATTACK = re.compile(r"^\| (?!attack \|)([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def functions(*files: Path) -> set[str]:
    found = (re.findall(r"(?:function|def) (\w+)\(", file.read_text("utf-8")) for file in files if file.is_file())
    return {name for names in found for name in names}


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
        elif "/" in place:
            files = [TESTS / f"{place}.py"]
        else:
            files = [CONTRACTS / f"{place}.t.sol"]
        lacking += [name for name in names if name not in functions(*files)]
    return lacking


def attacks() -> dict[str, list[tuple[str, str, str]]]:
    """By section: each attack, its expected end, and what plays it."""
    _, *sections = PAGE.split("\n## Attacks\n")[1].split("\n### ")
    return {section.split("\n")[0]: ATTACK.findall(section) for section in sections}


def test_every_promise_has_its_row() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, PROMISES + 1))


@pytest.mark.parametrize(("number", "held_by"), [(number, held_by) for number, _, held_by in ROWS])
def test_what_a_row_names_is_there(number: str, held_by: str) -> None:
    assert missing(held_by) == []
    # Training, the fortieth, is yet to come.
    assert "`" in held_by or number == "40"


def test_every_attack_has_its_row() -> None:
    assert {section: len(rows) for section, rows in attacks().items()} == ATTACKS
    names = [name for rows in attacks().values() for name, _, _ in rows]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("attack", "played_by"), [(name, played_by) for rows in attacks().values() for name, _, played_by in rows]
)
def test_what_plays_an_attack_is_there(attack: str, played_by: str) -> None:
    assert missing(played_by) == []
    assert re.search(r"`\w+`", played_by), f"nothing plays {attack!r}"


def test_every_named_attack_is_on_the_page() -> None:
    named = {name for name in functions(*CONTRACTS.glob("*.t.sol")) if name.startswith("test_attack_")}
    assert {name for name in named if f"`{name}`" not in PAGE} == set()


def test_a_name_that_is_nowhere_is_missed() -> None:
    held_by = (
        "fuzz `wash`, `nothing`; Stake `test_nothing`; symbolic `prove_nothing`; unit/chain/test_rpc `test_nothing`"
    )
    assert missing(held_by) == ["nothing", "test_nothing", "prove_nothing", "test_nothing"]
    assert missing("Nowhere `test_nothing`; unit/nowhere `test_nothing`") == ["test_nothing", "test_nothing"]
