"""A content store with models of a few bytes."""

import os
from pathlib import Path

from p2p.holdings import ModelHoldings
from protocol.stages.blob import ModelManifest
from protocol.wire.ids import cid_of
from tests.support.manifests import model_of

TOKENIZER = b"{}"


def manifest_of(name: str, weights: bytes) -> ModelManifest:
    """A model of two files."""
    return model_of({"tokenizer.json": TOKENIZER, "model.safetensors": weights}, name)


def put_model(root: Path, name: str, size: int, used_s: float = 0.0) -> ModelManifest:
    """A whole model with weights of so many bytes, used last at a moment."""
    weights = name.encode().ljust(size, b".")
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
    weights = name.encode().ljust(size, b".")
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
