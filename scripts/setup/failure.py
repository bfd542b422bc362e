"""How a command ends when it cannot go on: one line that says what is wrong, one that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable

EXIT_FAILED = 1
# The same number that `vcoin` uses when the machine does not have what a command needs.
EXIT_PREFLIGHT = 4
EXIT_INTERRUPTED = 130


class Missing(Exception):
    """The machine lacks something that set-up cannot make; `fix` is what the person can type."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


class StepFailed(Exception):
    """A step ran and failed; the text ends with what it printed last."""


def report(action: Callable[[], int | None]) -> int:
    """Run a command's body and turn what it raises into lines a person can use. Returns: the exit code."""
    try:
        return action() or 0
    except Missing as error:
        print(f"error: {error}\nhint: {error.fix}", file=sys.stderr)
        return EXIT_PREFLIGHT
    except StepFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
