"""The shape of a model by its config.json: weights, what is kept of each token, windows, and configs that mean harm."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Malformed
from protocol.stages.blob import RUNTIME_BYTES, ModelFile, ModelManifest
from protocol.stages.model_shape import shape_of_config, shape_of_manifest
from protocol.wire.ids import Cid
from tests.support.source_tree import REPOSITORY

CONFIGS: dict[str, dict[str, Any]] = json.loads((REPOSITORY / "tests/vectors/model_configs.json").read_bytes())
PUBLISHED, TINY = CONFIGS["published"], CONFIGS["tiny"]
COUNTS = {"Llama-3.2-3B": 3_212_749_824, "Qwen2.5-7B": 7_615_616_512, "Llama-3.1-70B": 70_553_706_496}
"""Weights, as their publishers count them."""


@pytest.mark.parametrize("name", COUNTS)
def test_weights_of_published_models(name: str) -> None:
    shape = shape_of_config(PUBLISHED[name])
    assert (shape.parameters, shape.stored_bytes) == (COUNTS[name], 2 * COUNTS[name])


def test_grouped_heads_are_kept_once() -> None:
    shape = shape_of_config(PUBLISHED["Llama-3.1-70B"])
    # 80 layers, keys and values, 8 heads of 128 numbers: 320 KiB of a token in bfloat16.
    assert 2 * shape.kept(1, is_cut=True) == 2 * 80 * 2 * 8 * 128 == 320 << 10


@pytest.mark.parametrize(
    ("name", "changes", "windows"),
    [
        ("mistral", {}, (128, 128, 128, 128)),
        ("mistral", {"sliding_window": None}, (0, 0, 0, 0)),
        ("qwen2", {}, (0, 0, 0, 0)),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 3}, (0, 0, 0, 128)),
        ("gemma2", {}, (128, 0, 128, 0)),
        ("gemma3", {"num_hidden_layers": 7}, (128, 128, 128, 128, 128, 0, 128)),
        ("gemma3", {"sliding_window_pattern": 2}, (128, 0, 128, 0)),
        ("gemma3", {"layer_types": ["full_attention", *["sliding_attention"] * 3]}, (0, 128, 128, 128)),
        ("llama", {"sliding_window": 128}, (0, 0, 0, 0)),
    ],
)
def test_layers_with_a_window(name: str, changes: dict[str, Any], windows: tuple[int, ...]) -> None:
    assert shape_of_config({**TINY[name], **changes}).windows == windows


def test_a_window_bounds_what_is_kept_where_the_engine_cuts() -> None:
    shape = shape_of_config(TINY["gemma2"])
    assert shape.kept(1_000, is_cut=False) == 4 * 64 * 1_000
    assert shape.kept(1_000, is_cut=True) == 64 * (2 * 1_000 + 2 * 128)
    assert shape.kept(100, is_cut=True) == shape.kept(100, is_cut=False)


def test_weights_in_files_have_the_last_word() -> None:
    shape = shape_of_config(TINY["llama"], stored_bytes=10_000)
    assert (shape.stored_bytes, shape.parameters) == (10_000, shape_of_config(TINY["llama"]).parameters)
    mixed = shape_of_config({**TINY["llama"], "model_type": "mixtral"}, stored_bytes=10_000)
    assert (mixed.parameters, mixed.stored_bytes, mixed.is_llama) == (5_000, 10_000, False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "mixtral"}, "architecture 'mixtral', and gemma, .* can be counted: give the folder"),
        ({"model_type": None}, "names the architecture 'None'"),
        ({"hidden_size": None}, "hidden_size as a whole number from 1 to 1048576"),
        ({"hidden_size": True}, "hidden_size as a whole number"),
        ({"vocab_size": 1 << 40}, "vocab_size as a whole number"),
        ({"num_hidden_layers": "32"}, "num_hidden_layers as a whole number from 1 to 4096"),
        ({"num_key_value_heads": 5}, "num_key_value_heads as a whole number from 1 to 4"),
        ({"torch_dtype": "int3"}, "number format 'int3'"),
        ({"torch_dtype": ["bfloat16"]}, "number format \"\\['bfloat16'\\]\""),
        ({"sliding_window": -1, "model_type": "mistral"}, "sliding_window as a whole number"),
    ],
)
def test_a_config_that_tells_no_shape_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Malformed, match=words):
        shape_of_config({**TINY["llama"], **changes})


def manifest(**changes: Any) -> ModelManifest:
    files = (ModelFile("model.safetensors", Cid(bytes(32)), 2_000_000), ModelFile("tokenizer.json", Cid(bytes(32)), 9))
    needs = 4 * 1_000_000 + 2 * 4 * 4 * 2 * 16 * 1_024 + RUNTIME_BYTES
    told: dict[str, Any] = {
        "name": "far",
        "files": files,
        "tokenizer": "tokenizer.json",
        "eos_ids": (0,),
        "pad_id": 0,
        "dtype": "bf16",
        "hidden": 64,
        "vocab": 500,
        "layers": 4,
        "context": 1_024,
        "needs_bytes": needs,
        **changes,
    }
    return ModelManifest(**told)


def test_a_manifest_tells_weights_and_what_is_kept() -> None:
    shape = shape_of_manifest(manifest())
    assert (shape.parameters, shape.stored_bytes, shape.kept_numbers) == (1_000_000, 2_000_000, 2 * 2 * 16)
    assert (shape.windows, shape.context, shape.hidden, shape.vocab) == ((0,) * 4, 1_024, 64, 500)


@pytest.mark.parametrize("changes", [{"dtype": "int3"}, {"layers": 0}, {"context": 0}])
def test_a_manifest_without_a_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match="the manifest of 'far' states no number format, layers or context"):
        shape_of_manifest(manifest(**changes))


HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3)
)


@given(st.dictionaries(st.sampled_from(sorted({key for each in TINY.values() for key in each})), HOSTILE, max_size=4))
def test_no_config_of_a_stranger_does_more_than_be_refused(changes: dict[str, Any]) -> None:
    try:
        shape = shape_of_config({**TINY["gemma2"], **changes})
    except Malformed:
        return
    assert 0 < shape.parameters < 1 << 63
    assert len(shape.windows) <= 4_096
