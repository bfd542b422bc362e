"""Which models llama.cpp is given, and what it is told of them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from executor.runner.job import BadInput
from executor.runner.llama.families import FAMILIES, described, is_known
from tests.support.source_tree import REPOSITORY

CONFIGS = json.loads((REPOSITORY / "tests/vectors/model_configs.json").read_bytes())
PUBLISHED, TINY = CONFIGS["published"], CONFIGS["tiny"]
SIZES = {
    "vocab_size": 500,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
}


def config(kind: str, **said: Any) -> dict[str, Any]:
    window = {"sliding_window": None} if kind == "mistral" else {}
    return {**SIZES, "model_type": kind, **window, **said}


def facts(plain: dict[str, Any]) -> dict[str, Any]:
    return dict(described(plain).facts())


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_family_is_told_its_sizes(kind: str) -> None:
    told = facts(config(kind))
    name = told["general.architecture"]
    assert told[f"{name}.block_count"] == 12
    assert told[f"{name}.rope.freq_base"] == 10_000.0
    names = [ours for ours, _ in described(config(kind)).names(tied=False)]
    assert len(names) == len(set(names)) == 3 + 12 * len(FAMILIES[kind].layer)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_taken(name: str) -> None:
    assert facts(PUBLISHED[name])["general.architecture"] == PUBLISHED[name]["model_type"]


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        (config("falcon"), "no models of type falcon"),
        ({**SIZES}, "no models of type None"),
        (config("llama", architectures=["LlamaForSequenceClassification"]), "no LlamaForSequenceClassification"),
        (config("llama", hidden_act="gelu"), "hidden_act silu, and not gelu"),
        (config("llama", mlp_bias=True), "mlp_bias False"),
        (config("llama", rope_scaling={"type": "dynamic", "factor": 2.0}), "rope_type default or linear"),
        (config("qwen2", use_sliding_window=True), "use_sliding_window False"),
        # Where config.json is silent, transformers gives it a window.
        ({**SIZES, "model_type": "mistral", "max_position_embeddings": 8192}, "a window of 4096"),
        (config("phi3", sliding_window=1023), "a window of 1023"),
        (config("phi3", rope_scaling={"type": "longrope"}), "rope_type"),
        (config("gemma2", query_pre_attn_scalar=224), "scales the scores"),
        (config("gemma3_text", layer_types=["full_attention"] * 12), "another order of windows"),
        (config("gemma3_text", attn_logit_softcapping=50.0), "attn_logit_softcapping None"),
        (config("llama", num_attention_heads=0), "lacks or misstates"),
        (config("llama", hidden_size="wide"), "lacks or misstates"),
        (config("llama", vocab_size=-1), "misstates llama.vocab_size"),
        (config("llama", rope_parameters={"rope_type": "llama3", "factor": 8.0}), "lacks or misstates"),
        (config("llama", rope_parameters={"rope_type": "linear", "factor": "much"}), "lacks or misstates"),
        (config("llama", rms_norm_eps=[]), "lacks or misstates"),
    ],
)
def test_others_are_refused_with_the_reason(plain: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        described(plain)


def test_of_the_tiny_shapes_those_with_biases_and_windows_are_left_to_torch() -> None:
    assert [name for name, plain in TINY.items() if not is_known(plain)] == [
        "llama, biased",
        "mistral",
        "gemma2",
        "gemma3",
        "phi",
        "phi3",
    ]


def test_a_window_as_long_as_the_context_is_none() -> None:
    assert facts(config("phi3", sliding_window=1024))


def test_three_spellings_of_positions_say_the_same() -> None:
    old = config("gemma3_text", rope_theta=1e6, rope_local_base_freq=5e3, rope_scaling={"type": "linear", "factor": 8})
    new = config(
        "gemma3_text",
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5e3},
        },
    )
    assert facts(old) == facts(new)
    assert facts(new)["gemma3.rope.freq_base_swa"] == 5e3
    plain = facts(config("llama", rope_theta=5e5))
    assert plain == facts(config("llama", rope_parameters={"rope_type": "default", "rope_theta": 5e5}))


def test_slow_turns_are_slower_still_and_quick_ones_as_they_were() -> None:
    rope = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_theta": 5e5,
    }
    factors = described(config("llama", head_dim=128, rope_parameters=rope)).rope_factors()
    turns = [8192 * 5e5 ** (-pair / 64) / (2 * math.pi) for pair in range(64)]
    for factor, turn in zip(factors, turns, strict=True):
        assert (factor == 1) if turn >= 4 else (factor == 8) if turn <= 1 else (1 < factor < 8)
    assert described(config("llama")).rope_factors() == ()
