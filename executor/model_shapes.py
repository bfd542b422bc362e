"""The shape of a model that lies in files: a folder, a config.json by itself, a GGUF file, or a model of the store."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from executor.containers.sandbox import MIB
from executor.models import ModelStore, ModelUnusable
from executor.runner.gguf.header import BadGguf, read_header
from executor.runner.gguf.layout import config_of, type_of
from executor.runner.llama.families import is_known
from executor.runner.lora import WEIGHTS as ADAPTER_WEIGHTS
from protocol.errors import Malformed
from protocol.stages.blob import ModelManifest
from protocol.stages.memory import BLOCK_OF, GGUF_SUFFIX, WEIGHTS_SUFFIX
from protocol.stages.model_shape import ModelShape, shape_of_config, shape_of_manifest

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
MAX_CONFIG_BYTES, MAX_INDEX_BYTES = MIB, 64 * MIB


def shape_of_path(path: Path) -> ModelShape:
    """The shape of a model that is not in the store. Raises: ModelUnusable.

    Args: path, of a GGUF file, of a config.json, or of the folder of one. Weights or an index beside it are counted
    instead of the config.
    """
    if path.suffix == GGUF_SUFFIX:
        return _gguf_shape(path)
    # Not `path.is_dir()`, which raises for a name that no file can have.
    file = path / CONFIG if os.path.isdir(path) else path
    config = _object(file, MAX_CONFIG_BYTES)
    try:
        return _shape(config, _weights_bytes(file.parent))
    except (Malformed, OSError) as error:
        raise ModelUnusable(f"{file} tells no shape of a model: {error}") from error


def shape_of_stored(store: ModelStore, manifest: ModelManifest) -> ModelShape:
    """The shape of a model of which at least the manifest is known. Raises: ModelUnusable.

    By its config.json where that is here as the manifest names it, else by the manifest alone.
    """
    path = store.path(manifest.cid) / CONFIG
    try:
        if manifest.file(CONFIG).size == path.stat().st_size:
            suffix = GGUF_SUFFIX if manifest.dtype in BLOCK_OF else WEIGHTS_SUFFIX
            stored_bytes = sum(file.size for file in manifest.files if file.path.endswith(suffix))
            return _shape(_object(path, MAX_CONFIG_BYTES), stored_bytes, manifest.dtype)
    except (KeyError, OSError, Malformed, ModelUnusable):
        # What a stranger's config.json does not tell, the manifest does.
        pass
    try:
        return shape_of_manifest(manifest)
    except Malformed as error:
        raise ModelUnusable(str(error)) from error


def _gguf_shape(path: Path) -> ModelShape:
    try:
        return _shape(config_of(read_header(path)), path.stat().st_size, type_of(path))
    except (BadGguf, Malformed, OSError, ValueError) as error:
        raise ModelUnusable(f"{path.name} cannot be run: {error}") from error


def _shape(config: Mapping[str, Any], stored_bytes: int, dtype: str = "") -> ModelShape:
    """Raises: Malformed."""
    return replace(shape_of_config(config, stored_bytes, dtype), is_llama=is_known(config))


def _weights_bytes(folder: Path) -> int:
    """Bytes of the weights in a folder, by the index of its shards or by its files; 0 if there are none."""
    index = folder / INDEX
    if index.is_file():
        told: Any = _object(index, MAX_INDEX_BYTES).get("metadata")
        size = told.get("total_size") if isinstance(told, Mapping) else None
        if type(size) is not int or not 0 < size < 1 << 63:
            raise ModelUnusable(f"{index} states no metadata.total_size in bytes: copy or download it again")
        return size
    return sum(path.stat().st_size for path in _weights(folder))


def _weights(folder: Path) -> Iterable[Path]:
    files = (path for path in folder.iterdir() if path.suffix == WEIGHTS_SUFFIX and path.is_file())
    return (path for path in files if path.name != ADAPTER_WEIGHTS)


def _object(path: Path, limit: int) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
        found = json.loads(data) if len(data) <= limit else None
    except FileNotFoundError:
        raise ModelUnusable(f"there is no {path}: give a model's folder, its config.json or a GGUF file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnusable(f"{path} cannot be read as JSON") from error
    if not isinstance(found, dict):
        raise ModelUnusable(f"{path} is no JSON object of at most {limit} bytes")
    return found
