"""The content store on disk, as blobs are served from it and fetched into it. Every call here blocks: use a thread.

<store>/blobs/<sha256 hex>             content by its hash
<store>/models/<manifest hex>/         manifest.json and the files that it names
<store>/descriptions/<manifest hex>/   manifest.json and the tokenizer of a model whose weights are not needed here
<store>/partial/                       what is not complete yet, or about to be removed
"""

import os
import shutil
from collections.abc import Collection
from hashlib import file_digest
from pathlib import Path

from p2p import folders
from p2p.partial import Partial
from protocol.errors import P2PError, RemoteProtocolError
from protocol.stages.blob import ModelManifest, read_manifest
from protocol.wire.ids import Cid, cid_of

MANIFEST = "manifest.json"
ADDED = ".new-"
"""Folders in `models` into which a local model is copied (`executor/models.py`) begin with this."""
SPARE_BYTES = 256 * 1024 * 1024
"""Left free on the disk by whatever is fetched."""
MODELS_LIMIT = 128 * 2**30
PARTIAL_KEPT_S = 86_400
"""A partial file that no fetch has touched for so long is removed."""


class StoreFull(P2PError):
    """The disk, or what the operator allows, has no room for content."""


class ContentStore:
    """Finds and keeps content by its hash."""

    def __init__(self, root: Path, models_limit: int = MODELS_LIMIT) -> None:
        """Args: models_limit, bytes that the models may take together for one more to be fetched."""
        self._models_limit = models_limit
        self._blobs = root / "blobs"
        self._models = root / "models"
        self._descriptions = root / "descriptions"
        self._partial = root / "partial"
        self._model_files: dict[Path, dict[bytes, Path]] = {}

    def find(self, cid: Cid) -> Path | None:
        """The path of complete content, None if it is not here."""
        blob = self._blobs / cid.hex()
        if blob.is_file():
            return blob
        if (manifest := self.folder(cid) / MANIFEST).is_file():
            return manifest
        self._index_models()
        for files in self._model_files.values():
            if (path := files.get(cid)) and path.is_file():
                return path
        return None

    def share(self, cid: Cid, target: Path) -> bool:
        """Give content that is here, and still what it was, a second place; without room for it where the disk can."""
        path = self.find(cid)
        if path is None:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        # What a target holds counts as checked.
        made = target.with_name(target.name + ADDED)
        made.unlink(missing_ok=True)
        try:
            os.link(path, made)
        except OSError:
            shutil.copyfile(path, made)
        with made.open("rb") as file:
            is_same = file_digest(file, "sha256").digest() == cid
        if is_same:
            made.replace(target)
        else:
            made.unlink()
        return is_same

    def folder(self, model: Cid) -> Path:
        """The folder of a model, that of its description unless the whole of it is here; it need not exist."""
        whole = self._models / model.hex()
        return self._descriptions / model.hex() if _manifest_in(whole, model) is None else whole

    def model(self, cid: Cid) -> ModelManifest | None:
        """The manifest of a model that is complete here, None if it is not."""
        return _manifest_in(self._models / cid.hex(), cid)

    def manifest(self, cid: Cid) -> ModelManifest | None:
        """The manifest of a model that is whole or described here, None if it is neither."""
        return _manifest_in(self.folder(cid), cid)

    def description(self, cid: Cid) -> ModelManifest | None:
        """The manifest of a model whose tokenizer is here, with or without its weights; None if it is not."""
        for folder in (self._models / cid.hex(), self._descriptions / cid.hex()):
            manifest = _manifest_in(folder, cid)
            if manifest is not None and (folder / manifest.tokenizer).is_file():
                return manifest
        return None

    def descriptions(self) -> tuple[ModelManifest, ...]:
        """Every model that is described here and not whole."""
        names = sorted(path.name for path in self._descriptions.glob("*") if folders.is_id(path.name))
        found = (self.description(Cid(bytes.fromhex(name))) for name in names if not (self._models / name).is_dir())
        return tuple(manifest for manifest in found if manifest is not None)

    def blob_path(self, cid: Cid) -> Path:
        """The path of a fetched blob."""
        return self._blobs / cid.hex()

    def staged_path(self, model: Cid, path: str) -> Path:
        """The path at which a file of a model waits for the others."""
        return self._partial / f"model-{model.hex()}" / path

    def staged_description_path(self, model: Cid, path: str) -> Path:
        """The path at which a file of a description waits for the others."""
        return self._partial / f"description-{model.hex()}" / path

    def stage_description(self, manifest: ModelManifest) -> None:
        """Stage the files of a model that its description has; they were checked when they came."""
        staged = self.staged_path(manifest.cid, MANIFEST).parent
        folders.copy_into(self.folder(manifest.cid), (MANIFEST, manifest.tokenizer), staged)

    def keep_description(self, manifest: ModelManifest) -> None:
        """Have the description of a model beside it, before its weights are removed."""
        if _manifest_in(self._descriptions / manifest.cid.hex(), manifest.cid) is None:
            staged = self.staged_description_path(manifest.cid, MANIFEST).parent
            folders.copy_into(self.folder(manifest.cid), (MANIFEST, manifest.tokenizer), staged)
            self.adopt_description(manifest.cid)

    def adopt_model(self, model: Cid) -> None:
        """Move a model whose every file is staged to where models are; its description is part of it."""
        self._adopt(model, f"model-{model.hex()}", self._models)
        shutil.rmtree(self._descriptions / model.hex(), ignore_errors=True)

    def adopt_description(self, model: Cid) -> None:
        """Move a description whose files are staged to where descriptions are."""
        self._adopt(model, f"description-{model.hex()}", self._descriptions)

    def partial(self, cid: Cid) -> "Partial":
        """The part of some content that is here so far."""
        self._partial.mkdir(parents=True, exist_ok=True)
        return Partial(self._partial / cid.hex(), cid)

    def require_room_for_model(self, model: Cid, size: int) -> None:
        """Raises: StoreFull if the models would take more than their limit, or the disk would be full."""
        begun = folders.size_of(self._partial) - folders.size_of(self.staged_path(model, MANIFEST).parent)
        held = folders.size_of(self._models) + begun
        if held + size > self._models_limit:
            raise StoreFull(
                f"a model of {size} bytes beside {held} bytes of models: at most {self._models_limit} together"
                " (executor.models_limit)"
            )
        self.require_room(size)

    def sweep(self, now_s: float, fetched: Collection[Cid] = ()) -> None:
        """Remove what was begun and not gone on with; a fetch that broke off may go on until then.

        Args: fetched, models on their way: one large file may take longer than that.
        """
        busy = {f"model-{model.hex()}" for model in fetched}
        begun = [path for path in self._partial.glob("*") if path.name not in busy]
        for left in (*begun, *self._models.glob(ADDED + "*")):
            parts = [left, *left.rglob("*")]
            if left.name.startswith(folders.GONE) or all(
                folders.touched_s(part) < now_s - PARTIAL_KEPT_S for part in parts
            ):
                folders.discard(left)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes would not fill the disk."""
        self._partial.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self._partial).free >= size + SPARE_BYTES

    def require_room(self, size: int) -> None:
        """Raises: StoreFull if the disk would be full."""
        if not self.has_room(size):
            raise StoreFull(f"no room on the disk for {size} bytes")

    def _adopt(self, model: Cid, staged: str, root: Path) -> None:
        target = root / model.hex()
        folders.adopt(
            self._partial / staged, target, self._partial, is_whole=lambda: _manifest_in(target, model) is not None
        )

    def _index_models(self) -> None:
        roots = (root for root in (self._models, self._descriptions) if root.is_dir())
        found = {path for root in roots for path in root.iterdir()}
        self._model_files = {folder: files for folder, files in self._model_files.items() if folder in found}
        for folder in found - self._model_files.keys():
            try:
                manifest = read_manifest((folder / MANIFEST).read_bytes())
            except (OSError, RemoteProtocolError):
                continue
            self._model_files[folder] = {bytes(file.sha256): folder / file.path for file in manifest.files}


def _manifest_in(folder: Path, cid: Cid) -> ModelManifest | None:
    try:
        data = (folder / MANIFEST).read_bytes()
    except OSError:
        return None
    try:
        return read_manifest(data) if cid_of(data) == cid else None
    except RemoteProtocolError:
        return None
