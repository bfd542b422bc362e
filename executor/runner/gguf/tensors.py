"""The tensors of a GGUF model as they lie in its file, and the numbers that they stand for. Needs numpy."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..fingerprint import Floats
from ..job import BadInput
from .header import BLOCKS, F32, Q8_0, BadGguf, Tensor, read_header
from .layout import MODEL_FILE, names_of, require_tensors


class GgufTensors:
    """The tensors of a model's folder, by their GGUF names. Nothing is read before it is looked at."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput unless the file holds the model that config.json tells of."""
        path = folder / MODEL_FILE
        try:
            self.config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
            self.told = read_header(path).tensors
            self.dtype = require_tensors(self.config, self.told)
            self._data = np.memmap(path, np.uint8, "r")
        except BadGguf as error:
            raise BadInput("bad_model", f"{MODEL_FILE}: {error}") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput("bad_model", f"config.json cannot be read or lacks {error}") from error

    @property
    def last(self) -> Tensor:
        """The last matrix."""
        return self.told["token_embd.weight" if self.config["tie_word_embeddings"] else "output.weight"]

    def blocks(self, tensor: Tensor) -> Any:
        """A tensor as the file has it: bytes, one row for each of its rows."""
        found = self._data[tensor.start : tensor.start + tensor.size_bytes]
        return found.reshape(*tensor.shape[:-1], -1)

    def numbers(self, tensor: Tensor) -> Floats:
        """The numbers of a tensor, float32. Raises BadInput if one of them is none."""
        found = widened(self.blocks(tensor), tensor.type_id)
        if not np.isfinite(found).all():
            raise BadInput("bad_model", f"tensor {tensor.name} of {MODEL_FILE} holds what is no number")
        return found

    def by_name(self) -> Iterator[tuple[str, Floats]]:
        """Names of transformers, and numbers in the order in which it wants them."""
        tied = bool(self.config["tie_word_embeddings"])
        heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
        for ours, theirs in names_of(int(self.config["num_hidden_layers"]), tied=tied):
            rows = self.numbers(self.told[ours])
            if name := heads.get(ours.split(".")[-2]):
                rows = in_halves(rows, int(self.config[name]))
            yield theirs, rows


def widened(blocks: Any, type_id: int) -> Floats:
    """The numbers of blocks [..., bytes] of one type: float32 [..., numbers]. Nothing is rounded.

    Q8_0: a scale in float16, and 32 levels of 8 bits.
    """
    if type_id == F32:
        return np.ascontiguousarray(blocks).view("<f4")
    assert type_id == Q8_0
    numbers, size = BLOCKS[Q8_0]
    parts = np.ascontiguousarray(blocks).reshape(-1, size)
    scales = np.ascontiguousarray(parts[:, :2]).view("<f2").astype(np.float32)
    found = parts[:, 2:].view(np.int8) * scales
    return found.reshape(*blocks.shape[:-1], blocks.shape[-1] // size * numbers)


def in_halves(rows: Any, heads: int) -> Any:
    """Rows of a matrix that makes queries or keys: others turn the halves of a head, llama.cpp turns neighbours."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)
