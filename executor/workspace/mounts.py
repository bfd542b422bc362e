"""Mounts and loop devices of IO volumes: found and removed, also those that a killed process left."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from protocol.errors import ExecutorError

MOUNTINFO = Path("/proc/self/mountinfo")
VOLUME, OUTPUT_DIR, OUTPUT_IMAGE = "run", "output", "output.img"


def mounts_below(folder: Path) -> list[Path]:
    """Mount points at or below a directory, the latest first; none on a system without /proc."""
    root = folder.resolve()
    return [point for point, _ in reversed(_mounted()) if point.is_relative_to(root)]


def volumes_below(folder: Path) -> list[Path]:
    """Volumes of all workspaces below `folder`, also those whose files were deleted while they were mounted."""
    root = folder.resolve()
    mounted = {
        point.parent
        for point, source in _mounted()
        if point.is_relative_to(root)
        and (point.parent.name, point.name) == (VOLUME, OUTPUT_DIR)
        and source.startswith("/dev/loop")
    }
    return sorted(mounted | {path for path in root.glob(f"*/*/{VOLUME}") if path.is_dir()})


def discard(home: Path) -> None:
    """Remove a volume, mounted or not; does nothing if there is none. Raises: ExecutorError."""
    if not home.exists():
        return
    try:
        for point in mounts_below(home):
            _unmount(point)
        _detach(home / OUTPUT_IMAGE)
        shutil.rmtree(home)
    except (OSError, subprocess.CalledProcessError) as error:
        if home.exists():
            fix = f"umount {home / OUTPUT_DIR} as root, then remove {home}"
            raise ExecutorError(f"cannot remove {home}: {reason(error)}; {fix}", transient=True) from error


def discard_all(homes: Sequence[Path]) -> None:
    """Remove each of these volumes. Raises: the first ExecutorError, after all were tried."""
    failed = []
    for home in homes:
        try:
            discard(home)
        except ExecutorError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def run(*command: str) -> str:
    """Run a program of the system. Returns: its stdout. Raises: CalledProcessError, OSError."""
    return subprocess.run(command, check=True, capture_output=True).stdout.decode(errors="replace")


def reason(error: OSError | subprocess.CalledProcessError) -> str:
    """Why the system refused, in its own words."""
    if isinstance(error, subprocess.CalledProcessError):
        return bytes(error.stderr).decode(errors="replace").strip()[-200:]
    return error.strerror or str(error)


def _mounted() -> list[tuple[Path, str]]:
    """Mount point and source of every mount that this process sees, oldest first."""
    try:
        lines = MOUNTINFO.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    split = (line.partition(" - ") for line in lines)
    return [(Path(_unescaped(left.split(" ")[4])), right.split(" ")[1]) for left, _, right in split]


def _unescaped(text: str) -> str:
    """The kernel writes blanks, tabs, newlines and backslashes of a path as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _unmount(point: Path) -> None:
    """Unmount; a mount that is still in use is detached now and freed when its last user ends."""
    try:
        run("umount", str(point))
    except subprocess.CalledProcessError:
        if point not in mounts_below(point):
            # Another process was faster.
            return
        run("umount", "--lazy", str(point))


def _detach(image: Path) -> None:
    """Detach loop devices that still hold an image file, which a kill between their setup and the mount leaves."""
    if os.geteuid() != 0 or not image.exists():
        return
    for device in run("losetup", "--noheadings", "--output", "NAME", "--associated", str(image)).split():
        # One in use frees itself with its last user: see `_unmount`.
        subprocess.run(["losetup", "--detach", device], check=False, capture_output=True)
