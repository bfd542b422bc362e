"""The weights of a model as the store keeps them, read without torch: safetensors files, mapped into memory.

numpy has no bfloat16. A tensor in that format is given as its 16-bit words, which `widened` turns into float32: they
are the upper halves of those numbers. Where an adapter lies beside them, `merged` adds its products.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .fingerprint import Floats
from .job import BadInput
from .lora import CONFIG, WEIGHTS, BadAdapter, Pair, pairs_of, require_fit, scale_of

FORMATS = {"BF16": np.dtype("<u2"), "F32": np.dtype("<f4")}
ADAPTER_FORMATS = {**FORMATS, "F16": np.dtype("<f2")}
MAX_HEADER_BYTES = 64 << 20
ROWS = 1 << 10
"""Rows of a matrix to which an adapter's product is added at once, in float64."""


class StoredTensors:
    """All tensors of a folder, by name. Nothing is read before it is looked at."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput if a file is no safetensors file, or holds numbers in another format."""
        self._tensors: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            if path.name != WEIGHTS:
                self._tensors.update(_tensors(path, FORMATS))
        if not self._tensors:
            raise BadInput("bad_model", "the model has no safetensors file")
        self.adapter = LoraAdapter(folder, self._tensors) if (folder / WEIGHTS).is_file() else None

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __getitem__(self, name: str) -> Any:
        """Words of bfloat16, or float32. Raises BadInput if there is no tensor of that name."""
        if name not in self._tensors:
            raise BadInput("bad_model", f"the model has no tensor {name}")
        return self._tensors[name]

    def merged(self, name: str) -> Any:
        """The same with the product of the adapter, if it changes this one: as many bits a number, rounded once."""
        rows = self[name]
        return rows if self.adapter is None else self.adapter.added(name, rows)


class LoraAdapter:
    """The LoRA adapter of a model's folder."""

    def __init__(self, folder: Path, base: dict[str, Any]) -> None:
        """Raises BadInput if it is none, or that of another base."""
        self._tensors = dict(_tensors(folder / WEIGHTS, ADAPTER_FORMATS))
        try:
            self._scale = scale_of((folder / CONFIG).read_bytes())
            self._pairs: dict[str, Pair] = pairs_of(self._tensors)
            require_fit(self._pairs, _shapes(self._tensors), _shapes(base))
        except (BadAdapter, OSError) as error:
            raise BadInput("bad_model", str(error)) from error

    @property
    def targets(self) -> Iterator[str]:
        """The tensors of the base that it changes."""
        return iter(self._pairs)

    def added(self, name: str, rows: Any) -> Any:
        """A tensor of the base with this adapter. In float64, so that every machine and engine rounds to the same."""
        if name not in self._pairs:
            return rows
        down, up = (self._wide(each) for each in (self._pairs[name].down, self._pairs[name].up))
        found = np.empty(rows.shape, rows.dtype)
        for at in range(0, len(rows), ROWS):
            piece = slice(at, at + ROWS)
            with np.errstate(invalid="ignore", over="ignore"):
                total = (widened(rows[piece]) + self._scale * (up[piece] @ down)).astype(np.float32)
            if not np.isfinite(total).all():
                raise BadInput("bad_model", f"with the adapter, {name} holds what is no number")
            found[piece] = total if rows.dtype == np.float32 else narrowed(total)
        return found

    def _wide(self, name: str) -> Any:
        rows = self._tensors[name]
        return (rows if rows.dtype == np.float16 else widened(rows)).astype(np.float64)


def narrowed(numbers: Floats) -> Any:
    """Numbers as words of bfloat16, rounded to the nearest, and to the even one of two that are as near."""
    words = numbers.view(np.uint32)
    return ((words + np.uint32(0x7FFF) + ((words >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype("<u2")


def _shapes(tensors: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: rows.shape for name, rows in tensors.items()}


def widened(rows: Any) -> Floats:
    """Words of bfloat16 as the float32 numbers that they are; float32 as it is."""
    if rows.dtype == np.float32:
        return rows
    return np.left_shift(rows, 16, dtype=np.uint32).view(np.float32)


def _tensors(path: Path, formats: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > MAX_HEADER_BYTES:
                raise BadInput("bad_model", f"the header of {path.name} has {size} bytes, over {MAX_HEADER_BYTES}")
            header = json.loads(file.read(size))
        data = np.memmap(path, np.uint8, "r", offset=8 + size)
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                yield name, data[start:end].view(formats[entry["dtype"]]).reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise BadInput("bad_model", f"{path.name} holds no bfloat16 or float32 safetensors: {error}") from error
