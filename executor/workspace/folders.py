"""A job's folder on this machine, which only the node's user may read: input in the clear, result and fingerprint.

`input.json` comes when the node opens the job's content. A run adds `result.json` and `proof.bin`; a check needs both
JSON files and adds `check.bin`. `run.json` says how the run ended, so that a second request gives the same answer.
While a container runs, its IO volume is in `run/`. `stop_order.bin` is the signature of a stop order that this node has
verified: of a job that is to end at its next token, or of a leaf whose answer may end early.
"""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from executor.workspace.mounts import VOLUME, discard, discard_all, volumes_below
from protocol.errors import ExecutorError

INPUT_JSON = "input.json"
RESULT_JSON = "result.json"
FINGERPRINT_BIN = "proof.bin"
CHECK_BIN = "check.bin"
RUN_JSON = "run.json"
STOP_ORDER_BIN = "stop_order.bin"


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Turn an OSError into an ExecutorError of this machine that may pass."""
    try:
        yield
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        raise ExecutorError(f"the disk of this machine: {error.strerror or error}{about}", transient=True) from error


class Workspace:
    """The folder of one job. All calls block and raise OSError if the disk does."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @property
    def volume(self) -> Path:
        """The IO volume of its container, while one runs."""
        return self.home / VOLUME

    def put(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all; it is on the disk when this returns."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self.home / (name + ".partial")
        try:
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            # Remove the partial file: the disk is full.
            partial.unlink(missing_ok=True)
            raise
        partial.rename(self.home / name)

    def get(self, name: str) -> bytes | None:
        """The bytes of a file; None if there is none."""
        try:
            return (self.home / name).read_bytes()
        except FileNotFoundError:
            return None

    def discard(self) -> None:
        """Remove everything; does nothing if there is nothing. Raises: ExecutorError too."""
        discard(self.volume)
        shutil.rmtree(self.home, ignore_errors=True)


class Workspaces:
    """All workspaces of a node, under one root."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def of_job(self, job_id: bytes) -> Workspace:
        """The workspace of a job that this node runs."""
        return Workspace(self._root / "jobs" / job_id.hex())

    def of_sample(self, batch_id: bytes, leaf_index: int) -> Workspace:
        """The workspace of a drawn leaf that this node checks."""
        return Workspace(self._root / "samples" / f"{batch_id.hex()}-{leaf_index}")

    def of_shared(self, shared_id: bytes) -> Workspace:
        """The workspace of a container that several jobs share; none of their files stays in it."""
        return Workspace(self._root / "shared" / shared_id.hex())

    @property
    def engine_use(self) -> Path:
        """The note of how often each engine was asked for."""
        return self._root / "engine-use.json"

    def sweep(self, in_use: Collection[Path] = ()) -> int:
        """Remove the volumes that a crash left mounted; returns how many. Call it before anything runs.

        Args: in_use, the output directories that containers still write to: their volumes stay.
        Raises: ExecutorError if one cannot be removed; the others are.
        """
        kept = {path.parent.resolve() for path in in_use}
        left = [path for path in volumes_below(self._root) if path not in kept]
        discard_all(left)
        return len(left)

    def let_go(self, output: Path) -> None:
        """Remove the volume of a container that was removed; `output` is the directory that it wrote to.

        Does nothing for a directory that is not in a workspace of this node. Raises: ExecutorError.
        """
        if output.resolve().parent in volumes_below(self._root):
            discard(output.parent)
