"""The content store on disk, as blobs are served from it and fetched into it. Every call here blocks: use a thread.

<store>/blobs/<sha256 hex>             content by its hash
<store>/models/<manifest hex>/         manifest.json and the files that it names
<store>/partial/                       what is not complete yet
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from protocol.errors import P2PError, RemoteProtocolError
from protocol.stages.blob import ModelManifest, read_manifest
from protocol.wire.ids import Cid

MANIFEST = "manifest.json"
READ_BYTES = 1024 * 1024
SPARE_BYTES = 256 * 1024 * 1024
"""Left free on the disk by whatever is fetched."""
MODELS_LIMIT = 128 * 2**30
PARTIAL_KEPT_S = 86_400
"""A partial file that no fetch has touched for so long is removed."""


class ContentStore:
    """Finds and keeps content by its hash."""

    def __init__(self, root: Path, models_limit: int = MODELS_LIMIT) -> None:
        """Args: models_limit, bytes that the models may take together for one more to be fetched."""
        self._models_limit = models_limit
        self._blobs = root / "blobs"
        self._models = root / "models"
        self._partial = root / "partial"
        self._model_files: dict[str, dict[bytes, Path]] = {}

    def find(self, cid: Cid) -> Path | None:
        """The path of complete content, None if it is not here."""
        blob = self._blobs / cid.hex()
        if blob.is_file():
            return blob
        if (manifest := self._models / cid.hex() / MANIFEST).is_file():
            return manifest
        self._index_models()
        for files in self._model_files.values():
            if (path := files.get(cid)) and path.is_file():
                return path
        return None

    def model(self, cid: Cid) -> ModelManifest | None:
        """The manifest of a model that is complete here, None if it is not."""
        try:
            data = (self._models / cid.hex() / MANIFEST).read_bytes()
        except FileNotFoundError:
            return None
        return read_manifest(data)

    def blob_path(self, cid: Cid) -> Path:
        """The path of a fetched blob."""
        return self._blobs / cid.hex()

    def staged_path(self, model: Cid, path: str) -> Path:
        """The path at which a file of a model waits for the others."""
        return self._partial / f"model-{model.hex()}" / path

    def adopt_model(self, model: Cid) -> None:
        """Move a model whose every file is staged to where models are."""
        staged = self._partial / f"model-{model.hex()}"
        for path in (staged, *staged.rglob("*")):
            # The container that reads it runs as another user.
            path.chmod(0o755 if path.is_dir() else 0o644)
        self._models.mkdir(parents=True, exist_ok=True)
        staged.rename(self._models / model.hex())

    def partial(self, cid: Cid) -> "Partial":
        """The part of some content that is here so far."""
        self._partial.mkdir(parents=True, exist_ok=True)
        return Partial(self._partial / cid.hex(), cid)

    def require_room_for_model(self, model: Cid, size: int) -> None:
        """Raises: P2PError if the models would take more than their limit, or the disk would be full."""
        begun = _size_of(self._partial) - _size_of(self.staged_path(model, MANIFEST).parent)
        held = _size_of(self._models) + begun
        if held + size > self._models_limit:
            raise P2PError(
                f"a model of {size} bytes beside {held} bytes of models: at most {self._models_limit} together"
                " (executor.models_limit)"
            )
        self.require_room(size)

    def sweep(self, now_s: float) -> None:
        """Remove what was begun and not gone on with; a fetch that broke off may go on until then."""
        for begun in self._partial.glob("*"):
            parts = [begun, *begun.rglob("*")]
            if all(part.stat().st_mtime < now_s - PARTIAL_KEPT_S for part in parts):
                shutil.rmtree(begun, ignore_errors=True) if begun.is_dir() else begun.unlink(missing_ok=True)

    def require_room(self, size: int) -> None:
        """Raises: P2PError if the disk would be full."""
        self._partial.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self._partial).free < size + SPARE_BYTES:
            raise P2PError(f"no room on the disk for {size} bytes")

    def _index_models(self) -> None:
        names = {path.name for path in self._models.iterdir()} if self._models.is_dir() else set()
        self._model_files = {name: files for name, files in self._model_files.items() if name in names}
        for name in names - self._model_files.keys():
            try:
                manifest = read_manifest((self._models / name / MANIFEST).read_bytes())
            except (OSError, RemoteProtocolError):
                continue
            folder = self._models / name
            self._model_files[name] = {bytes(file.sha256): folder / file.path for file in manifest.files}


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Partial:
    """Content on its way: what has come is on the disk and hashed, and survives a restart."""

    def __init__(self, path: Path, cid: Cid) -> None:
        self._path = path
        self._cid = cid
        self._hash = hashlib.sha256()
        self._file: BinaryIO = path.open("a+b")
        self.size = 0
        self._file.seek(0)
        while data := self._file.read(READ_BYTES):
            self._hash.update(data)
            self.size += len(data)

    def append(self, data: bytes) -> None:
        """Add what came next."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """Throw away what is here."""
        self._file.truncate(0)
        self._hash = hashlib.sha256()
        self.size = 0

    def finish(self, target: Path) -> bool:
        """Move to `target` if this is the content; False if it is some other, which is thrown away."""
        if self._hash.digest() != self._cid:
            self.restart()
            return False
        self._file.flush()
        os.fsync(self._file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        self._path.rename(target)
        return True

    def close(self) -> None:
        """Keep for later what is here; forget it if that is nothing."""
        self._file.close()
        if not self.size:
            self._path.unlink(missing_ok=True)
