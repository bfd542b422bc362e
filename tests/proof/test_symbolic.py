"""A solver proves statements about the libraries: these by the layer proof-long, the slow ones by scripts/prove."""

from __future__ import annotations

import pytest

from tests.proof.symbolic import __main__ as symbolic

# Half a minute together; the others divide and draw, which solvers do not like.
HERE = ("Lanes", "Money", "Scores")


def test_every_library_of_pure_arithmetic_has_statements() -> None:
    assert set(HERE) < set(symbolic.contracts())
    text = "".join(path.read_text() for path in symbolic.FOLDER.glob("*.sol"))
    for library in ("SplitLib", "ReputationLib", "SampleLib", "SumTreeLib", "LaneLib", "MedianLib", "PoolLib"):
        assert f"import {{{library}" in text or f", {library}}}" in text, library


@pytest.mark.long
def test_statements_hold_for_all_inputs() -> None:
    found = symbolic.prove(HERE)
    assert len(found) == sum(len(symbolic.stated(symbolic.FOLDER / f"{name}.sol")) for name in HERE)
    failed = [each for each in found if not each.holds]
    assert not failed, "\n".join(dict.fromkeys(each.words for each in failed))


def test_statement_that_is_false_is_refuted() -> None:
    (found,) = symbolic.prove(["Planted"])
    assert not found.holds
    assert "Counterexample" in found.words
