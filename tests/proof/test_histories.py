"""Contracts and specification make the same of random histories."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.wire.ids import Address
from tests.proof.histories import ledger, pools, replay, stakes
from tests.proof.histories.__main__ import MOVED, play
from tests.proof.histories.ledger import Ledger
from tests.proof.histories.scene import Scene
from tests.proof.histories.state import Node

SEEDS = range(1_000_000, 1_000_080)
FAULTS = {
    "split": (ledger, "split"),
    "slash": (stakes, "slashed"),
    "fee": (ledger, "verify_fee"),
    "drawn leaves": (ledger, "drawn_leaves"),
    "drawn seats": (ledger, "drawn_seats"),
    "shares that a move costs": (pools, "ceil_div"),
    "what others earn": (Node, "for_others"),
    "slash for silence": (Ledger, "_withheld_bps"),
    "margins": (ledger, "weighed"),
    "absence": (stakes, "without_a_sign"),
}


@pytest.fixture(scope="module")
def chain() -> tuple[Scene, Address]:
    return replay.scene(), replay.deployer()


def test_contracts_do_what_the_specification_does(chain: tuple[Scene, Address]) -> None:
    played = play(*chain, SEEDS)
    assert not played.difference, f"{played.difference}\nagain: ./scripts/prove histories --count 1 --seed N"
    # A comparison counts only if the compared thing happens.
    assert {"batch final", "batch void", "batch refunded", "batch passed"} <= played.ends.keys()
    assert "fee kept of a refunded batch" in played.ends
    assert {"case pass", "case review", "case severe", "case starved", "case withheld"} <= played.ends.keys()
    assert played.made.keys() >= MOVED
    assert "margins 1" in played.ends, "a case that was one too many"
    assert 0.2 < played.refused / played.calls < 0.6


@pytest.mark.parametrize("fault", FAULTS)
def test_rule_that_is_a_little_wrong_is_found(
    fault: str, chain: tuple[Scene, Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, name = FAULTS[fault]
    right = getattr(where, name)

    def wrong(*arguments: Any, **named: Any) -> object:
        answer = right(*arguments, **named)
        if isinstance(answer, int):
            return max(0, answer - 1)
        if isinstance(answer, list):
            # All twenty are drawn before a history begins.
            return answer[:-1] if len(answer) < 20 else answer
        first, *rest = answer
        return (first - 1 if isinstance(first, int) else list(reversed(first)), *rest)

    monkeypatch.setattr(where, name, wrong)
    # Most show at once, some in rare moves only.
    assert any(play(*chain, seeds).difference for seeds in (SEEDS[:6], SEEDS[6:46]))
