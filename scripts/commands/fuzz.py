"""`scripts/fuzz [TARGET...] [--runs N] [--seed S]`: feed every decoder inputs that coverage guides.

A TARGET is a decoder by its name in tests/fuzz/targets.py; all of them by default. Prints what was fed, what code it
reached and what was found; an input that a decoder should have refused and did not is kept, with the command that feeds
it again.
"""

from __future__ import annotations

import sys

from scripts.setup.session import run_module


def main() -> int:
    """Exit code: 0 nothing was found, 1 something was, 2 no such target, 4 set-up could not be done."""
    return run_module(["venv"], "tests.fuzz", *sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
