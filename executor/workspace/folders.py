"""A job's own folder on this machine: its input in the clear, its result and its fingerprint.

Only the node's user may look inside. Opening a job's content puts `input.json` here; a run adds `result.json` and
`proof.bin`; a check of somebody else's result finds both JSON files here and adds `check.bin`. `run.json` says how the
run ended, so that asking for it twice gives one answer. While a container runs, its exchange is in `run/`.
"""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from executor.workspace.mounts import EXCHANGE, discard, discard_all, exchanges_below
from protocol.errors import ExecutorError

INPUT_JSON = "input.json"
RESULT_JSON = "result.json"
PROOF_BIN = "proof.bin"
CHECK_BIN = "check.bin"
RUN_JSON = "run.json"


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """What the disk refuses as a fault of this machine, which may pass. Raises: ExecutorError."""
    try:
        yield
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        raise ExecutorError(f"the disk of this machine: {error.strerror or error}{about}", transient=True) from error


class Workspace:
    """All calls block and raise OSError where the disk does."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @property
    def exchange(self) -> Path:
        """Where the container's directories are made."""
        return self.home / EXCHANGE

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
            # Half a file would only make a full disk fuller.
            partial.unlink(missing_ok=True)
            raise
        partial.rename(self.home / name)

    def get(self, name: str) -> bytes | None:
        """A file's bytes; None where there is none."""
        try:
            return (self.home / name).read_bytes()
        except FileNotFoundError:
            return None

    def discard(self) -> None:
        """Remove everything; does nothing if there is nothing. Raises ExecutorError too."""
        discard(self.exchange)
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
        """The workspace of a container that several jobs share; nothing of theirs stays in it."""
        return Workspace(self._root / "shared" / shared_id.hex())

    def sweep(self, in_use: Collection[Path] = ()) -> int:
        """Take down the exchanges that a crash left mounted; returns how many. Call it before anything runs.

        Args: in_use, the output directories that containers still write to: their exchanges stay.
        Raises: ExecutorError if one cannot be removed; the others are.
        """
        kept = {path.parent.resolve() for path in in_use}
        left = [path for path in exchanges_below(self._root) if path not in kept]
        discard_all(left)
        return len(left)

    def let_go(self, output: Path) -> None:
        """Remove the exchange of a container that was removed; `output` is the directory that it wrote to.

        Does nothing for a directory that is not in a workspace of this node. Raises: ExecutorError.
        """
        if output.resolve().parent in exchanges_below(self._root):
            discard(output.parent)
