"""The memory of one job: by the number format of its class and its own tokens, never more than its manifest states."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.params import MAX_MEMORY
from protocol.stages.blob import RUNTIME_BYTES, ModelFile, ModelManifest
from protocol.stages.memory import PASS_TOKENS, STATE_BYTES, allowed_bytes, needed_bytes, tokens_of
from protocol.stages.request import CLASSIFY, EMBED, GENERATE
from protocol.wire.ids import cid_of
from tests.support.scenes.offers import offers, provider, request

FP32, BF16, UNKNOWN = 1, 2, 9


def model(
    parameters: int, layers: int, heads_width: int, hidden: int, context: int, dtype: str = "bf16"
) -> ModelManifest:
    """A model as `executor.models.describe` counts it."""
    stored = {"bf16": 2, "fp16": 2, "fp32": 4}.get(dtype, 2)
    return ModelManifest(
        name="model",
        files=(
            ModelFile("model.safetensors", cid_of(b"w"), stored * parameters),
            ModelFile("tokenizer.json", cid_of(b"t"), 3_000_000),
        ),
        tokenizer="tokenizer.json",
        eos_ids=(2,),
        pad_id=2,
        dtype=dtype,
        hidden=hidden,
        vocab=49_152,
        layers=layers,
        context=context,
        needs_bytes=4 * parameters + 2 * 4 * layers * heads_width * context + RUNTIME_BYTES,
    )


SMALL = model(134_515_008, 30, 3 * 64, 576, 8_192)
LARGE = model(8_030_261_248, 32, 8 * 128, 4_096, 131_072)
"""As large as an 8B model with a long context: in float32 and with all of it 62.7 GiB."""


def test_large_model_in_half_precision_needs_a_third_for_a_short_job() -> None:
    tokens = tokens_of(GENERATE, 2_000, 500, LARGE.context)
    kept = 2 * 2 * 2 * 32 * 8 * 128 * tokens
    expected = RUNTIME_BYTES + 2 * 8_030_261_248 + kept + tokens * 4_096 * STATE_BYTES
    assert needed_bytes(LARGE, BF16, tokens) == expected
    assert expected < MAX_MEMORY < needed_bytes(LARGE, FP32, tokens) < LARGE.needs_bytes


def test_small_model_needs_at_least_what_was_measured() -> None:
    # A container that has loaded SmolLM2: 664 MiB in bfloat16, and 1,145 in float32 with the file beside it.
    assert needed_bytes(SMALL, BF16, 1) >= 664 * 2**20
    assert needed_bytes(SMALL, FP32, 1) >= 1_145 * 2**20


def test_weights_of_another_format_are_held_beside_the_file_they_come_from() -> None:
    wide = model(1_000_000_000, 30, 192, 576, 1_000_000, "fp32")
    assert needed_bytes(wide, FP32, 1) - RUNTIME_BYTES < 4_000_000_000 + 10**6
    assert needed_bytes(wide, BF16, 1) - RUNTIME_BYTES >= 2_000_000_000 + 4_000_000_000


def test_class_of_an_unknown_format_counts_as_the_widest() -> None:
    assert needed_bytes(SMALL, UNKNOWN, 100) == needed_bytes(SMALL, FP32, 100)


@pytest.mark.parametrize("changes", [{"dtype": "int3"}, {"context": 0}])
def test_manifest_that_says_too_little_is_taken_by_its_word(changes: dict[str, object]) -> None:
    assert needed_bytes(dataclasses.replace(LARGE, **changes), BF16, 10) == LARGE.needs_bytes  # type: ignore[arg-type]


def test_tokens_are_bounded_by_the_input_the_answer_and_the_context() -> None:
    assert tokens_of(GENERATE, 300, 64, 8_192) == 364
    assert tokens_of(GENERATE, 2**23, 8_192, 8_192) == 8_192
    for kind in (EMBED, CLASSIFY):
        assert tokens_of(kind, 300, 2_048, 8_192) == PASS_TOKENS
        assert tokens_of(kind, 2**23, 1, 8_192) == 8_192


def test_request_allows_the_whole_need_up_to_the_default_and_the_need_of_the_job_above_it() -> None:
    assert allowed_bytes(SMALL, 0b110, 100, MAX_MEMORY) == SMALL.needs_bytes
    assert allowed_bytes(LARGE, 0b100, 100, MAX_MEMORY) == needed_bytes(LARGE, BF16, 100) < MAX_MEMORY
    assert allowed_bytes(LARGE, 0b110, 100, MAX_MEMORY) == needed_bytes(LARGE, FP32, 100) > MAX_MEMORY


def test_manifest_that_states_no_need_is_offered_by_no_node_whose_memory_its_weights_exceed() -> None:
    world, machine = provider()
    (held,) = machine.member.models.values()
    weights = ModelFile("model.safetensors", cid_of(b"w"), 8 * 10**9)
    machine.member.models[held.cid] = dataclasses.replace(held, files=(weights,), dtype="fp32", needs_bytes=0)
    assert not offers(machine, request(world, max_memory=2**40))
    machine.member.settings = dataclasses.replace(machine.member.settings, memory_bytes=RUNTIME_BYTES + 8 * 10**9)
    assert offers(machine, request(world, max_memory=2**40, nonce=2))
    # Its client signs no less, so that an able node does offer.
    liar = dataclasses.replace(LARGE, needs_bytes=0)
    assert allowed_bytes(liar, 0b100, 100, MAX_MEMORY) == needed_bytes(liar, BF16, 100) > 16 * 10**9


SIZES = st.integers(0, 2**62)
DTYPES = st.sampled_from(["bf16", "fp16", "fp32", "x"])


@given(SIZES, SIZES, st.integers(0, 2**20), SIZES, DTYPES, st.integers(0, 2**23))
def test_no_manifest_makes_the_need_less_than_its_weights_or_more_than_it_states(
    weights: int, needs: int, context: int, hidden: int, dtype: str, tokens: int
) -> None:
    files = (ModelFile("a.safetensors", cid_of(b"w"), weights),)
    hostile = dataclasses.replace(SMALL, files=files, needs_bytes=needs, context=context, hidden=hidden, dtype=dtype)
    for class_id in (FP32, BF16, UNKNOWN):
        found = needed_bytes(hostile, class_id, tokens)
        width = 2 if class_id == BF16 else 4
        least = RUNTIME_BYTES + weights // {"bf16": 2, "fp16": 2, "fp32": 4}.get(dtype, 2**62 + 1) * width
        assert least <= found <= max(needs, least)
        assert found <= needed_bytes(hostile, class_id, tokens + 1)


def test_node_offers_for_a_job_that_fits_its_memory_though_the_longest_context_does_not() -> None:
    world, machine = provider()
    (held,) = machine.member.models.values()
    weights = ModelFile("model.safetensors", cid_of(b"w"), 2 * 10**9)
    needs = RUNTIME_BYTES + 4 * 10**9 + 100 * 10**9
    machine.member.models[held.cid] = dataclasses.replace(
        held, files=(weights,), dtype="fp32", context=100_000, needs_bytes=needs
    )
    # Half a billion parameters in float32, and a megabyte a token, twice.
    tokens = 100 + 64
    least = RUNTIME_BYTES + 2 * 10**9 + (needs - RUNTIME_BYTES - 2 * 10**9) * 2 * tokens // 100_000 + tokens * 8 * 128
    for memory_bytes, is_offered in ((least - 2, False), (least + 1, True)):
        machine.member.settings = dataclasses.replace(machine.member.settings, memory_bytes=memory_bytes)
        assert bool(offers(machine, request(world, max_memory=2**40, nonce=memory_bytes))) is is_offered
        asked = request(world, max_memory=memory_bytes, nonce=2 * memory_bytes)
        machine.member.settings = dataclasses.replace(machine.member.settings, memory_bytes=2**40)
        assert bool(offers(machine, asked)) is is_offered
