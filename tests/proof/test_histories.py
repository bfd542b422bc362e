"""Contracts and specification make the same of random histories."""

from __future__ import annotations

import pytest

from tests.proof.histories import ledger, replay
from tests.proof.histories.__main__ import play

SEEDS = range(1_000_000, 1_000_080)


def test_contracts_do_what_the_specification_does() -> None:
    played = play(replay.scene(), replay.deployer(), SEEDS)
    assert not played.difference, f"{played.difference}\nagain: ./scripts/prove histories --count 1 --seed N"
    # What is compared is worth something only if it happens.
    assert {"batch final", "batch void", "batch refunded", "batch passed"} <= played.ends.keys()
    assert {"case pass", "case review", "case severe", "case starved"} <= played.ends.keys()
    assert 0.2 < played.refused / played.calls < 0.6


@pytest.mark.parametrize("rule", ["split", "slashed", "verify_fee", "drawn_leaves", "drawn_seats"])
def test_rule_that_is_a_little_wrong_is_found(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(ledger, rule)

    def wrong(*arguments: object) -> object:
        answer = right(*arguments)
        if isinstance(answer, int):
            return answer - 1
        if isinstance(answer, list):
            # All twenty are drawn before a history begins.
            return answer[:-1] if len(answer) < 20 else answer
        first, *rest = answer
        return (first - 1 if isinstance(first, int) else list(reversed(first)), *rest)

    monkeypatch.setattr(ledger, rule, wrong)
    assert play(replay.scene(), replay.deployer(), SEEDS[:20]).difference
