"""A decoder with two faults, to see that they are found: started by test_command.py."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

from tests.fuzz import __main__ as command
from tests.fuzz.mutation import Shape
from tests.fuzz.target import Target


def decode(data: bytes) -> int:
    """Reads what begins with 1, 2, 3; a fourth byte of 4 is a fault, and 'h' a loop without an end."""
    if data[:1] != b"\1":
        raise ValueError("no beginning")
    if data[1:2] != b"\2":
        raise ValueError("no second")
    if data[2:3] == b"h":
        while True:
            pass
    if data[3:4] == b"\4":
        return {}[data]  # type: ignore[no-any-return]
    return 0


FAULTY = Target("faulty", Shape.BYTES, atheris.instrument_func(decode), lambda: [b"\1\1\1\1"], (ValueError,))

if __name__ == "__main__":
    command.HANG_S = 1
    sys.exit(command.fuzz([FAULTY], runs=40_000, seed=5, folder=Path(sys.argv[1])))
