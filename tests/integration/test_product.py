"""Products of the runner against exact ones, as processors of each kind would make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.runner_context import found_inside

pytestmark = pytest.mark.docker

MATRICES = 2 * 7
"""Of a model with two layers, but for its head."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return found_inside(Path(__file__).with_name("inside_product.py"), tmp_path_factory.mktemp("inside"))


def test_it_is_exact_but_for_the_last_rounding(found: dict[str, Any]) -> None:
    errors = found["errors"]
    assert len(errors) == 16
    assert all(each <= 1 for name, each in errors.items() if "bf16" in name)
    assert all(each <= 16 for name, each in errors.items() if "fp32" in name)


def test_many_rows_are_multiplied_in_float32_where_that_is_faster(found: dict[str, Any]) -> None:
    assert found["formats"] == {
        "instructions, 63": ["torch.bfloat16"] * MATRICES,
        "instructions, 64": ["torch.float32"] * MATRICES,
        "unit, 63": ["torch.bfloat16"] * MATRICES,
        "unit, 64": ["torch.bfloat16"] * MATRICES,
    }


def test_the_processor_says_what_it_can_do(found: dict[str, Any]) -> None:
    said = Path("/proc/cpuinfo").read_text()
    flags = next(line for line in said.splitlines() if line.startswith("flags")).split(":")[1]
    assert found["flags"] == sorted(flags.split())
