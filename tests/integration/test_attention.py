"""Attention of the runner against its definition: in both number formats, for prompts, and for one token more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.runner_context import found_inside

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return found_inside(Path(__file__).with_name("inside_attention.py"), tmp_path_factory.mktemp("inside"))


def test_it_is_exact_but_for_the_last_rounding(found: dict[str, Any]) -> None:
    errors = found["errors"]
    assert len(errors) == 16
    assert all(each <= 1 for name, each in errors.items() if "bf16" in name)
    assert all(each <= 16 for name, each in errors.items() if "fp32" in name)


def test_a_model_with_an_attention_of_its_own_keeps_it(found: dict[str, Any]) -> None:
    assert found["chosen"] == {"sdpa": True, "eager": False}
