"""`scripts/calibrate [--class N ...]`: measure how far an honest check lies from an honest run, and write it down.

One container a class generates every prompt of scripts/calibration and checks it again. Class 2 comes first: its runs
give the whitening weights that all classes share. Takes about ten minutes of one core for class 2, twice that for 1.
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
    arguments = parser.parse_args()

    def body() -> int:
        with Session(NEEDS) as session:
            return session.call(venv.PYTHON, "-m", "scripts.calibration", *(arguments.classes or []))

    return report(body)


if __name__ == "__main__":
    sys.exit(main())
