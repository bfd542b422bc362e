"""Tiny models of each family: llama.cpp computes what transformers does, and each engine reads what the other wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.runner_context import found_inside

pytestmark = pytest.mark.docker

HERE = Path(__file__).parent
FAMILIES = (
    "llama, tied",
    "llama, slow positions",
    "llama 3",
    "mistral",
    "qwen2",
    "qwen3",
    "phi3",
    "phi3, turned in part",
    "gemma",
    "gemma2",
    "gemma3",
)
ENGINES = ("llama.cpp", "torch")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    maker = HERE / "tiny_model.py"
    return found_inside(
        HERE / "inside_families.py", tmp_path_factory.mktemp("inside"), {maker.name: maker.read_bytes()}
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_in_float32_llama_cpp_computes_what_transformers_does(found: dict[str, Any], family: str) -> None:
    # What is left are keys and values in float16: at most 0.002.
    assert found["apart"].keys() == set(FAMILIES)
    for name, apart in found["apart"][family].items():
        assert apart <= 0.004, name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("writer", ENGINES)
def test_each_engine_finds_in_an_answer_what_its_writer_did(found: dict[str, Any], family: str, writer: str) -> None:
    answer = found["answers"][family][writer]
    assert answer["tokens"] >= 2
    for reader in ENGINES:
        # In bfloat16 a tiny model with random weights rounds by up to 0.03.
        assert answer[reader] <= (0.01 if reader == writer else 0.05)
        assert answer[f"{reader}, margin"] <= 0.15


def test_what_llama_cpp_would_compute_otherwise_is_left_to_torch(found: dict[str, Any]) -> None:
    assert found["left"] == {
        "mistral, window": "llama.cpp runs here no mistral models that see a window of 64",
        "phi": "llama.cpp runs here no models of type phi",
        "gemma2, wide scores": "llama.cpp scales the scores of this gemma2 model by 24",
    }


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_an_adapter_is_added_by_each_engine_to_the_same_bits(found: dict[str, Any], family: str) -> None:
    adapted = found["adapted"][family]
    assert adapted["same"] is True
    # As near as without one, while the adapter changes all that is said.
    assert adapted["engines"] <= 0.05 < 0.5 <= adapted["moved"]


def test_an_adapter_that_does_not_fit_is_refused_where_it_is_loaded(found: dict[str, Any]) -> None:
    assert "is made for another base" in found["strange adapters"]["wider"]
    assert "holds what is no number" in found["strange adapters"]["no numbers"]


def test_a_model_whose_logits_cannot_be_repeated_is_refused(found: dict[str, Any]) -> None:
    assert "its logits are changed by logits_scaling" in found["unknown logits"]
