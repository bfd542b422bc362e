"""Runs in the runner image: writes the small model as a GGUF file, its matrices in one of two types.

It leaves /output/model.gguf, with facts and tokenizer as converters write them. `gguf_files.py` lies beside it.
"""

import json
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import gguf_files

BLOCK = 32


def config(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    return told


def facts(folder: Path) -> dict[str, Any]:
    told, words = config(folder), json.loads((folder / "tokenizer.json").read_bytes())
    vocab = [word for word, _ in sorted(words["model"]["vocab"].items(), key=lambda each: each[1])]
    special = {each["id"] for each in words["added_tokens"]}
    return {
        "general.architecture": "llama",
        "general.name": "small",
        "llama.vocab_size": told["vocab_size"],
        "llama.context_length": told["max_position_embeddings"],
        "llama.embedding_length": told["hidden_size"],
        "llama.block_count": told["num_hidden_layers"],
        "llama.feed_forward_length": told["intermediate_size"],
        "llama.attention.head_count": told["num_attention_heads"],
        "llama.attention.head_count_kv": told["num_key_value_heads"],
        "llama.attention.layer_norm_rms_epsilon": told["rms_norm_eps"],
        "llama.rope.dimension_count": told["hidden_size"] // told["num_attention_heads"],
        "llama.rope.freq_base": float(told["rope_parameters"]["rope_theta"]),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": vocab,
        "tokenizer.ggml.token_type": [3 if place in special else 1 for place in range(len(vocab))],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in words["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": told["bos_token_id"],
        "tokenizer.ggml.eos_token_id": told["eos_token_id"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": (folder / "chat_template.jinja").read_text(),
    }


def stored(folder: Path) -> dict[str, Any]:
    """The tensors of a safetensors file in bfloat16, as float32 numbers by name."""
    data = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    found = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            start, end = (8 + size + place for place in entry["data_offsets"])
            words = np.frombuffer(data[start:end], "<u2").astype(np.uint32) << 16
            found[name] = words.view(np.float32).reshape(entry["shape"])
    return found


def q8_0(rows: Any) -> bytes:
    """As ggml's quantize_row_q8_0_ref."""
    blocks = rows.reshape(-1, BLOCK)
    steps = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    inverse = np.divide(np.float32(1), steps, out=np.zeros_like(steps), where=steps > 0)
    product = blocks * inverse
    levels = np.trunc(product + np.copysign(np.float32(0.5), product)).astype(np.int8)
    return np.concatenate([steps.astype("<f2").view(np.uint8), levels.view(np.uint8)], axis=1).tobytes()


def in_neighbours(rows: Any, heads: int) -> Any:
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def tensors(folder: Path) -> Iterator[gguf_files.Tensor]:
    from runner.gguf.layout import names_of

    told, weights = config(folder), stored(folder)
    for ours, theirs in names_of(told["num_hidden_layers"], tied="lm_head.weight" not in weights):
        rows = weights[theirs]
        if ".attn_q." in ours or ".attn_k." in ours:
            name = "num_attention_heads" if ".attn_q." in ours else "num_key_value_heads"
            rows = in_neighbours(rows, told[name])
        if rows.ndim > 1:
            yield ours, rows.shape, gguf_files.Q8_0, q8_0(rows)
        else:
            yield ours, rows.shape, gguf_files.F32, rows.astype("<f4").tobytes()


def main() -> None:
    folder = Path(os.environ["MODEL_PATH"])
    Path("/output/model.gguf").write_bytes(gguf_files.whole(facts(folder), list(tensors(folder))))


if __name__ == "__main__":
    main()
