"""`scripts/prepare [--keep]`: set this machine up and nothing else."""

from __future__ import annotations

import argparse
import sys

from scripts.setup.failure import report
from scripts.setup.session import SERVICES, Session


def main() -> int:
    """Exit code: 0 all is there, 4 it cannot be."""
    parser = argparse.ArgumentParser(prog="scripts/prepare", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the Docker Engine up, and say how to reach it")
    arguments = parser.parse_args()

    def body() -> None:
        with Session(SERVICES, keep=arguments.keep):
            pass

    return report(body)


if __name__ == "__main__":
    sys.exit(main())
