"""How much context and how many streams an engine has in so much memory."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.stages.fitting import CARD, ENGINES, LLAMA, PROCESSOR, TORCH, VLLM, EngineNeed, can_load, fit, peak_of
from protocol.stages.model_shape import shape_of_config
from tests.support.source_tree import REPOSITORY

GIB = 1 << 30
CONFIGS = json.loads((REPOSITORY / "tests/vectors/model_configs.json").read_bytes())
SEVEN = shape_of_config(CONFIGS["published"]["Qwen2.5-7B"])
PLAIN = dataclasses.replace(SEVEN, is_llama=True)


def engine(device: str, name: str, dtype: str) -> EngineNeed:
    (found,) = (each for each in ENGINES if (each.device, each.engine, each.dtype) == (device, name, dtype))
    return found


def test_bfloat16_fits_where_float32_does_not() -> None:
    # 15.2 GB of weights, and twice as many.
    assert fit(SEVEN, engine(CARD, TORCH, "bf16"), 24 * GIB, context=4_096).streams > 1
    assert fit(SEVEN, engine(CARD, TORCH, "fp32"), 24 * GIB, context=4_096).streams == 0


def test_without_a_wish_the_context_is_the_longest_that_one_stream_can_have() -> None:
    small, large = (fit(SEVEN, engine(CARD, VLLM, "bf16"), room * GIB) for room in (20, 80))
    assert 1_024 < small.context < large.context == SEVEN.context
    assert (small.streams, large.streams) == (1, 9)


def test_context_is_no_longer_than_the_model_has() -> None:
    assert fit(SEVEN, engine(CARD, VLLM, "bf16"), 80 * GIB, context=1 << 20).context == SEVEN.context


def test_streams_that_are_wanted_fit_all_or_not_at_all() -> None:
    card = engine(CARD, TORCH, "bf16")
    assert fit(SEVEN, card, 24 * GIB, context=4_096, streams=2).streams == 2
    assert fit(SEVEN, card, 24 * GIB, context=4_096, streams=500).streams == 0
    # The context becomes as short as so many streams leave room for.
    assert 0 < fit(SEVEN, card, 24 * GIB, streams=8).context < fit(SEVEN, card, 24 * GIB, streams=4).context


def test_llama_cpp_keeps_to_its_own_limits() -> None:
    own = engine(PROCESSOR, LLAMA, "bf16")
    assert fit(PLAIN, own, 900 * GIB, context=64).streams == 16
    short = dataclasses.replace(PLAIN, context=8_192)
    assert fit(short, own, 900 * GIB, context=4_096).streams == 4


def test_mapped_files_need_not_fit() -> None:
    peak = peak_of(PLAIN, engine(PROCESSOR, LLAMA, "bf16"), 1_024, 1)
    assert peak.peak_bytes - peak.held_bytes == PLAIN.stored_bytes
    assert fit(PLAIN, engine(PROCESSOR, LLAMA, "bf16"), peak.held_bytes, context=1_024).streams == 1
    assert fit(PLAIN, engine(PROCESSOR, LLAMA, "bf16"), peak.held_bytes - 1, context=1_024).streams == 0


def test_files_that_are_mapped_while_loading_count_where_they_are_more_than_what_follows() -> None:
    wide = engine(PROCESSOR, TORCH, "fp32")
    peak = peak_of(SEVEN, wide, 1_024, 1)
    assert peak.peak_bytes == peak.runtime_bytes + peak.weights_bytes + SEVEN.stored_bytes
    assert peak_of(SEVEN, wide, 65_536, 4).peak_bytes == peak_of(SEVEN, wide, 65_536, 4).held_bytes


def test_an_engine_loads_its_own_formats() -> None:
    eight = dataclasses.replace(PLAIN, dtype="q8_0")
    loads = {(each.device, each.engine, each.dtype) for each in ENGINES if can_load(eight, each)}
    assert loads == {(PROCESSOR, TORCH, "fp32"), (PROCESSOR, LLAMA, "q8_0"), (CARD, LLAMA, "q8_0")}
    assert not any(can_load(SEVEN, each) for each in ENGINES if each.engine == LLAMA)


@pytest.mark.parametrize("each", ENGINES, ids=lambda each: f"{each.device} {each.engine} {each.dtype}")
@given(room=st.integers(0, 1 << 45), context=st.integers(0, 1 << 18), streams=st.integers(0, 64))
def test_what_fits_is_the_most_that_fits(each: EngineNeed, room: int, context: int, streams: int) -> None:
    found = fit(SEVEN, each, room, context, streams)
    if not found.streams:
        return
    assert found.peak.held_bytes <= room
    assert found.peak == peak_of(SEVEN, each, found.context, found.streams)
    assert fit(SEVEN, each, room + GIB, context, streams).streams >= (streams or 1)
    if not streams and found.streams < 1 << 12 and not each.most_tokens:
        assert peak_of(SEVEN, each, found.context, found.streams + 1).held_bytes > room
