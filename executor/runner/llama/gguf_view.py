"""A model of the store in the form that llama.cpp reads: a GGUF file, written out, or read piece by piece.

Nothing is rounded: matrices stay in bfloat16, norms are widened to float32, as llama.cpp wants them. There is no
vocabulary in it, for the runner has the model's own tokenizer.
Layout of GGUF, version 3: docs/gguf.md of github.com/ggml-org/ggml.
"""

import json
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..job import BadInput
from .weights import StoredTensors, widened

ALIGNMENT = 32
UINT32, FLOAT32, STRING = 4, 6, 8
"""Types of values."""
FORMATS = {np.dtype("<f4"): 0, np.dtype("<u2"): 30}
"""The types of tensors, float32 and bfloat16, by what numpy holds them as."""
WHOLE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
REQUIRED = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
}
"""What config.json must say, if it says anything of it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor and its place in the file. `make` gives its numbers, in their order in the file."""

    name: str
    shape: tuple[int, ...]
    format: Any
    start: int
    make: Callable[[], Any]

    @property
    def end(self) -> int:
        return self.start + int(np.prod(self.shape)) * int(self.format.itemsize)


class GgufView:
    """The file, made while it is read. `size` is that of the whole, in bytes."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput if the folder holds no model of this architecture."""
        config = _config(folder)
        weights = StoredTensors(folder)
        tensors = list(_tensors(config, weights))
        self._header, self._tensors = _laid_out(list(_facts(config)), tensors)
        self._starts = [each.start for each in self._tensors]
        self._made: tuple[int, Any] = (-1, None)
        self.size = _aligned(self._tensors[-1].end)
        last = "output" if "lm_head.weight" in weights else "token_embd"
        self.last_matrix = weights[f"{WHOLE[last]}.weight"]
        _, shared, size = _heads(config)
        self.kept_bytes = 2 * int(config["num_hidden_layers"]) * shared * size * 2
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


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
        for name, value in REQUIRED.items():
            if config.get(name, value) != value:
                raise BadInput("bad_model", f"llama.cpp runs here models with {name} {value}, and not {config[name]}")
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if rope.get("rope_type", "default") != "default":
            raise BadInput("bad_model", f"llama.cpp runs here no models with rope_type {rope['rope_type']}")
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput("bad_model", f"config.json cannot be read: {error}") from error
    return config


def _heads(config: dict[str, Any]) -> tuple[int, int, int]:
    """Heads of queries, heads of keys, and the size of one."""
    heads = int(config["num_attention_heads"])
    return (
        heads,
        int(config.get("num_key_value_heads") or heads),
        int(config.get("head_dim") or config["hidden_size"] // heads),
    )


def _facts(config: dict[str, Any]) -> Iterator[tuple[str, int, str | int | float]]:
    """Names, types and values of what the file says of the model."""
    try:
        heads, shared, size = _heads(config)
        rope = config.get("rope_parameters") or config
        yield "general.architecture", STRING, "llama"
        yield "tokenizer.ggml.model", STRING, "none"
        yield "llama.vocab_size", UINT32, int(config["vocab_size"])
        yield "llama.context_length", UINT32, int(config["max_position_embeddings"])
        yield "llama.embedding_length", UINT32, int(config["hidden_size"])
        yield "llama.block_count", UINT32, int(config["num_hidden_layers"])
        yield "llama.feed_forward_length", UINT32, int(config["intermediate_size"])
        yield "llama.attention.head_count", UINT32, heads
        yield "llama.attention.head_count_kv", UINT32, shared
        yield "llama.attention.key_length", UINT32, size
        yield "llama.attention.value_length", UINT32, size
        yield "llama.attention.layer_norm_rms_epsilon", FLOAT32, float(config["rms_norm_eps"])
        yield "llama.rope.dimension_count", UINT32, size
        yield "llama.rope.freq_base", FLOAT32, float(rope.get("rope_theta", 10_000.0))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput("bad_model", f"config.json lacks or misstates {error}") from error


def _tensors(config: dict[str, Any], weights: StoredTensors) -> Iterator[tuple[str, Any, Callable[[], Any]]]:
    """Name, source and maker of each tensor. Raises BadInput if the model lacks one or has another one."""
    heads, shared, _ = _heads(config)
    names = {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in WHOLE.items()}
    if "lm_head.weight" not in weights and config.get("tie_word_embeddings"):
        del names["output.weight"]
    for layer in range(int(config["num_hidden_layers"])):
        for ours, theirs in LAYER.items():
            names[f"blk.{layer}.{ours}.weight"] = f"model.layers.{layer}.{theirs}.weight"
    unknown = set(weights).difference(names.values())
    if unknown:
        raise BadInput("bad_model", f"the model has a tensor that llama.cpp would leave out: {min(unknown)}")
    for ours, theirs in names.items():
        rows = weights[theirs]
        make = partial(widened if rows.ndim == 1 else np.asarray, rows)
        if ".attn_q." in ours or ".attn_k." in ours:
            make = partial(_interleaved, rows, heads if ".attn_q." in ours else shared)
        yield ours, rows, make


def _interleaved(rows: Any, heads: int) -> Any:
    """Rows of a matrix that makes queries or keys: llama.cpp turns neighbours, where others turn halves of a head."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _laid_out(
    facts: list[tuple[str, int, str | int | float]], tensors: list[tuple[str, Any, Callable[[], Any]]]
) -> tuple[bytes, list[Placed]]:
    head = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(facts)))
    for name, kind, value in facts:
        head += _string(name) + struct.pack("<I", kind)
        head += _string(str(value)) if kind == STRING else struct.pack("<I" if kind == UINT32 else "<f", value)
    placed, at = [], 0
    for name, rows, make in tensors:
        wanted = rows.dtype if rows.ndim > 1 else np.dtype("<f4")
        placed.append(Placed(name, rows.shape, wanted, at, make))
        # The shape is told from the innermost dimension on.
        head += _string(name) + struct.pack("<I", rows.ndim)
        head += struct.pack(f"<{rows.ndim}QIQ", *reversed(rows.shape), FORMATS[wanted], at)
        at = _aligned(placed[-1].end)
    start = _aligned(len(head))
    head += bytes(start - len(head))
    moved = [Placed(each.name, each.shape, each.format, start + each.start, each.make) for each in placed]
    return bytes(head), moved


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _aligned(at: int) -> int:
    return -(-at // ALIGNMENT) * ALIGNMENT
