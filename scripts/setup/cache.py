"""The cache of set-up, and the keys that say whether a result is still good."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def cache_directory() -> Path:
    """`VCOIN_CACHE`, or `~/.cache/vcoin`; absolute, and made if it is missing."""
    path = Path(os.environ.get("VCOIN_CACHE") or "~/.cache/vcoin").expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def content_key(*parts: str | bytes | Path) -> str:
    """A short hash of everything a step depends on; a path counts with its content, a folder with all its files."""
    total = hashlib.sha256()
    for part in parts:
        for chunk in _chunks(part):
            total.update(len(chunk).to_bytes(8, "big"))
            total.update(chunk)
    return total.hexdigest()[:24]


def _chunks(part: str | bytes | Path) -> Iterator[bytes]:
    if isinstance(part, bytes):
        yield part
    elif isinstance(part, str):
        yield part.encode()
    elif part.is_dir():
        for file in sorted(p for p in part.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
            yield file.relative_to(part).as_posix().encode()
            yield file.read_bytes()
    else:
        yield part.read_bytes()


class Stamp:
    """The key a result was made with, kept inside the result: to delete the result deletes the stamp."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".vcoin-key"

    def matches(self, key: str) -> bool:
        try:
            return self._path.read_text().strip() == key
        except OSError:
            return False

    def write(self, key: str) -> None:
        self._path.write_text(key + "\n")

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
