"""`scripts/calibrate [--confirm] [--class N ...]`: measure how far honest checks lie from honest runs, and keep it.

One container a class and temperature (0, 0.8 and 2) generates the prompts of scripts/calibration and checks them again.
Class 2 comes first: its runs give the whitening weights that all classes share. Takes about twenty-five minutes of one
core for class 2, twice that for 1. With --confirm the constants stay as they are: a sixth as many runs of a runner that
has changed must all pass by them, and its hash is written down if they do.
"""

from __future__ import annotations

import argparse
import sys

from scripts.setup import venv
from scripts.setup.failure import report
from scripts.setup.session import Session

NEEDS = ("venv", "docker engine", "runner image", "model")


def main() -> int:
    """Exit code: 0 written, 1 a run failed, 4 set-up could not be done."""
    parser = argparse.ArgumentParser(prog="scripts/calibrate", description=__doc__)
    parser.add_argument("--class", dest="classes", action="append", choices=["1", "2"], help="all that this CPU has")
    parser.add_argument("--confirm", action="store_true", help="only check the constants with the runner as it is now")
    arguments = parser.parse_args()
    chosen = [*(["--confirm"] if arguments.confirm else []), *(arguments.classes or [])]

    def body() -> int:
        with Session(NEEDS) as session:
            return session.call(venv.PYTHON, "-m", "scripts.calibration", *chosen)

    return report(body)


if __name__ == "__main__":
    sys.exit(main())
