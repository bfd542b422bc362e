"""`scripts/demo [--keep]`: set up this machine, then tell the story of an honest and of a dishonest job."""

from __future__ import annotations

import argparse
import sys

from scripts.setup.session import SERVICES, run_module


def main() -> int:
    """Exit code: the story's own (0: all of it happened), 4 if set-up could not be done."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the network up to explore")
    arguments = parser.parse_args()
    return run_module(SERVICES, "scripts.story", *(["--keep"] if arguments.keep else []), keep=arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
