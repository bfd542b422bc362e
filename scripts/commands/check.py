"""`scripts/check [--fix]`: what can be said about the code without running it.

Formatting and lint (ruff), types (mypy, strict), who may import whom (import-linter), and the format of the contracts
(forge fmt) when the node tools are there. The rules themselves stand in pyproject.toml and hardhat-local/foundry.toml.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from scripts.setup import node_tools, venv
from scripts.setup.cache import REPOSITORY, cache_directory
from scripts.setup.failure import report
from scripts.setup.session import Session


@dataclass(frozen=True)
class StaticCheck:
    """A command that is silent about good code; `fix` is the same tool asked to mend what it finds."""

    name: str
    command: tuple[str, ...]
    folder: Path = REPOSITORY
    fix: tuple[str, ...] | None = None


def _tool(name: str) -> str:
    return str(venv.VENV / "bin" / name)


def checks() -> list[StaticCheck]:
    """Those that this checkout can run; the slow ones first, so that two cores end together."""
    ruff = _tool("ruff")
    chosen = [
        # mypy looks at the content of a file whose time is another: a fresh clone is checked by what changed.
        StaticCheck("types", (_tool("mypy"), "--cache-dir", str(cache_directory() / "mypy"))),
        StaticCheck("imports", (_tool("lint-imports"),)),
        StaticCheck("lint", (ruff, "check", "--quiet"), fix=(ruff, "check", "--quiet", "--fix")),
        StaticCheck("format", (ruff, "format", "--check", "--quiet"), fix=(ruff, "format", "--quiet")),
    ]
    if (node_tools.FOLDER / "foundry.toml").is_file() and node_tools.forge().is_file():
        forge = str(node_tools.forge())
        chosen.append(StaticCheck("contract format", (forge, "fmt", "--check"), node_tools.FOLDER, fix=(forge, "fmt")))
    return chosen


def _run(check: StaticCheck, fix: bool) -> tuple[StaticCheck, bool, float, str]:
    started = time.monotonic()
    command = check.fix if fix and check.fix else check.command
    done = subprocess.run(
        command, cwd=check.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    return check, done.returncode == 0, time.monotonic() - started, done.stdout + done.stderr


def run(*, fix: bool = False, out: TextIO = sys.stdout) -> bool:
    """Run all checks, two at a time, and print one line for each. Returns: whether all passed."""
    # Fixes touch the same files, so they go one after the other.
    with ThreadPoolExecutor(1 if fix else os.cpu_count() or 1) as pool:
        results = []
        for check, passed, seconds, output in pool.map(lambda check: _run(check, fix), checks()):
            print(f"check {check.name} ... {'ok' if passed else 'FAILED'}, {seconds:.1f} s", file=out, flush=True)
            if not passed:
                print(output.rstrip(), file=out, flush=True)
            results.append(passed)
    return all(results)


def main() -> int:
    """Exit code: 0 all passed, 1 one failed, 4 set-up could not be done."""
    parser = argparse.ArgumentParser(prog="scripts/check", description=__doc__)
    parser.add_argument("--fix", action="store_true", help="let ruff and forge mend what they can")
    arguments = parser.parse_args()

    def body() -> int:
        with Session(["venv"]):
            return 0 if run(fix=arguments.fix) else 1

    return report(body)


if __name__ == "__main__":
    sys.exit(main())
