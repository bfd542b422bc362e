"""Reads the outputs of a job without trust: follows no link, and counts before it reads."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from executor.containers.sandbox import Limits
from protocol.errors import ExecutorError

READ_BLOCK = 1 << 20
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 256 * 1024


class HostileOutput(ExecutorError):
    """The job left a file that no honest runner writes: a link, a device, too many files."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    path: str
    size: int
    sha256: bytes


class Outputs:
    """The output directory of a container that has ended. All calls block."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._limits = limits

    def read(self, name: str, limit: int) -> bytes | None:
        """The bytes of an output; None if there is none. Raises: HostileOutput, also for more than `limit` bytes."""
        try:
            with os.fdopen(_open(self._root, name), "rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
        if len(data) > limit:
            raise HostileOutput(f"output {name} is over {limit} bytes")
        return data

    def take(self, name: str, target: Path, limit: int) -> None:
        """Copy an output that a container, which may go on, reported complete. Raises: HostileOutput.

        From then on only the copy counts: its reader checks it as a whole.
        """
        data = self.read(name, limit)
        if data is None:
            raise HostileOutput(f"there is no output {name}")
        partial = target.with_name(target.name + ".partial")
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(target)

    def collect(self, target: Path, wanted: Collection[str]) -> dict[str, OutputFile]:
        """Copy the wanted outputs that manifest.json lists, and check their hashes.

        Args: wanted, names; a name that ends in / stands for all files listed below it. Other outputs are not copied:
        one could carry the name of a file of this node.
        Returns: the copied files, by name. Raises: HostileOutput if an output is over its limit, is no plain file, is
        not as the manifest says, or if a wanted one is not listed.
        """
        found = self._found()
        listed = self._listed()
        chosen = {}
        for want in wanted:
            names = [name for name in listed if name == want or (want.endswith("/") and name.startswith(want))]
            if not names:
                raise HostileOutput(f"{MANIFEST} does not list {want}")
            chosen.update({name: listed[name] for name in names})
        copies: list[tuple[Path, Path]] = []
        try:
            for name, claim in chosen.items():
                if name not in found:
                    raise HostileOutput(f"{MANIFEST} lists {name!r}, which is no output")
                partial = target / (name + ".partial")
                copies.append((partial, target / name))
                if self._copy(name, partial) != claim:
                    raise HostileOutput(f"output {name} is not what {MANIFEST} says")
            # Rename all at the end: a file under its own name in `target` counts as checked.
            for partial, final in copies:
                partial.rename(final)
        finally:
            for partial, _ in copies:
                partial.unlink(missing_ok=True)
        return chosen

    def is_full(self) -> bool:
        """Whether the job has filled its output filesystem; only for a volume that has one."""
        room = os.statvfs(self._root)
        # ext4 keeps some blocks, so the last one is never used.
        return (room.f_blocks - room.f_bfree) * room.f_frsize >= self._limits.output_bytes or not room.f_favail

    def _found(self) -> set[str]:
        found, size = set(), 0
        for name in self._walk(self._root, ""):
            found.add(name)
            size += (self._root / name).lstat().st_size
            if len(found) > self._limits.output_files or size > self._limits.output_bytes:
                raise HostileOutput("the outputs are over their limit")
        return found

    def _listed(self) -> dict[str, OutputFile]:
        raw = self.read(MANIFEST, MAX_MANIFEST_BYTES)
        try:
            entries = json.loads(raw or b"")["files"]
            files = [OutputFile(str(e["path"]), int(e["size"]), bytes.fromhex(e["sha256"])) for e in entries]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise HostileOutput(f"{MANIFEST} is missing or not what a runner writes") from error
        return {file.path: file for file in files}

    def _copy(self, name: str, target: Path) -> OutputFile:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with os.fdopen(_open(self._root, name), "rb") as source, target.open("wb") as copy:
            while block := source.read(READ_BLOCK):
                digest.update(block)
                size += len(block)
                copy.write(block)
            # The copy must be on the disk before the job counts as done.
            copy.flush()
            os.fsync(copy.fileno())
        return OutputFile(name, size, digest.digest())

    def _walk(self, folder: Path, prefix: str) -> Iterator[str]:
        seen = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                seen += 1
                if seen > self._limits.output_files:
                    raise HostileOutput(f"more than {self._limits.output_files} outputs")
                if entry.is_dir(follow_symlinks=False):
                    # A runner needs one level; a deep tree is an attack.
                    if prefix:
                        raise HostileOutput(f"output {prefix}{entry.name} is nested too deep")
                    yield from self._walk(folder / entry.name, entry.name + "/")
                else:
                    yield prefix + entry.name


def _open(root: Path, name: str) -> int:
    """Open a plain file of a hostile directory; follow no link. Raises: HostileOutput, FileNotFoundError."""
    parts = name.split("/")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    folder = os.open(root, flags | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        handle = os.open(parts[-1], flags, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        raise HostileOutput(f"output {name} is no plain file") from error
    finally:
        os.close(folder)
    found = os.fstat(handle)
    # Through a second hard link the job could change a file that is hashed already.
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(handle)
        raise HostileOutput(f"output {name} is no plain file")
    return handle
