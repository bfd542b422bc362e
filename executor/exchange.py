"""The two directories that a container shares with the host, and how what it wrote is read without trusting it.

<home>/input/        written by us, mounted read-only
<home>/output/       written by the job; a small filesystem of its own where we are root, so that a job cannot
<home>/output.img    fill the disk. Elsewhere only the size of a single file is limited.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from executor.sandbox import INPUT, OUTPUT, Limits, Mount
from protocol.errors import ExecutorError

READ_BLOCK = 1 << 20
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 256 * 1024


class HostileOutput(ExecutorError):
    """The job left something that no honest runner writes: a link, a device, too many files."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    path: str
    size: int
    sha256: bytes


class Exchange:
    """Made on entry, gone on exit. All calls block."""

    def __init__(self, home: Path, limits: Limits) -> None:
        self._home = home
        self._limits = limits

    @property
    def input(self) -> Path:
        return self._home / "input"

    @property
    def output(self) -> Path:
        return self._home / "output"

    @property
    def mounts(self) -> tuple[Mount, ...]:
        return Mount(str(self.input), INPUT), Mount(str(self.output), OUTPUT, read_only=False)

    def __enter__(self) -> Self:
        # A crash may have left one behind, and its job is now run again from the start.
        discard(self._home)
        try:
            self.input.mkdir(parents=True)
            # Whoever starts us may have a umask that shuts the worker out.
            self.input.chmod(0o755)
            self.output.mkdir()
            if os.geteuid() == 0:
                self._mount_quota()
            else:
                self.output.chmod(0o777)
        except (OSError, subprocess.CalledProcessError) as error:
            discard(self._home)
            raise ExecutorError(
                f"cannot prepare the directories of a container: {_reason(error)}", transient=True
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        discard(self._home)

    def put(self, name: str, content: bytes | Path) -> dict[str, object]:
        """Write an input, or copy a file there; returns its entry for spec.json."""
        target = self.input / name
        if isinstance(content, Path):
            shutil.copyfile(content, target)
        else:
            target.write_bytes(content)
        target.chmod(0o644)
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"path": name, "sha256": digest, "size": target.stat().st_size}

    def read(self, name: str, limit: int) -> bytes | None:
        """An output's bytes; None where there is none. Raises HostileOutput, also if it is over `limit` bytes."""
        try:
            with os.fdopen(_open(self.output, name), "rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
        if len(data) > limit:
            raise HostileOutput(f"output {name} is over {limit} bytes")
        return data

    def collect(self, target: Path, wanted: Collection[str]) -> dict[str, OutputFile]:
        """Copy the outputs that manifest.json lists, each hashed again by us; what it does not list stays behind.

        Returns: them by name. Raises: HostileOutput if anything is over its cap, is no plain file, is not what the
        manifest says, or if one of `wanted` is not among them.
        """
        found = set(self._walk(self.output, ""))
        if sum((self.output / name).lstat().st_size for name in found) > self._limits.output_bytes:
            raise HostileOutput(f"the outputs are over {self._limits.output_bytes} bytes")
        listed = self._listed()
        if missing := [name for name in wanted if name not in listed]:
            raise HostileOutput(f"{MANIFEST} does not list {missing[0]}")
        if strange := [name for name in listed if name not in found]:
            raise HostileOutput(f"{MANIFEST} lists {strange[0]!r}, which is no output")
        for name, claim in listed.items():
            if self._copy(name, target / name) != claim:
                raise HostileOutput(f"output {name} is not what {MANIFEST} says")
        return listed

    def _listed(self) -> dict[str, OutputFile]:
        raw = self.read(MANIFEST, MAX_MANIFEST_BYTES)
        try:
            entries = json.loads(raw or b"")["files"]
            files = [OutputFile(str(e["path"]), int(e["size"]), bytes.fromhex(e["sha256"])) for e in entries]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise HostileOutput(f"{MANIFEST} is missing or not what a runner writes") from error
        return {file.path: file for file in files}

    def _copy(self, name: str, target: Path) -> OutputFile:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        digest, size = hashlib.sha256(), 0
        with os.fdopen(_open(self.output, name), "rb") as source, partial.open("wb") as copy:
            while block := source.read(READ_BLOCK):
                digest.update(block)
                size += len(block)
                copy.write(block)
        partial.rename(target)
        return OutputFile(name, size, digest.digest())

    def _walk(self, folder: Path, prefix: str) -> Iterator[str]:
        seen = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                seen += 1
                if seen > self._limits.output_files:
                    raise HostileOutput(f"more than {self._limits.output_files} outputs")
                if entry.is_dir(follow_symlinks=False):
                    # One level is all that a runner needs, and a deep tree is a trap.
                    if prefix:
                        raise HostileOutput(f"output {prefix}{entry.name} is nested too deep")
                    yield from self._walk(folder / entry.name, entry.name + "/")
                else:
                    yield prefix + entry.name

    def _mount_quota(self) -> None:
        image = self._home / "output.img"
        with image.open("wb") as file:
            file.truncate(self._limits.output_bytes + self._limits.output_bytes // 8 + (2 << 20))
        owner = "root_owner=1000:1000,lazy_itable_init=1"
        inodes = str(self._limits.output_files + 64)
        _run("mkfs.ext4", "-q", "-F", "-m0", "-N", inodes, "-E", owner, "-O", "^has_journal", str(image))
        _run("mount", "-o", "loop,nosuid,nodev,noexec", str(image), str(self.output))
        (self.output / "lost+found").rmdir()


def discard(home: Path) -> None:
    """Remove an exchange, mounted or not; does nothing if there is none. Raises ExecutorError."""
    output = home / "output"
    if os.path.ismount(output):
        try:
            _run("umount", str(output))
        except subprocess.CalledProcessError:
            # Something still looks into it; let go of it now and of the disk space when that has ended.
            _run("umount", "--lazy", str(output))
    try:
        shutil.rmtree(home)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ExecutorError(
            f"cannot remove the directories of a container: {_reason(error)}", transient=True
        ) from error


def _open(root: Path, name: str) -> int:
    """Open a plain file of a hostile directory, following no link. Raises HostileOutput, FileNotFoundError."""
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
    # A second hard link would let the job change what we have already hashed under another name.
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(handle)
        raise HostileOutput(f"output {name} is no plain file")
    return handle


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _reason(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return bytes(error.stderr).decode(errors="replace").strip()[-200:]
    return error.strerror or str(error)
