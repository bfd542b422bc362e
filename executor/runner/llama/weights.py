"""The weights of a model as the store keeps them, read without torch: safetensors files, mapped into memory.

numpy has no bfloat16. A tensor in that format is given as its 16-bit words, which `widened` turns into float32: they
are the upper halves of those numbers.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..fingerprint import Floats
from ..job import BadInput

FORMATS = {"BF16": np.dtype("<u2"), "F32": np.dtype("<f4")}
MAX_HEADER_BYTES = 64 << 20


class StoredTensors:
    """All tensors of a folder, by name. Nothing is read before it is looked at."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput if a file is no safetensors file, or holds numbers in another format."""
        self._tensors: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            self._tensors.update(_tensors(path))
        if not self._tensors:
            raise BadInput("bad_model", "the model has no safetensors file")

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __getitem__(self, name: str) -> Any:
        """Words of bfloat16, or float32. Raises BadInput if there is no tensor of that name."""
        if name not in self._tensors:
            raise BadInput("bad_model", f"the model has no tensor {name}")
        return self._tensors[name]


def widened(rows: Any) -> Floats:
    """Words of bfloat16 as the float32 numbers that they are; float32 as it is."""
    if rows.dtype == np.float32:
        return rows
    return np.left_shift(rows, 16, dtype=np.uint32).view(np.float32)


def _tensors(path: Path) -> Iterator[tuple[str, Any]]:
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
                yield name, data[start:end].view(FORMATS[entry["dtype"]]).reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise BadInput("bad_model", f"{path.name} holds no bfloat16 or float32 safetensors: {error}") from error
