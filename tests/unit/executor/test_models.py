"""The model store: what counts as a model, and what is noticed when its files change."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor.models import ModelStore, ModelUnusable, describe
from tests.support.scenes.models import folder as folder
from tests.support.scenes.models import make, weights


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def test_manifest_says_what_nodes_must_agree_on(folder: Path) -> None:
    manifest = describe(folder, "tiny")
    assert [file.path for file in manifest.files] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (manifest.hidden, manifest.vocab, manifest.layers, manifest.context) == (8, 100, 2, 64)
    assert (manifest.eos_ids, manifest.pad_id, manifest.dtype) == ((2,), 2, "bf16")
    # Ten weights as float32; keys and values of 64 places, 2 layers, 2 heads of 2; the runtime.
    assert manifest.needs_bytes == 40 + 2 * 4 * 2 * 2 * 2 * 64 + (768 << 20)


def test_generation_config_has_the_last_word_on_stop_tokens(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    assert describe(folder, "tiny").eos_ids == (5, 6)


def test_same_files_have_the_same_id_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    assert describe(folder, "tiny").cid == describe(make(tmp_path / "other"), "tiny").cid
    assert describe(folder, "tiny").cid != describe(folder, "another name").cid


def test_pickles_and_programs_stay_outside(folder: Path, store: ModelStore) -> None:
    for name in ("pytorch_model.bin", "modeling.py", "weights.pt"):
        (folder / name).write_bytes(b"x")
    manifest = store.add(folder, "tiny")
    kept = {path.name for path in store.path(manifest.cid).iterdir()}
    assert kept == {"config.json", "model.safetensors", "tokenizer.json", "manifest.json"}


def test_added_model_is_listed_verified_and_readable_by_the_worker(folder: Path, store: ModelStore) -> None:
    manifest = store.add(folder, "tiny")
    assert store.manifests() == (manifest,)
    assert store.verify(manifest.cid) == manifest
    assert {path.stat().st_mode & 0o777 for path in store.path(manifest.cid).iterdir()} == {0o644}
    assert store.path(manifest.cid).stat().st_mode & 0o777 == 0o755


def test_number_format_of_the_weights_is_the_stated_one(folder: Path, store: ModelStore) -> None:
    manifest = store.add(folder, "tiny")
    store.require_format(manifest)
    path = store.path(manifest.cid)
    false = dataclasses.replace(manifest, dtype="fp32")
    path.rename(store.path(false.cid))
    with pytest.raises(ModelUnusable, match="model tiny states fp32 weights, and its files hold bf16"):
        store.require_format(false)
    (store.path(false.cid) / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelUnusable, match="is no safetensors file"):
        store.require_format(false)


def test_adding_twice_changes_nothing(folder: Path, store: ModelStore) -> None:
    assert store.add(folder, "tiny") == store.add(folder, "tiny")
    assert [path.name[0] for path in store.path(bytes(32)).parent.iterdir()].count(".") == 0


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes() + b"x")])
def test_changed_weights_are_noticed(folder: Path, store: ModelStore, harm: Callable[[Path], object]) -> None:
    manifest = store.add(folder, "tiny")
    harm(store.path(manifest.cid) / "model.safetensors")
    with pytest.raises(ModelUnusable, match=r"model\.safetensors"):
        store.verify(manifest.cid)
    with pytest.raises(ModelUnusable):
        store.add(folder, "tiny")


def test_changed_manifest_is_noticed(folder: Path, store: ModelStore) -> None:
    manifest = store.add(folder, "tiny")
    (store.path(manifest.cid) / "manifest.json").write_bytes(manifest.encode().replace(b"tiny", b"liar"))
    with pytest.raises(ModelUnusable, match="manifest"):
        store.manifest(manifest.cid)
    assert store.manifests() == ()


def test_model_that_is_not_here(store: ModelStore) -> None:
    assert store.manifests() == ()
    with pytest.raises(ModelUnusable, match="not in the store"):
        store.manifest(bytes(32))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_folder_that_lacks_something(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelUnusable):
        describe(folder, "tiny")


@pytest.mark.parametrize("config", [{"hidden_size": None}, {"vocab_size": "many"}, {"eos_token_id": None}])
def test_config_that_makes_no_sense(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ModelUnusable):
        describe(make(tmp_path / "model", **config), "tiny")


@pytest.mark.parametrize("dtype", ["U8"])
def test_number_format_that_no_class_computes_in(folder: Path, dtype: str) -> None:
    (folder / "model.safetensors").write_bytes(weights(dtype))
    with pytest.raises(ModelUnusable, match="number format"):
        describe(folder, "tiny")


def test_mixed_number_formats(folder: Path) -> None:
    (folder / "more.safetensors").write_bytes(weights("F32"))
    with pytest.raises(ModelUnusable, match="number format"):
        describe(folder, "tiny")


@pytest.mark.parametrize("change", [-1, 1])
def test_weights_that_are_a_byte_off(folder: Path, change: int) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:change] if change < 0 else whole + b"x")
    with pytest.raises(ModelUnusable, match=rf"has {len(whole) + change} bytes, and its header says {len(whole)}"):
        describe(folder, "tiny")


@pytest.mark.parametrize("head", [b"", b"\xff" * 8, struct.pack("<Q", 5) + b"[1,2]", struct.pack("<Q", 90) + b"{}"])
def test_broken_safetensors(folder: Path, head: bytes) -> None:
    (folder / "model.safetensors").write_bytes(head)
    with pytest.raises(ModelUnusable):
        describe(folder, "tiny")
