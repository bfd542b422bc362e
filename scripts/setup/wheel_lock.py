"""The locks of an image's wheels: resolved by uv for the image's Python, with the hash and the size of each wheel."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from executor.image_weight import PinnedWheel
from scripts.setup.step import Workbench
from scripts.setup.venv import environment, uv

PYTHON, PLATFORM = "3.13", "x86_64-manylinux_2_40"
HEAD = """\
# What the image for cards takes from PyPI, for CPython 3.13 on x86-64. `./scripts/image lock` writes it from {source};
# pip refuses any other file. The sizes say what a build fetches before it begins.
"""


def resolve(bench: Workbench, requirements: Path, *options: str | Path) -> tuple[PinnedWheel, ...]:
    """The wheels that PyPI has for some requirements, nothing installed. Raises: StepFailed if one cannot be had."""
    with tempfile.TemporaryDirectory(prefix="vcoin-lock-") as folder:
        # The name by which uv knows the form that tells sizes.
        made = Path(folder) / "pylock.toml"
        command = (uv(bench), "pip", "compile", requirements, *options, "-q", "--no-header", "--only-binary", ":all:")
        bench.run(*command, "--python-version", PYTHON, "--python-platform", PLATFORM, "-o", made, env=environment())
        packages = tomllib.loads(made.read_text())["packages"]
    return tuple(
        PinnedWheel(
            each["name"],
            each["version"],
            tuple(sorted(wheel["hashes"]["sha256"] for wheel in each["wheels"])),
            max(int(wheel["size"]) for wheel in each["wheels"]),
        )
        for each in packages
    )


def lock_text(source: str, found: Sequence[PinnedWheel]) -> str:
    """The text of a lock that pip and executor/image_weight.py read."""
    lines = [
        f"{wheel.name}=={wheel.version}{''.join(f' --hash=sha256:{digest}' for digest in wheel.hashes)}"
        f"  # {wheel.size_bytes} bytes\n"
        for wheel in sorted(found, key=lambda wheel: wheel.name)
    ]
    return HEAD.format(source=source) + "".join(lines)


def write(bench: Workbench, folder: Path) -> None:
    """Write requirements.lock, then toolkit.lock with the same versions of what both take."""
    found = resolve(bench, folder / "requirements.in")
    (folder / "requirements.lock").write_text(lock_text("requirements.in", found))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.write("".join(f"{wheel.name}=={wheel.version}\n" for wheel in found))
        pins.flush()
        toolkit = resolve(bench, folder / "toolkit.in", "--constraint", pins.name)
    (folder / "toolkit.lock").write_text(lock_text("toolkit.in", toolkit))
