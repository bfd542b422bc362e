"""The two directories that a container shares with the host: it reads `input` and writes `output`.

If the node runs as root, `output` is a small filesystem in the file `output.img`, so that a job cannot fill the disk.
If not, only the size of a single file is limited.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from executor.containers.sandbox import INPUT, OUTPUT, Limits, Mount
from executor.workspace.mounts import OUTPUT_DIR, OUTPUT_IMAGE, discard, reason, run
from executor.workspace.outputs import Outputs
from protocol.errors import ExecutorError


class IoVolume:
    """Made on entry, removed on exit. All calls block."""

    def __init__(self, home: Path, limits: Limits) -> None:
        self._home = home
        self._limits = limits
        self._adopted = False

    def adopt(self) -> bool:
        """Keep what is here on entry. Returns: False if no container can still write here, and entry makes it anew."""
        whole = os.path.ismount(self.output) if os.geteuid() == 0 else self.output.is_dir()
        self._adopted = whole and self.input.is_dir()
        return self._adopted

    @property
    def input(self) -> Path:
        return self._home / "input"

    @property
    def output(self) -> Path:
        return self._home / OUTPUT_DIR

    @property
    def outputs(self) -> Outputs:
        """The outputs of the job, to be read when its container has ended."""
        return Outputs(self.output, self._limits)

    @property
    def mounts(self) -> tuple[Mount, ...]:
        return Mount(str(self.input), INPUT), Mount(str(self.output), OUTPUT, read_only=False)

    @property
    def is_full(self) -> bool:
        """Whether the job has used up its output filesystem; False if it has none of its own."""
        return os.path.ismount(self.output) and self.outputs.is_full()

    def __enter__(self) -> Self:
        if self._adopted:
            return self
        # A crash may have left a volume, and the job now runs again from its start.
        discard(self._home)
        try:
            self.input.mkdir(parents=True)
            # The umask of this process may shut the worker out.
            self.input.chmod(0o755)
            self.output.mkdir()
            if os.geteuid() == 0:
                self._mount_quota()
            else:
                self.output.chmod(0o777)
        except (OSError, subprocess.CalledProcessError) as error:
            discard(self._home)
            raise ExecutorError(
                f"cannot prepare the directories of a container: {reason(error)}", transient=True
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        discard(self._home)

    def put(self, name: str, content: bytes | Path) -> None:
        """Write an input, or copy a file there. Raises: OSError."""
        target = self.input / name
        if isinstance(content, Path):
            shutil.copyfile(content, target)
        else:
            target.write_bytes(content)
        target.chmod(0o644)

    def forget(self, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        """Remove files of a job that has ended; those that are not there are no matter. Raises: OSError."""
        paths = (*(self.input / name for name in inputs), *(self.output / name for name in outputs))
        for path in paths:
            # A link that the container has put there goes by itself; what it points to stays.
            path.unlink(missing_ok=True)

    def _mount_quota(self) -> None:
        image = self._home / OUTPUT_IMAGE
        with image.open("wb") as file:
            # Reserve the space now: on a full disk the kernel would lose data that the job wrote, and an honest result
            # would look forged. For the same reason mkfs must not discard it.
            os.posix_fallocate(file.fileno(), 0, self._limits.output_bytes + self._limits.output_bytes // 8 + (2 << 20))
        owner = "root_owner=1000:1000,lazy_itable_init=1,nodiscard"
        inodes = str(self._limits.output_files + 64)
        run("mkfs.ext4", "-q", "-F", "-m0", "-N", inodes, "-E", owner, "-O", "^has_journal", str(image))
        run("mount", "-o", "loop,nosuid,nodev,noexec", str(image), str(self.output))
        (self.output / "lost+found").rmdir()


def entry(name: str, content: bytes | Path) -> dict[str, object]:
    """The entry of an input in spec.json. Raises: OSError."""
    if isinstance(content, bytes):
        return {"path": name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    with content.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"path": name, "sha256": digest, "size": file.tell()}
