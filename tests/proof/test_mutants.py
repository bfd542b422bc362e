"""Faults in the contracts are noticed by their tests: a share of what `scripts/prove mutants` tries."""

from __future__ import annotations

import pytest

from scripts.solc import Compiler
from tests.proof.mutants import equivalent
from tests.proof.mutants.__main__ import LEAST_KILLED_PERCENT, killed_percent, line, run
from tests.proof.mutants.mutation import Mutant, mutants, sample
from tests.proof.mutants.trial import survey

SEED = 1
COUNT = 40

SOURCE = """\
contract Small {
    uint256 constant MOST = 3;
    event Moved(uint256 value);
    error Wrong();
    modifier guarded() { if (msg.sender == address(0)) revert Wrong(); _; }
    function move(uint256 a, uint256 b) external guarded returns (uint256 c) {
        if (a + b > MOST) revert Wrong();
        c = a > b ? b : a;
        ++c;
        emit Moved(c);
    }
}
"""
FAULTS = {
    "(a - b > MOST)",
    "(a + b >= MOST)",
    "!(a + b > MOST)",
    "MOST = (3 + 1)",
    "--c;",
    "!(a > b)",
    "external  returns",
    "address((0 + 1))",
    "sender != address",
}


def small() -> list[Mutant]:
    with Compiler() as compiler:
        tree = compiler.compile({"Small.sol": SOURCE}, {"*": {"": ["ast"]}})["sources"]["Small.sol"]["ast"]
    return mutants("Small.sol", SOURCE, tree)


def test_every_kind_of_fault_is_made_and_compiles() -> None:
    made = small()
    texts = [each.applied(SOURCE) for each in made]
    assert len(set(texts)) == len(texts)
    for fault in FAULTS:
        assert any(fault in text for text in texts), fault
    assert {each.kind for each in made} >= {"operator", "negate", "constant", "drop", "drop if", "drop event"}
    assert {each.function for each in made} == {"", "guarded", "move"}
    # Either side of a choice among equals is right.
    assert not any("a >= b" in text for text in texts)
    with Compiler() as compiler:
        for text in texts:
            compiler.compile({"Small.sol": text}, {"*": {"": ["ast"]}})


def test_sample_has_a_share_of_each_source_and_stays_when_others_come() -> None:
    made = small()
    other = [Mutant("Other.sol", *("", 0, 1, "x", "drop", 1, f"a{number}", "b")) for number in range(3)]
    drawn = list(sample([*made, *other], 4, SEED))
    assert {each.file for each in drawn[:4]} == {"Small.sol", "Other.sol"}
    assert len(drawn) == len(made) + 3
    alone = [each for each in drawn if each.file == "Small.sol"]
    assert alone == list(sample(made, len(made), SEED))
    assert alone != list(sample(made, len(made), SEED + 1))


@pytest.fixture(scope="module")
def made() -> list[Mutant]:
    with Compiler() as compiler:
        return survey(compiler)[0]


def test_equivalent_mutants_are_those_of_the_present_sources(made: list[Mutant]) -> None:
    assert equivalent.stale(made) == []


def test_entry_without_an_answer_in_the_sources_is_stale(made: list[Mutant], monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ("contracts/Gone.sol", "f", "a < b", "a <= b")
    monkeypatch.setattr(equivalent, "known", lambda: {gone: "why", made[0].key: "why"})
    assert equivalent.stale(made) == [gone]


@pytest.mark.long
def test_a_share_of_the_mutants_is_killed() -> None:
    verdicts, stale = run(COUNT, SEED)
    assert not stale
    assert len(verdicts) == COUNT
    assert killed_percent(verdicts) >= LEAST_KILLED_PERCENT, "\n".join(map(line, verdicts))
