"""LoRA adapters as PEFT saves them, and bases that they fit."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from tests.support.scenes.models import make

TARGET = "model.layers.0.self_attn.q_proj"
WIDTHS = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}


def said(**changes: Any) -> bytes:
    """A configuration."""
    return json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, **changes}).encode()


def tensors(shapes: dict[str, tuple[int, ...]], dtype: str = "F32") -> bytes:
    """A safetensors file of zeros."""
    header: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        size = WIDTHS[dtype] * shape[0] * shape[-1]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def halves(down: tuple[int, ...] = (4, 8), up: tuple[int, ...] = (6, 4)) -> dict[str, tuple[int, ...]]:
    """The shapes of the two matrices that change the target."""
    return {
        f"base_model.model.{TARGET}.lora_A.weight": down,
        f"base_model.model.{TARGET}.lora_B.weight": up,
    }


def make_base(folder: Path) -> Path:
    """The folder of a model that has the target."""
    made = make(folder)
    (made / "model.safetensors").write_bytes(tensors({f"{TARGET}.weight": (6, 8)}, "BF16"))
    return made


def make_adapter(folder: Path) -> Path:
    """The folder of an adapter of it."""
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes(said())
    (folder / "adapter_model.safetensors").write_bytes(tensors(halves()))
    return folder
