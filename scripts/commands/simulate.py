"""`scripts/simulate [--nodes N] [--jobs J] [--seed S]`: a whole network in memory, in any weather.

The work is done by tests/simulation; its help says what is checked.
"""

from __future__ import annotations

import sys

from scripts.setup.session import run_module


def main() -> int:
    """Exit code: 0 every job ended and the books are right, 1 not so, 2 an argument is wrong, 4 set-up failed."""
    return run_module(["venv"], "tests.simulation", *sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
