"""How long all tests take on this machine once everything is cached."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.line import Line
from tests.benchmarks.machine import anchor

# Set up first, so that what is timed finds all of it there.
NEEDS = ("venv", "node tools", "docker engine", "runner image", "model")
KEYS = ("test.cached_s", "test.fast_s")
REPOSITORY = Path(__file__).resolve().parents[2]


def run() -> list[Line]:
    """Raises: RuntimeError if tests fail: a failed run has no time."""
    before_fast = anchor()
    fast = _seconds("--fast")
    before_whole = anchor()
    whole = _seconds()
    return [
        Line("test.fast_s", fast, "s", "<= 60", before_fast),
        Line("test.cached_s", whole, "s", "<= 720", before_whole),
    ]


def _seconds(*options: str) -> float:
    started = time.monotonic()
    done = subprocess.run(
        ["./scripts/test", *options], cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"./scripts/test {' '.join(options)} exited with {done.returncode}")
    return time.monotonic() - started
