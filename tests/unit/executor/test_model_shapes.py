"""The shape of a model that lies in files, in the store or outside."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.model_shapes import shape_of_path, shape_of_stored
from executor.models import ModelStore, ModelUnusable
from protocol.stages.model_shape import shape_of_config
from tests.support.gguf_files import small
from tests.support.scenes.models import make, weights
from tests.support.source_tree import REPOSITORY

TINY: dict[str, Any] = json.loads((REPOSITORY / "tests/vectors/model_configs.json").read_bytes())["tiny"]["llama"]


def folder(tmp_path: Path, **files: object) -> Path:
    tmp_path.joinpath("config.json").write_text(json.dumps(TINY))
    for name, content in files.items():
        tmp_path.joinpath(name.replace("__", ".")).write_text(json.dumps(content))
    return tmp_path


def test_a_config_alone_is_enough(tmp_path: Path) -> None:
    home = folder(tmp_path)
    assert shape_of_path(home) == shape_of_path(home / "config.json") == replace(shape_of_config(TINY), is_llama=True)


def test_an_index_says_what_the_weights_weigh(tmp_path: Path) -> None:
    home = folder(tmp_path, model__safetensors__index__json={"metadata": {"total_size": 123_456}})
    assert shape_of_path(home).stored_bytes == 123_456


def test_weights_beside_it_are_counted(tmp_path: Path) -> None:
    home = folder(tmp_path)
    (home / "model-1.safetensors").write_bytes(weights())
    (home / "model-2.safetensors").write_bytes(weights())
    assert shape_of_path(home).stored_bytes == 2 * len(weights())


def test_a_gguf_file_is_of_its_own_format(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(small())
    shape = shape_of_path(path)
    assert (shape.dtype, shape.hidden, shape.context, shape.kept_numbers) == ("q8_0", 64, 64, 2 * 2 * 16)
    assert (shape.stored_bytes, shape.is_llama) == (len(small()), True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "cannot be read as JSON"),
        (b"[]", "is no JSON object of at most 1048576 bytes"),
        (b" " * (1 << 20) + b"{}", "is no JSON object of at most 1048576 bytes"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"model_type": "llama"}', "tells no shape of a model: config.json must state hidden_size"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelUnusable, match=words):
        shape_of_path(tmp_path)


@pytest.mark.parametrize(
    "told", [{}, {"metadata": []}, {"metadata": {"total_size": "9"}}, {"metadata": {"total_size": 0}}]
)
def test_an_index_without_a_size_is_refused(tmp_path: Path, told: object) -> None:
    with pytest.raises(ModelUnusable, match=r"states no metadata.total_size in bytes"):
        shape_of_path(folder(tmp_path, model__safetensors__index__json=told))


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"there is no .*config.json: give a model's folder"):
        shape_of_path(tmp_path)
    with pytest.raises(ModelUnusable, match=r"away.gguf cannot be run"):
        shape_of_path(tmp_path / "away.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelUnusable, match=r"bad.gguf cannot be run"):
        shape_of_path(tmp_path / "bad.gguf")


def test_a_stored_model_is_read_from_its_config_and_else_from_its_manifest(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "store")
    source = make(tmp_path / "model", **{**TINY, "hidden_size": 64, "intermediate_size": 96})
    manifest = store.add(source, "tiny")
    shape = shape_of_stored(store, manifest)
    assert (shape.inner, shape.stored_bytes, shape.dtype) == (96, len(weights()), "bf16")
    os.unlink(store.path(manifest.cid) / "config.json")
    far = shape_of_stored(store, manifest)
    assert (far.inner, far.stored_bytes, far.kept_numbers) == (4 * 64, len(weights()), shape.kept_numbers)
    with pytest.raises(ModelUnusable, match="states no number format"):
        shape_of_stored(store, replace(manifest, dtype="int3"))
