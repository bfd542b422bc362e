"""Blobs: content that is too large for a message, named by its sha256, and the manifests of models."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from protocol.errors import Malformed
from protocol.wire.ids import Cid, cid_of

MAX_MANIFEST_BYTES = 1 << 20
MAX_MODEL_FILES = 512
RUNTIME_BYTES = 768 * 2**20
"""Memory of Python, torch and transformers before any weight is loaded; part of `needs_bytes`."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model: its relative path, hash and size in bytes."""

    path: str
    sha256: Cid
    size: int


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """A model: its files and the few facts that nodes must agree on.

    `dtype` of the stored weights; `context` in tokens; `needs_bytes` of memory to run it in float32 with the longest
    context (`protocol/stages/memory.py`: what one job needs).
    """

    name: str
    files: tuple[ModelFile, ...]
    tokenizer: str
    eos_ids: tuple[int, ...]
    pad_id: int
    dtype: str
    hidden: int
    vocab: int
    layers: int
    context: int
    needs_bytes: int

    def encode(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces."""
        plain = {"v": 1, **asdict(self)}
        for file in plain["files"]:
            file["sha256"] = file["sha256"].hex()
        return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()

    @property
    def cid(self) -> Cid:
        """The name of the model: sha256 of the encoded manifest."""
        return cid_of(self.encode())

    def file(self, path: str) -> ModelFile:
        """The entry of one file.

        Raises: KeyError if the model has no such file.
        """
        for file in self.files:
            if file.path == path:
                return file
        raise KeyError(path)


def read_manifest(data: bytes) -> ModelManifest:
    """Read a manifest that came from anywhere.

    Raises: Malformed unless it is one, in canonical form, and every path stays inside its folder.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise Malformed("the manifest is too large")
    try:
        manifest = _from_plain(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed("not a model manifest") from error
    if manifest.encode() != data:
        raise Malformed("the manifest is not in canonical form")
    return manifest


def _from_plain(plain: dict[str, Any]) -> ModelManifest:
    files = tuple(
        ModelFile(_inside(entry["path"]), Cid(_hash(entry["sha256"])), _count(entry["size"]))
        for entry in plain["files"]
    )
    if not 1 <= len(files) <= MAX_MODEL_FILES or len({file.path for file in files}) != len(files):
        raise ValueError("files")
    return ModelManifest(
        name=str(plain["name"]),
        files=files,
        tokenizer=_inside(plain["tokenizer"]),
        eos_ids=tuple(_count(token) for token in plain["eos_ids"]),
        pad_id=_count(plain["pad_id"]),
        dtype=str(plain["dtype"]),
        hidden=_count(plain["hidden"]),
        vocab=_count(plain["vocab"]),
        layers=_count(plain["layers"]),
        context=_count(plain["context"]),
        needs_bytes=_count(plain["needs_bytes"]),
    )


def _inside(path: str) -> str:
    parts = path.split("/")
    if len(path) > 255 or "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError("path")
    return path


def _hash(text: str) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != 32 or raw.hex() != text:
        raise ValueError("hash")
    return raw


def _count(value: int) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError("number")
    return value
