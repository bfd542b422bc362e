"""Statements about the libraries, started by scripts/prove: halmos proves each for all inputs, or shows one that fails.

A statement is a function of this folder's contracts whose name begins with `prove_`; they are found, not listed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.setup import analysers, node_tools
from scripts.solc import TOOLS

FOLDER = Path(__file__).parent
# Holds a false statement, for a test.
PLANTED = "Planted"
# Longer than the longest loop of a statement, and than a solver needs for any of them on a busy machine.
MOST_ROUNDS = 64
SOLVER_MS = 240_000
LIMIT_S = 840
_LINE = re.compile(r"\[(\w+)\] (prove_\w+)\(.*?time: ([\d.]+)s")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Statement:
    """One that was looked at; `seconds`: how long it took; `words`: what halmos said of its contract."""

    name: str
    holds: bool
    seconds: float
    words: str = ""


def contracts() -> list[str]:
    """Every contract with statements."""
    return sorted(path.stem for path in FOLDER.glob("*.sol") if stated(path) and path.stem != PLANTED)


def stated(path: Path) -> list[str]:
    """The statements of one file."""
    return re.findall(r"function (prove_\w+)\(", path.read_text("utf-8"))


def prove(names: Sequence[str]) -> list[Statement]:
    """Raises: RuntimeError if halmos proved fewer statements than there are."""
    found: list[Statement] = []
    for name in names:
        proved = _halmos(name)
        missing = set(stated(FOLDER / f"{name}.sol")) - {each.name for each in proved}
        if missing:
            raise RuntimeError(f"{name}: halmos said nothing of {', '.join(sorted(missing))}:\n{proved[0].words}")
        found += proved
    return found


def _halmos(contract: str) -> list[Statement]:
    options = ["--root", ".", "--forge-build-out", "out-symbolic", "--contract", contract, "--function", "prove_"]
    options += ["--loop", str(MOST_ROUNDS), "--solver-timeout-assertion", str(SOLVER_MS), "--no-status"]
    # halmos builds with the forge that it finds; the one of npm says that all is well when it is not. It looks for its
    # solver in an activated environment before its own.
    halmos = analysers.tool("halmos")
    path = f"{node_tools.forge().parent}:{halmos.parent}:{os.environ.get('PATH', '')}"
    done = subprocess.run(
        [str(halmos), *options],
        cwd=TOOLS,
        env={**os.environ, "FOUNDRY_PROFILE": "symbolic", "PATH": path},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    words = _COLOUR.sub("", done.stdout + done.stderr)
    found = [Statement(name, said == "PASS", float(taken), words) for said, name, taken in _LINE.findall(words)]
    if not found:
        raise RuntimeError(f"halmos looked at nothing in {contract}:\n{words[-3000:]}")
    return found


def main() -> int:
    """Exit code: 0 all hold, 1 one does not."""
    parser = argparse.ArgumentParser(prog="scripts/prove symbolic", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CONTRACT", help=", ".join(contracts()))
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(contracts()):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    started = time.monotonic()
    try:
        found = prove(arguments.names or contracts())
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for each in found:
        name = each.name.removeprefix("prove_").replace("_", " ")
        print(f"{'holds' if each.holds else 'FAILS'} {each.seconds:6.2f} s  {name}")
    for words in dict.fromkeys(each.words for each in found if not each.holds):
        print(words)
    failed = sum(not each.holds for each in found)
    print(f"total: {len(found) - failed} of {len(found)} hold, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
