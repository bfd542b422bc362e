"""The weights of a model by its config.json, beside those of the modules that torch makes of it on the meta device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocol.stages.model_shape import shape_of_config
from tests.support.runner_context import found_inside
from tests.support.source_tree import REPOSITORY

pytestmark = pytest.mark.docker

CONFIGS: dict[str, dict[str, Any]] = json.loads((REPOSITORY / "tests/vectors/model_configs.json").read_bytes())
ALL = {**CONFIGS["published"], **CONFIGS["tiny"]}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script = Path(__file__).with_name("inside_shapes.py")
    return found_inside(script, tmp_path_factory.mktemp("inside"), {"configs.json": json.dumps(ALL).encode()})


@pytest.mark.parametrize("name", ALL)
def test_weights_are_those_that_torch_makes(found: dict[str, Any], name: str) -> None:
    shape = shape_of_config(ALL[name])
    assert (shape.parameters, shape.stored_bytes) == (found[name]["parameters"], found[name]["bytes"])


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_as_many_layers_see_a_window(found: dict[str, Any], name: str) -> None:
    windows = shape_of_config(ALL[name]).windows
    assert 0 < sum(map(bool, windows)) == found[name]["windows"]
