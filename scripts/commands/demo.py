"""`scripts/demo [--keep]`: set up this machine, then tell the story of an honest and of a dishonest job."""

from __future__ import annotations

import argparse
import sys

from scripts.setup import venv
from scripts.setup.failure import report
from scripts.setup.session import SERVICES, Session


def main() -> int:
    """Exit code: the story's own (0: all of it happened), 4 if set-up could not be done."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the network up to explore")
    arguments = parser.parse_args()

    def body() -> int:
        with Session(SERVICES, keep=arguments.keep) as session:
            return session.call(venv.PYTHON, "-m", "scripts.story", *(["--keep"] if arguments.keep else []))

    return report(body)


if __name__ == "__main__":
    sys.exit(main())
