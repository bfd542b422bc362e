"""`scripts/lock [--upgrade]`: resolve the dependencies anew."""

from __future__ import annotations

import argparse
import sys

from scripts.setup.failure import report
from scripts.setup.step import Workbench
from scripts.setup.venv import write_locks


def main() -> int:
    """Exit code: 0 written, 1 no solution."""
    parser = argparse.ArgumentParser(prog="scripts/lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that pyproject.toml allows")
    arguments = parser.parse_args()
    return report(lambda: write_locks(Workbench.open("lock"), upgrade=arguments.upgrade))


if __name__ == "__main__":
    sys.exit(main())
