"""Lines and branches of the contracts that their tests run, started by scripts/prove: at least 98% of each.

forge counts with the profile `plain`, without the optimizer. Tests that measure, and the invariants, which go where
chance leads, do not count; sources are found.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.setup import node_tools
from scripts.setup.cache import REPOSITORY
from scripts.solc import CONTRACTS, TOOLS

LEAST_PERCENT = 98
LEFT_OUT = "GasReport|Invariants"


@dataclass(frozen=True)
class Covered:
    """One source, or all of them: how many lines and branches there are, and how many were run."""

    name: str
    lines: int = 0
    lines_run: int = 0
    branches: int = 0
    branches_run: int = 0
    missing: tuple[int, ...] = ()
    """Lines that were not run, or have a branch that was not taken."""

    @property
    def percents(self) -> tuple[float, float]:
        return _percent(self.lines_run, self.lines), _percent(self.branches_run, self.branches)

    def __add__(self, other: Covered) -> Covered:
        return Covered(
            self.name,
            self.lines + other.lines,
            self.lines_run + other.lines_run,
            self.branches + other.branches,
            self.branches_run + other.branches_run,
        )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0


def read(report: str) -> list[Covered]:
    """The sources below contracts/ of a report in lcov's format."""
    found = []
    for record in report.split("end_of_record"):
        told = [line.split(":", 1) for line in record.split() if ":" in line]
        name = next((value for key, value in told if key == "SF"), "")
        path = Path(os.path.normpath(TOOLS / name))
        if not name or not path.is_relative_to(CONTRACTS):
            continue
        counts = {key: int(value) for key, value in told if key in {"LF", "LH", "BRF", "BRH"}}
        data = [(key, value.split(",")) for key, value in told if key in {"DA", "BRDA"}]
        missing = sorted({int(parts[0]) for _, parts in data if parts[-1] in {"0", "-"}})
        figures = (counts["LF"], counts["LH"], counts["BRF"], counts["BRH"])
        found.append(Covered(path.relative_to(REPOSITORY).as_posix(), *figures, tuple(missing)))
    return sorted(found, key=lambda each: each.name)


def measured() -> list[Covered]:
    """Raises: RuntimeError with forge's words if a test fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "lcov.info"
        options = ["--no-match-contract", LEFT_OUT, "--report", "lcov", "--report-file", str(report)]
        done = subprocess.run(
            [str(node_tools.forge()), "coverage", *options],
            cwd=TOOLS,
            env={**os.environ, "FOUNDRY_PROFILE": "plain"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"forge coverage failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return read(report.read_text())


def whole(sources: Sequence[Covered]) -> Covered:
    return sum(sources, Covered("all"))


def table(sources: Sequence[Covered]) -> str:
    rows = []
    for each in [*sources, whole(sources)]:
        lines, branches = each.percents
        counts = f"{each.lines_run:4}/{each.lines:<4} {each.branches_run:4}/{each.branches:<4}"
        missing = f"  lines {', '.join(map(str, each.missing))}" if each.missing else ""
        rows.append(f"{each.name:40} {lines:6.2f}% {branches:6.2f}%  {counts}{missing}")
    return "\n".join([f"{'':40} {'lines':>7} {'branches':>8}", *rows])


def main() -> int:
    """Exit code: 0 enough is covered, 1 it is not."""
    argparse.ArgumentParser(prog="scripts/prove coverage", description=__doc__).parse_args()
    try:
        sources = measured()
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(sources))
    return 0 if min(whole(sources).percents) >= LEAST_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
