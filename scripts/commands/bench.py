"""`scripts/bench [NAME...] [--json]`: measure, and print a table or one JSON object a line.

A benchmark is a file of tests/benchmarks with a function `run`; NAME is a file's name or the start of one of its keys.
Each runs by itself in a session with what its `NEEDS` names. It reports and never fails on a missed goal.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable
from pathlib import Path

from scripts.setup import venv
from scripts.setup.cache import REPOSITORY
from scripts.setup.failure import Missing, report
from scripts.setup.session import SERVICES, Session

FOLDER = REPOSITORY / "tests" / "benchmarks"


def constants(file: Path) -> dict[str, tuple[str, ...]]:
    """The module's constants that are tuples of words, read without importing what it may need set up first."""
    found = {}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Tuple):
            try:
                found[node.targets[0].id] = tuple(ast.literal_eval(node.value))
            except ValueError:
                continue
    return found


def benchmarks() -> dict[str, Path]:
    """Every file with a `run`, by name."""
    files = sorted(FOLDER.glob("*.py"))
    return {file.stem: file for file in files if "\ndef run(" in file.read_text()}


def choose(names: Iterable[str]) -> list[str]:
    """The benchmarks meant by names or the start of keys; all of them for none. Raises: Missing for an unknown name."""
    present = benchmarks()
    chosen = []
    for name in names or present:
        matching = [
            stem
            for stem, file in present.items()
            if stem == name or any(key.startswith(name) for key in constants(file).get("KEYS", ()))
        ]
        if not matching:
            raise Missing(f"there is no benchmark {name}", "choose from: " + ", ".join(present))
        chosen += matching
    return list(dict.fromkeys(chosen))


def main() -> int:
    """Exit code: 0 all ran, 1 one could not be measured, 4 set-up could not be done."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object a line: key, value, unit, goal, anchor, n")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a benchmark, or the start of a key; all by default")
    arguments = parser.parse_args()

    def body() -> int:
        worst = 0
        for name in choose(arguments.names):
            with Session(constants(FOLDER / f"{name}.py").get("NEEDS", SERVICES)) as session:
                options = ["--json"] if arguments.json else []
                worst = max(worst, session.call(venv.PYTHON, "-m", "tests.benchmarks", name, *options))
        return min(worst, 1)

    return report(body)


if __name__ == "__main__":
    sys.exit(main())
