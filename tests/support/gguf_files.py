"""Writes GGUF files, true ones and hostile ones. Only Python's own library: it also runs in the runner image."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

ALIGNMENT = 32
F32, Q4_0, Q8_0 = 0, 2, 8
BLOCKS = {F32: (1, 4), Q4_0: (32, 18), Q8_0: (32, 34)}
TEXT, LIST = 8, 9
STOP, BEGIN = "<|end|>", "<|begin|>"
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant: "
HIDDEN, INNER, HEADS, SHARED, CONTEXT = 64, 96, 4, 2, 64
Tensor = tuple[str, Sequence[int], int, bytes]
"""Name, shape from the outermost dimension on, type, content."""


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def value(told: Any) -> bytes:
    """A value with its type; a tuple is (number of the type, bytes as they are)."""
    if isinstance(told, tuple):
        return struct.pack("<I", told[0]) + told[1]
    if isinstance(told, list):
        kind = TEXT if told and isinstance(told[0], str) else 5
        items = [text(each) if kind == TEXT else struct.pack("<i", each) for each in told]
        return struct.pack("<IIQ", LIST, kind, len(told)) + b"".join(items)
    if isinstance(told, str):
        return struct.pack("<I", TEXT) + text(told)
    kind, form = {bool: (7, "?"), int: (4, "I"), float: (6, "f")}[type(told)]
    return struct.pack(f"<I{form}", kind, told)


def size_of(shape: Sequence[int], kind: int) -> int:
    numbers, block_bytes = BLOCKS[kind]
    return prod(shape) // numbers * block_bytes


def header(facts: Mapping[str, Any], tensors: Sequence[tuple[str, Sequence[int], int, int]], version: int = 3) -> bytes:
    """All before the tensors, which are told by name, shape, type and place; not filled up."""
    head = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(facts))
    head += b"".join(text(key) + value(told) for key, told in facts.items())
    for name, shape, kind, at in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, at)
    return head


def whole(facts: Mapping[str, Any], tensors: Sequence[Tensor]) -> bytes:
    """A file in which each tensor follows the one before it."""
    told, parts, at = [], [], 0
    for name, shape, kind, content in tensors:
        told.append((name, shape, kind, at))
        parts += [content, bytes(-len(content) % ALIGNMENT)]
        at += len(parts[-2]) + len(parts[-1])
    head = header(facts, told)
    # The last one is not filled up.
    return b"".join([head, bytes(-len(head) % ALIGNMENT), *parts[:-1]])


def alphabet() -> list[str]:
    """The characters that stand for bytes in a byte-level vocabulary."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return sorted({*(chr(each) for each in shown), *(chr(256 + place) for place in range(256 - len(shown)))})


def tokens() -> list[str]:
    """A small vocabulary; no merge makes its last token."""
    return [STOP, BEGIN, *alphabet(), "he", "ll", "12", "abc"]


def facts(**changes: Any) -> dict[str, Any]:
    """Those of a small model. Args: changes, by key; None leaves the key out."""
    words = tokens()
    plain: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.embedding_length": HIDDEN,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": SHARED,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.context_length": CONTEXT,
        "llama.rope.dimension_count": HIDDEN // HEADS,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.token_type": [3, 3, *[1] * (len(words) - 2)],
        "tokenizer.ggml.merges": ["h e", "l l", "1 2"],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.chat_template": TEMPLATE,
    }
    plain |= changes
    return {key: told for key, told in plain.items() if told is not None}


def shapes(vocab: int | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of that model, whose embedding is its last matrix."""
    keys = HIDDEN // HEADS * SHARED
    layer = {
        "attn_norm": (HIDDEN,),
        "attn_q": (HIDDEN, HIDDEN),
        "attn_k": (keys, HIDDEN),
        "attn_v": (keys, HIDDEN),
        "attn_output": (HIDDEN, HIDDEN),
        "ffn_norm": (HIDDEN,),
        "ffn_gate": (INNER, HIDDEN),
        "ffn_up": (INNER, HIDDEN),
        "ffn_down": (HIDDEN, INNER),
    }
    whole_ones = {"token_embd.weight": (vocab or len(tokens()), HIDDEN), "output_norm.weight": (HIDDEN,)}
    return {**whole_ones, **{f"blk.0.{name}.weight": shape for name, shape in layer.items()}}


def by_chance(scale: float = 0.01, seed: int = 1) -> list[Tensor]:
    """Tensors of Q8_0 whose levels are chosen by chance; norms are one. Args: scale, of each block; NaN is possible."""
    dice, word = random.Random(seed), struct.pack("<e", scale)

    def content(shape: Sequence[int]) -> bytes:
        if len(shape) == 1:
            return struct.pack("<f", 1.0) * shape[0]
        return b"".join(word + dice.randbytes(32) for _ in range(prod(shape) // 32))

    return [(name, shape, Q8_0 if len(shape) > 1 else F32, content(shape)) for name, shape in shapes().items()]


def tensors(kind: int = Q8_0, **changes: tuple[int, ...]) -> list[Tensor]:
    """Tensors of zeros. Args: kind, the type of the matrices; changes, other shapes, by the last part of the name."""
    told = {name: changes.get(name.split(".")[-2], shape) for name, shape in shapes().items()}
    kinds = {name: kind if len(shape) > 1 else F32 for name, shape in told.items()}
    return [(name, shape, kinds[name], bytes(size_of(shape, kinds[name]))) for name, shape in told.items()]


def small(**changes: Any) -> bytes:
    """A model whose numbers are all zero."""
    return whole(facts(**changes), tensors())
