"""The compiled code that finds the tokens of a draw, beside gumbel.py without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.runner_context import found_inside

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return found_inside(Path(__file__).with_name("inside_draw.py"), tmp_path_factory.mktemp("draw"))


def test_it_leaves_out_no_token_that_matters_and_scores_are_the_same(found: dict[str, Any]) -> None:
    assert found["differing"] == []


def test_logits_that_cannot_be_compared_are_left_to_gumbel(found: dict[str, Any]) -> None:
    refused = {name for name, is_refused in found["refusals"].items() if is_refused}
    assert refused == found["refusals"].keys() - {"plain"}
