"""Runs benchmarks that scripts/bench has chosen and set up for."""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict

from tests.benchmarks.line import Line

# One that hangs ends with a traceback of where; the longest sets up a bare machine and tells the story twice.
LIMIT_S = 1800

HEADER = ("key", "value", "unit", "goal", "", "anchor", "n")


def table(lines: Sequence[Line]) -> str:
    """The lines below one header, in columns."""
    rows = [HEADER]
    rows += [(x.key, f"{x.value:.4g}", x.unit, x.goal, x.verdict(), x.anchor, str(x.n)) for x in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main() -> int:
    """Exit code: 0 all ran, 1 one raised."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("names", nargs="+")
    arguments = parser.parse_args()
    code = 0
    for name in arguments.names:
        faulthandler.dump_traceback_later(LIMIT_S, exit=True)
        try:
            lines: list[Line] = importlib.import_module(f"tests.benchmarks.{name}").run()
        except Exception:
            # The next one may still be measured; this one's fault belongs on the screen whole.
            traceback.print_exc()
            code = 1
            continue
        if arguments.json:
            for line in lines:
                print(json.dumps(asdict(line)), flush=True)
        else:
            print(table(lines), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
