"""Folders of the content store: put in place whole, taken away whole, and measured while others change them."""

import math
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

GONE = "gone-"
"""Folders in `partial` whose content is being removed begin with this."""


def copy_into(source: Path, paths: Iterable[str], folder: Path) -> None:
    """Copy checked files that are not in a folder yet."""
    for path in paths:
        target = folder / path
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            # Under another name first: a staged file counts as checked, and half a copy is none.
            half = target.with_name(target.name + ".half")
            shutil.copyfile(source / path, half)
            half.rename(target)


def adopt(staged: Path, target: Path, partial: Path, *, is_whole: Callable[[], bool]) -> None:
    """Move a staged folder to its place, unless `is_whole` says that another node has put the same there meanwhile."""
    for path in (staged, *staged.rglob("*")):
        # The container that reads it runs as another user.
        path.chmod(0o755 if path.is_dir() else 0o644)
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_whole():
        shutil.rmtree(staged)
        return
    if target.exists():
        discard(set_aside(target, partial))
    staged.rename(target)


def set_aside(folder: Path, partial: Path) -> Path:
    """Take a folder from where it is found, all at once. Returns: where `discard` finds it, or else the sweep."""
    partial.mkdir(parents=True, exist_ok=True)
    return folder.rename(partial / (GONE + secrets.token_hex(8)))


def discard(aside: Path) -> None:
    """Remove a file, or a folder with its bytes. A link goes alone: what it names is not of the store."""
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        with suppress(OSError):
            aside.unlink()


def touched_s(path: Path) -> float:
    """When it was written last; without end for what another fetch has just moved to its place."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def is_id(name: str) -> bool:
    """Whether a name in the store is that of a content: the 64 digits of its hash."""
    return len(name) == 64 and not name.strip("0123456789abcdef")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 for what is not there."""
    if not path.is_dir():
        return _bytes_of(path)
    return sum(_bytes_of(each) for each in path.rglob("*"))


def _bytes_of(path: Path) -> int:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
