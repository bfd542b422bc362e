"""In which number formats the runner computes a model of the bfloat16 class, for several kinds of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.runner_context import found_inside

pytestmark = pytest.mark.docker

SUM, REST = "torch.float32", "torch.bfloat16"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return found_inside(Path(__file__).with_name("inside_precision.py"), tmp_path_factory.mktemp("inside"))


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_what_layers_add_up_stays_in_float32(found: dict[str, Any], name: str) -> None:
    assert found[name]["formats"] == {"layer": SUM, "matrix": REST, "kept": REST, "state": SUM}
    assert found[name]["wide"] < 0.8 * found[name]["narrow"]


def test_model_that_does_not_bear_it_is_computed_as_it_was_written(found: dict[str, Any]) -> None:
    assert set(found["olmo2"]["formats"].values()) == {REST}
    assert found["olmo2"]["wide"] == found["olmo2"]["narrow"]
