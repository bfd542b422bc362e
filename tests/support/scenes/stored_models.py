"""A content store with models of a few bytes."""

import json
import os
import struct
from pathlib import Path

from p2p.holdings import ModelHoldings
from protocol.stages.blob import ModelManifest
from protocol.wire.ids import cid_of
from tests.support.manifests import model_of

TOKENIZER = b"{}"
LEAST_HEADER_BYTES = 60


def manifest_of(name: str, weights: bytes) -> ModelManifest:
    """A model of two files."""
    return model_of({"tokenizer.json": TOKENIZER, "model.safetensors": weights}, name)


def weights_of(name: str, size: int) -> bytes:
    """A safetensors file of so many bytes with one tensor in bfloat16; too short for one, it is only bytes."""
    for spare in range(LEAST_HEADER_BYTES, size):
        tensor = {"dtype": "BF16", "shape": [(size - 8 - spare) // 2], "data_offsets": [0, size - 8 - spare]}
        header = json.dumps({name: tensor}).encode()
        if len(header) <= spare and (size - spare) % 2 == 0:
            return struct.pack("<Q", spare) + header.ljust(spare) + bytes(size - 8 - spare)
    return name.encode().ljust(size, b".")


def put_model(root: Path, name: str, size: int, used_s: float = 0.0) -> ModelManifest:
    """A whole model with weights of so many bytes, used last at a moment."""
    weights = weights_of(name, size)
    manifest = manifest_of(name, weights)
    folder = root / "models" / manifest.cid.hex()
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_bytes(TOKENIZER)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "manifest.json").write_bytes(manifest.encode())
    os.utime(folder / "manifest.json", (used_s, used_s))
    return manifest


def begin_model(root: Path, name: str, size: int, here: int) -> ModelManifest:
    """A model that is described, and of whose weights so many bytes have come."""
    weights = weights_of(name, size)
    manifest = manifest_of(name, weights)
    for folder in (root / "descriptions" / manifest.cid.hex(), root / "partial" / f"model-{manifest.cid.hex()}"):
        folder.mkdir(parents=True)
        (folder / "tokenizer.json").write_bytes(TOKENIZER)
        (folder / "manifest.json").write_bytes(manifest.encode())
    (root / "partial" / cid_of(weights).hex()).write_bytes(weights[:here])
    return manifest


def names(root: Path) -> dict[str, str]:
    """The states of all models by name."""
    return {each.manifest.name: each.state.value for each in ModelHoldings(root).all()}
