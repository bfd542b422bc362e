"""A model of the store in the form that llama.cpp reads: a GGUF file, written out, or read piece by piece.

Nothing is rounded: matrices stay in bfloat16, norms are widened to float32, as llama.cpp wants them. There is no
vocabulary in it, for the runner has the model's own tokenizer. The tensors of a model that is a GGUF file already are
given as they are, behind a header of ours: llama.cpp reads none that a stranger has written.
Layout of GGUF, version 3: docs/gguf.md of github.com/ggml-org/ggml.
"""

import json
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..gguf.layout import is_gguf
from ..gguf.tensors import GgufTensors
from ..job import BadInput
from ..weights import StoredTensors, widened
from .families import ROPE_FACTORS, Described, Fact, described
from .last_matrix import BlockRows, MatrixRows, WordRows

ALIGNMENT = 32
UINT32, FLOAT32, STRING = 4, 6, 8
"""Types of values."""
FORMATS = {np.dtype("<f4"): 0, np.dtype("<u2"): 30}
"""The types of tensors, float32 and bfloat16, by what numpy holds them as."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor and its place in the file. `make` gives its content, in its order in the file."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    size_bytes: int
    make: Callable[[], Any]
    start: int = 0

    @property
    def end(self) -> int:
        return self.start + self.size_bytes


class GgufView:
    """The file, made while it is read. `size` is that of the whole, in bytes."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput if the folder holds no model of this architecture."""
        model = _described(folder)
        self.last_matrix: MatrixRows
        self.is_strange = is_gguf(folder)
        """Whether the tensors are those of a GGUF file."""
        if self.is_strange:
            stored = GgufTensors(folder)
            self.dtype, tensors = stored.dtype, list(_blocks(stored))
            self.last_matrix = BlockRows(stored.blocks(stored.last), stored.last.type_id)
        else:
            weights = StoredTensors(folder)
            self.dtype, tensors = "bf16", list(_tensors(model, weights))
            last = "lm_head" if "lm_head.weight" in weights else "model.embed_tokens"
            self.last_matrix = WordRows(weights[f"{last}.weight"])
        self.cap = model.cap
        self._header, self._tensors = _laid_out(list(model.facts()), tensors)
        self._starts = [each.start for each in self._tensors]
        self._made: tuple[int, Any] = (-1, None)
        self.size = _aligned(self._tensors[-1].end)
        self.kept_bytes = 2 * model.layers * model.heads.keys * model.heads.size * 2
        """Keys and values of one token, of 16 bits each."""

    def read(self, start: int, length: int) -> Any:
        """The bytes from `start` on, at least one and at most `length`; none behind the end."""
        if start < len(self._header):
            return np.frombuffer(self._header, np.uint8)[start : start + length]
        place = bisect_right(self._starts, start) - 1
        tensor = self._tensors[place]
        if start >= tensor.end:
            # Between two tensors, or behind the last one.
            following = self._starts[place + 1] if place + 1 < len(self._starts) else self.size
            return np.zeros(min(length, following - start), np.uint8)
        if self._made[0] != place:
            self._made = (place, np.ascontiguousarray(tensor.make()).reshape(-1).view(np.uint8))
        return self._made[1][start - tensor.start : start - tensor.start + length]

    def write(self, path: Path) -> None:
        """Write all of it to a file. Raises OSError."""
        with path.open("wb") as file:
            at = 0
            while at < self.size:
                piece = self.read(at, self.size)
                file.write(piece)
                at += len(piece)


def _described(folder: Path) -> Described:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        if not isinstance(config, dict):
            raise BadInput("bad_model", "config.json holds no object")
    except (OSError, ValueError) as error:
        raise BadInput("bad_model", f"config.json cannot be read: {error}") from error
    return described(config)


def _tensors(model: Described, weights: StoredTensors) -> Iterator[Placed]:
    """The tensors, without their places. Raises BadInput if the model lacks one or has another one."""
    tied = "lm_head.weight" not in weights and bool(model.config.get("tie_word_embeddings"))
    names = dict(model.names(tied=tied))
    unknown = set(weights).difference(names.values())
    if unknown:
        raise BadInput("bad_model", f"the model has a tensor that llama.cpp would leave out: {min(unknown)}")
    for ours, theirs in names.items():
        rows = weights[theirs]
        wanted = rows.dtype if rows.ndim > 1 else np.dtype("<f4")
        make = partial(_stored, weights, theirs, ours, model)
        yield Placed(ours, rows.shape, FORMATS[wanted], rows.size * wanted.itemsize, make)
    factors = np.array(model.rope_factors(), np.float32)
    if factors.size:
        yield Placed(ROPE_FACTORS, factors.shape, FORMATS[factors.dtype], factors.nbytes, factors.copy)


def _stored(weights: StoredTensors, theirs: str, name: str, model: Described) -> Any:
    """The numbers of a tensor, as llama.cpp wants them, of which `name` is its own."""
    rows = weights.merged(theirs)
    if rows.ndim == 1:
        is_norm = name.endswith("norm.weight")
        return widened(rows) + np.float32(is_norm and model.family.norms_from_one)
    if model.family.turns_neighbours and (".attn_q." in name or ".attn_k." in name):
        return _interleaved(rows, model.heads.queries if ".attn_q." in name else model.heads.keys)
    return np.asarray(rows)


def _blocks(stored: GgufTensors) -> Iterator[Placed]:
    """Those of a GGUF file, as they are."""
    for name, each in stored.told.items():
        yield Placed(name, each.shape, each.type_id, each.size_bytes, partial(stored.blocks, each))


def _interleaved(rows: Any, heads: int) -> Any:
    """Rows of a matrix that makes queries or keys: llama.cpp turns neighbours, where others turn halves of a head."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _laid_out(facts: list[tuple[str, Fact]], tensors: list[Placed]) -> tuple[bytes, list[Placed]]:
    head = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(facts)))
    for name, value in facts:
        head += _string(name) + _value(value)
    starts, at = [], 0
    for each in tensors:
        starts.append(at)
        # The shape is told from the innermost dimension on.
        head += _string(each.name) + struct.pack("<I", len(each.shape))
        head += struct.pack(f"<{len(each.shape)}QIQ", *reversed(each.shape), each.type_id, at)
        at = _aligned(at + each.size_bytes)
    begin = _aligned(len(head))
    head += bytes(begin - len(head))
    return bytes(head), [replace(each, start=begin + start) for each, start in zip(tensors, starts, strict=True)]


def _value(value: Fact) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    return struct.pack("<II", UINT32, value) if isinstance(value, int) else struct.pack("<If", FLOAT32, value)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _aligned(at: int) -> int:
    return -(-at // ALIGNMENT) * ALIGNMENT
