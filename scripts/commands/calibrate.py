"""`scripts/calibrate [--confirm] [--model ID] [--class N ...]`: constants of a model that this release carries.

Writes them and the margin scores into chain/calibration, from two thousand honest answers a class with seeds of their
own: what `vcoin calibrate` measures has no part in them, and judges them. Takes an hour of one core a class, and goes
on where it was interrupted. A hundred honest answers with other seeds must then all pass. With --confirm only that is
done: the constants stay as they are, and the hash of a runner that has changed is written down.
"""

from __future__ import annotations

import argparse
import sys

from scripts.setup.session import run_module

NEEDS = ("venv", "docker engine", "runner image", "model")


def main() -> int:
    """Exit code: 0 written, 1 a run failed, 4 set-up could not be done."""
    parser = argparse.ArgumentParser(prog="scripts/calibrate", description=__doc__)
    parser.add_argument(
        "--class", dest="classes", action="append", choices=["1", "2", "3"], help="all that run the model"
    )
    parser.add_argument("--confirm", action="store_true", help="only check the constants with the runner as it is now")
    parser.add_argument("--model", metavar="ID", help="of the store of set-up, all 64 digits; the small model")
    arguments = parser.parse_args()
    model = ["--model", arguments.model] if arguments.model else []
    chosen = [*(["--confirm"] if arguments.confirm else []), *model, *(arguments.classes or [])]
    return run_module(NEEDS, "scripts.calibration", *chosen)


if __name__ == "__main__":
    sys.exit(main())
