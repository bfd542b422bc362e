"""GGUF files in the model store: what becomes of one, and what is said of one that cannot be run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from executor.models import ModelStore, ModelUnusable
from protocol.stages.execution import runs_dtype
from protocol.stages.memory import needed_bytes
from protocol.wire.ids import cid_of
from tests.support.gguf_files import Q4_0, TEMPLATE, facts, shapes, small, tensors, tokens, whole
from tests.support.scenes.models import folder as folder

RUNTIME = 768 << 20


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "tiny-Q8_0.gguf"
    found.write_bytes(small())
    return found


def said(store: ModelStore, path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(ModelUnusable) as caught:
        store.add(path, "tiny")
    assert store.manifests() == ()
    return str(caught.value)


def test_a_gguf_file_is_a_model_that_names_the_file_itself(store: ModelStore, path: Path) -> None:
    manifest = store.add(path, path.stem)
    assert manifest.file("model.gguf").sha256 == cid_of(path.read_bytes())
    assert (manifest.name, manifest.dtype, manifest.tokenizer) == ("tiny-Q8_0", "q8_0", "tokenizer.json")
    assert (manifest.hidden, manifest.vocab, manifest.layers, manifest.context) == (64, len(tokens()), 1, 64)
    assert (manifest.eos_ids, manifest.pad_id) == ((0,), 0)
    assert {each.path for each in manifest.files} == {
        "chat_template.jinja", "config.json", "generation_config.json", "model.gguf", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert (store.path(manifest.cid) / "chat_template.jinja").read_text() == TEMPLATE
    assert store.manifests() == (manifest,)
    assert store.verify(manifest.cid) == manifest
    assert {each.stat().st_mode & 0o777 for each in store.path(manifest.cid).iterdir()} == {0o644}
    assert store.add(path, path.stem) == manifest
    assert path.read_bytes() == small()


def test_the_need_is_that_of_the_widened_weights_with_the_file_beside_them(store: ModelStore, path: Path) -> None:
    manifest = store.add(path, "tiny")
    size = manifest.file("model.gguf").size
    weights = 4 * (size * 32 // 34)
    # Keys and values of 2 heads of 16 in float32, for 64 places; less for 10 of them, twice.
    assert manifest.needs_bytes == RUNTIME + weights + 2 * 4 * 2 * 16 * 64
    small_one = replace(manifest, needs_bytes=1 << 40, context=1 << 30)
    assert needed_bytes(small_one, 3, 0) == RUNTIME + weights + size
    assert needed_bytes(replace(manifest, needs_bytes=1), 3, 10) == RUNTIME + weights


def test_a_type_has_a_class_of_its_own() -> None:
    assert [class_id for class_id in range(32) if runs_dtype(class_id, "q8_0")] == [3]
    assert not runs_dtype(3, "bf16")
    assert all(runs_dtype(class_id, dtype) for class_id in (1, 2) for dtype in ("bf16", "fp16", "fp32"))


def test_a_stated_format_that_is_not_the_file_s_is_noticed(store: ModelStore, path: Path, folder: Path) -> None:
    manifest = store.add(path, "tiny")
    store.require_format(manifest)
    false = replace(manifest, dtype="bf16")
    store.path(manifest.cid).rename(store.path(false.cid))
    with pytest.raises(ModelUnusable, match="states bf16 weights, and its files hold q8_0"):
        store.require_format(false)
    plain = store.add(folder, "plain")
    lie = replace(plain, dtype="q8_0")
    store.path(plain.cid).rename(store.path(lie.cid))
    with pytest.raises(ModelUnusable, match="states q8_0 weights, and its files hold bf16"):
        store.require_format(lie)


def test_a_pulled_file_is_read_again(store: ModelStore, path: Path) -> None:
    manifest = store.add(path, "tiny")
    (store.path(manifest.cid) / "model.gguf").write_bytes(whole(facts(), tensors(Q4_0)))
    with pytest.raises(ModelUnusable, match=r"model\.gguf cannot be run: its matrices are of type Q4_0"):
        store.require_format(manifest)


SHARDS, ARCHITECTURE = "one shard of several", "architecture 'qwen2'"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split.count": 3}, SHARDS),
        ({"general.architecture": "qwen2"}, ARCHITECTURE),
        ({"general.architecture": None}, "general.architecture is missing"),
        ({"llama.rope.scaling.type": "yarn"}, "its positions are scaled"),
        ({"llama.expert_count": 8}, "expert_count"),
        ({"llama.logit_scale": 2.0}, "logit_scale"),
        ({"llama.block_count": 1 << 31}, "llama.block_count is 2147483648"),
        ({"llama.block_count": 2}, "blk.1.attn_norm.weight is missing"),
        ({"llama.attention.head_count": 0}, "head_count is 0"),
        ({"llama.attention.head_count_kv": 3}, "cannot share"),
        ({"llama.attention.head_count_kv": [2]}, "head_count_kv is [2]"),
        ({"llama.rope.dimension_count": 8}, "dimension_count is 8"),
        ({"llama.vocab_size": 7}, "llama.vocab_size is 7"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "epsilon is nan"),
        ({"llama.rope.freq_base": float("inf")}, "freq_base is inf"),
        ({"llama.context_length": 0}, "context_length is 0"),
        ({"tokenizer.ggml.eos_token_id": 1000}, "eos_token_id is 1000"),
        ({"tokenizer.ggml.model": "llama"}, "its tokenizer is 'llama'"),
        ({"tokenizer.ggml.pre": "qwen2"}, "its tokenizer is 'gpt2'/'qwen2'"),
        ({"tokenizer.ggml.pre": None}, "'default'"),
        ({"tokenizer.ggml.merges": ["h x x"]}, "its merge 'h x x'"),
        ({"tokenizer.ggml.merges": ["he"]}, "its merge 'he'"),
        ({"tokenizer.ggml.merges": None}, "tokenizer.ggml.merges is missing"),
        ({"tokenizer.ggml.token_type": [1]}, "token_type must have"),
        ({"tokenizer.ggml.tokens": ["a"] * len(tokens())}, "a token twice"),
        ({"tokenizer.ggml.add_eos_token": True}, "end token behind each text"),
        ({"tokenizer.chat_template": None}, "no chat template"),
        ({"tokenizer.chat_template": ""}, "0 bytes"),
        ({"tokenizer.chat_template": "x" * 300_000}, "300000 bytes"),
    ],
)
def test_what_cannot_be_run_is_refused_with_its_reason(
    store: ModelStore, path: Path, changes: dict[str, Any], words: str
) -> None:
    assert words in said(store, path, small(**changes))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (whole(facts(), tensors(Q4_0)), "of type Q4_0, and all must be Q8_0"),
        (whole(facts(), tensors()[:-1]), "blk.0.ffn_down.weight is missing"),
        (whole(facts(), tensors(ffn_down=(96, 64))), "blk.0.ffn_down.weight is missing or is not of shape [64, 96]"),
        (whole(facts(), [*tensors(), ("rope_freqs.weight", (8,), 0, bytes(32))]), "its positions are scaled"),
        (whole(facts(), [*tensors(), ("blk.0.attn_q.bias", (64,), 0, bytes(256))]), "blk.0.attn_q.bias"),
        (whole(facts(), []), "of type none"),
        (b"GGUF", "ends too early"),
        (b"", "no GGUF file"),
    ],
)
def test_other_tensors_are_refused(store: ModelStore, path: Path, data: bytes, words: str) -> None:
    assert words in said(store, path, data)


def test_what_is_refused_says_what_can_be_taken_instead(store: ModelStore, path: Path) -> None:
    assert "safetensors instead" in said(store, path, whole(facts(), tensors(Q4_0)))
    assert "safetensors instead" in said(store, path, small(**{"general.architecture": "qwen2"}))
    assert "llama-gguf-split --merge" in said(store, path, small(**{"split.count": 2}))


def test_a_folder_of_gguf_files_names_the_way(store: ModelStore, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "a-Q8_0.gguf").write_bytes(small())
    with pytest.raises(ModelUnusable, match=r"add a-Q8_0\.gguf by itself"):
        store.add(home, "home")
    with pytest.raises(ModelUnusable, match="there is no folder or file"):
        store.add(tmp_path / "nothing.gguf", "nothing")


def test_a_gguf_file_beside_safetensors_is_left_out(store: ModelStore, folder: Path) -> None:
    (folder / "model.gguf").write_bytes(small())
    manifest = store.add(folder, "both")
    assert manifest.dtype == "bf16"
    assert not (store.path(manifest.cid) / "model.gguf").exists()


def tokenizer(store: ModelStore, path: Path, **changes: Any) -> Tokenizer:
    path.write_bytes(small(**changes))
    manifest = store.add(path, "tiny")
    return Tokenizer.from_file(str(store.path(manifest.cid) / "tokenizer.json"))


def test_the_tokenizer_is_that_of_the_file(store: ModelStore, path: Path) -> None:
    found = tokenizer(store, path)
    assert found.encode("hello").tokens == ["he", "ll", "o"]
    assert found.encode("<|end|>hé 12").ids[0] == 0
    assert found.decode(found.encode("hé 12, <|begin|>the end").ids) == "hé 12, the end"


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        # A digit is a word of its own.
        ("smollm", ["1", "2", "he", "Ġ", "a", "b", "c"]),
        ("gpt-2", ["12", "he", "Ġ", "a", "b", "c"]),
        # A word that is a token is taken as it is, and up to three digits are a word.
        ("llama-bpe", ["12", "he", "Ġ", "a", "b", "c"]),
    ],
)
def test_a_text_is_cut_as_llama_cpp_does_it(store: ModelStore, path: Path, cut: str, words: list[str]) -> None:
    plain = {"tokenizer.ggml.pre": cut, "tokenizer.ggml.add_bos_token": False}
    found = tokenizer(store, path, **plain)
    assert found.encode("12he abc").tokens == words
    assert found.encode("abc").tokens == (["abc"] if cut == "llama-bpe" else ["a", "b", "c"])
    assert found.encode("1212").tokens == {"smollm": ["1", "2", "1", "2"], "gpt-2": ["12", "12"]}.get(
        cut, ["12", "1", "2"]
    )


def test_a_begin_token_comes_where_the_file_wants_it(store: ModelStore, path: Path) -> None:
    assert tokenizer(store, path).encode("a").tokens == ["a"]
    named = {"tokenizer.ggml.add_bos_token": True}
    assert tokenizer(store, path, **named).encode("a").tokens == ["<|begin|>", "a"]
    llama = {"tokenizer.ggml.pre": "llama-bpe"}
    assert tokenizer(store, path, **llama).encode("a").tokens == ["<|begin|>", "a"]
    assert tokenizer(store, path, **llama, **{"tokenizer.ggml.add_bos_token": False}).encode("a").tokens == ["a"]


def test_all_stop_tokens_end_an_answer(store: ModelStore, path: Path) -> None:
    path.write_bytes(small(**{"tokenizer.ggml.eot_token_id": 5}))
    manifest = store.add(path, "tiny")
    assert manifest.eos_ids == (0, 5)
    assert json.loads((store.path(manifest.cid) / "config.json").read_bytes())["eos_token_id"] == 0
    assert shapes()["token_embd.weight"] == (manifest.vocab, manifest.hidden)
