"""The files of the project as a test of its shape reads them."""

from __future__ import annotations

import ast
import functools
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("protocol", "node", "p2p", "chain", "executor")


def tracked(*patterns: str) -> list[Path]:
    """The files git knows or would add, so that what a tool wrote is left out and what is new is not."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split("\0")
    return [path for name in sorted(set(names) - {""}) if (path := REPOSITORY / name).is_file()]


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def product_modules() -> list[Path]:
    return [path for path in tracked("*.py") if name_of(path).split("/")[0] in PACKAGES]
