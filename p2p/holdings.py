"""The models of a content store as their owner sees them: state, size, last use, pins; and their removal.

<store>/care/<manifest hex>.pin     the operator keeps it
<store>/care/<manifest hex>.used    its time of change is the last use
<store>/care/<manifest hex>.lock    locked by each process that needs the model; freed by the kernel if one is killed
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from p2p.folders import discard, is_id, set_aside, size_of
from p2p.store import MANIFEST, ContentStore
from protocol.errors import P2PError
from protocol.stages.blob import ModelManifest
from protocol.wire.ids import Cid


class HoldingState(StrEnum):
    """How much of a model is here."""

    WHOLE = "whole"
    DESCRIBED = "description"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class Holding:
    """A model in the store. `used_s`: its last use, in seconds since 1970, or else when it came."""

    manifest: ModelManifest
    state: HoldingState
    held_bytes: int
    weights_bytes: int
    """What its removal frees if its description stays."""
    used_s: float
    is_pinned: bool


class ModelInUse(P2PError):
    """Another process of this machine needs the model, or fetches it."""


class ModelHoldings:
    """All models of a store. Every call blocks: use a thread."""

    def __init__(self, root: Path) -> None:
        self._store = ContentStore(root)
        self._models, self._descriptions = root / "models", root / "descriptions"
        self._partial, self._care = root / "partial", root / "care"

    def all(self) -> tuple[Holding, ...]:
        """Every model of which anything is here, by name."""
        names = {path.name for root in (self._models, self._descriptions) for path in root.glob("*")}
        names |= {path.name.removeprefix("model-") for path in self._partial.glob("model-*")}
        found = (self.find(Cid(bytes.fromhex(name))) for name in sorted(names) if is_id(name))
        return tuple(sorted((each for each in found if each), key=lambda each: (each.manifest.name, each.manifest.cid)))

    def find(self, cid: Cid) -> Holding | None:
        """One model; None if nothing is here that says what it is."""
        begun = self._partial / f"model-{cid.hex()}"
        manifest = self._store.manifest(cid)
        if manifest is None:
            return None
        whole, described = size_of(self._models / cid.hex()), size_of(self._descriptions / cid.hex())
        partial = size_of(begun) + sum(size_of(self._partial / each.hex()) for each in _contents(manifest))
        if self._store.model(cid) is not None:
            state = HoldingState.WHOLE
        else:
            state = HoldingState.PARTIAL if begun.is_dir() else HoldingState.DESCRIBED
        kept = len(manifest.encode()) + sum(each.size for each in manifest.files if each.path == manifest.tokenizer)
        return Holding(
            manifest=manifest,
            state=state,
            held_bytes=whole + described + partial,
            weights_bytes=max(whole - kept, 0) + partial,
            used_s=self._used_s(cid),
            is_pinned=self._mark(cid, "pin").exists(),
        )

    def is_whole(self, cid: Cid) -> bool:
        """Whether a model is complete here."""
        return self._store.model(cid) is not None

    def total_bytes(self) -> int:
        """All bytes of models, whole, described and partial."""
        return sum(size_of(folder) for folder in (self._models, self._descriptions, self._partial))

    def pin(self, cid: Cid, *, is_pinned: bool) -> None:
        """Keep a model from being evicted, or no longer."""
        if is_pinned:
            self._care.mkdir(parents=True, exist_ok=True)
            self._mark(cid, "pin").touch()
        else:
            self._mark(cid, "pin").unlink(missing_ok=True)

    def touch(self, cid: Cid, now_s: float) -> None:
        """A model was used."""
        self._care.mkdir(parents=True, exist_ok=True)
        mark = self._mark(cid, "used")
        mark.touch()
        os.utime(mark, (now_s, now_s))

    def hold(self, cid: Cid) -> int:
        """Keep every process from removing a model. Returns: a file descriptor; closing it ends that."""
        descriptor = self._open_lock(cid)
        # One that removes the model holds its own lock for as long as a folder takes to be renamed.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def retire(self, cid: Cid, *, keep_description: bool) -> None:
        """Remove a model, or all of it but its description; a crash leaves either all or nothing of it in its place.

        Raises: ModelInUse, and nothing is removed.
        """
        manifest = self._store.manifest(cid)
        with self._alone(cid), self._no_fetch(manifest):
            if keep_description and self._mark(cid, "pin").exists():
                # Pinned after the eviction was planned.
                raise ModelInUse("it is pinned")
            if keep_description and manifest is not None:
                self._store.keep_description(manifest)
            gone = [self._models / cid.hex()]
            gone += [self._partial / f"{kind}-{cid.hex()}" for kind in ("model", "description")]
            if not keep_description:
                gone.append(self._descriptions / cid.hex())
                for mark in ("pin", "used"):
                    self._mark(cid, mark).unlink(missing_ok=True)
            away = [set_aside(folder, self._partial) for folder in gone if folder.exists()]
            for content in _contents(manifest) if manifest else ():
                (self._partial / content.hex()).unlink(missing_ok=True)
        for folder in away:
            discard(folder)

    def _used_s(self, cid: Cid) -> float:
        for mark in (self._mark(cid, "used"), self._store.folder(cid) / MANIFEST):
            try:
                return mark.stat().st_mtime
            except FileNotFoundError:
                continue
        return 0.0

    @contextmanager
    def _alone(self, cid: Cid) -> Iterator[None]:
        descriptor = self._open_lock(cid)
        try:
            _lock_or_refuse(descriptor, "a job or a check on this machine needs it")
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _no_fetch(self, manifest: ModelManifest | None) -> Iterator[None]:
        """Hold the partial files of a model, so that no fetch goes on with one that is removed."""
        held: list[int] = []
        try:
            for content in _contents(manifest) if manifest else ():
                path = self._partial / content.hex()
                if path.exists():
                    held.append(os.open(path, os.O_RDWR))
                    _lock_or_refuse(held[-1], "it is being fetched")
            yield
        finally:
            for descriptor in held:
                os.close(descriptor)

    def _open_lock(self, cid: Cid) -> int:
        self._care.mkdir(parents=True, exist_ok=True)
        return os.open(self._mark(cid, "lock"), os.O_CREAT | os.O_RDWR, 0o600)

    def _mark(self, cid: Cid, what: str) -> Path:
        return self._care / f"{cid.hex()}.{what}"


def _lock_or_refuse(descriptor: int, reason: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ModelInUse(reason, transient=True) from error


def _contents(manifest: ModelManifest) -> set[Cid]:
    return {file.sha256 for file in manifest.files}
