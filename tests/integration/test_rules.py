"""The runner's choice of tokens under rules: what the definition says, and margins that noise and cheats leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.runner_context import found_inside

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return found_inside(Path(__file__).with_name("inside_rules.py"), tmp_path_factory.mktemp("inside"))


def test_choice_is_that_of_the_definition_and_no_cut_is_empty(found: dict[str, Any]) -> None:
    assert found["literal"] is True


def test_rules_that_are_off_change_nothing(found: dict[str, Any]) -> None:
    assert found["off"] is True


@pytest.mark.parametrize("noise", [0.0, 0.003, 0.05, 0.4])
def test_margin_of_an_honest_choice_is_at_most_the_noise_of_two_logits(found: dict[str, Any], noise: float) -> None:
    margins = found["margins"][str(noise)]
    assert max(margins) <= 2 * noise + 1e-5
    # Not because nothing was near: noise has changed choices.
    assert noise == 0 or max(margins) > noise / 2


@pytest.mark.parametrize("rule", ["top_p", "top_k", "presence", "frequency"])
def test_worker_that_leaves_out_a_rule_has_margins_of_many_times_the_noise(found: dict[str, Any], rule: str) -> None:
    margins = found["cheats"][rule]
    assert len(margins) > 15
    assert min(margins) > 0
    assert sum(margins) / len(margins) > 0.5


def test_what_is_not_a_number_is_not_hidden_by_a_cut(found: dict[str, Any]) -> None:
    assert found["not_finite"] is True
