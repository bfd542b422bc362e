"""A model in a content store."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

CONFIG: dict[str, Any] = {
    "hidden_size": 8,
    "vocab_size": 100,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "eos_token_id": 2,
}


def weights(dtype: str = "BF16", numbers: int = 10) -> bytes:
    width = {"BF16": 2, "F32": 4, "U8": 1}[dtype]
    header = {"w": {"dtype": dtype, "shape": [numbers], "data_offsets": [0, width * numbers]}}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(width * numbers)


def make(folder: Path, **config: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "model")
