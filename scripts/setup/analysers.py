"""halmos and slither, which prove and criticise the contracts, in an environment of their own.

They bring another web3 than the project's; so they are resolved apart (`analysers.lock`, written by scripts/lock) and
installed beside it, in the cache.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from scripts.setup import venv
from scripts.setup.cache import Stamp, cache_directory, content_key
from scripts.setup.step import SetupStep, Workbench

LOCK = venv.ANALYSERS_LOCK


def folder() -> Path:
    """The environment; there once the step has run."""
    return cache_directory() / "tools" / f"analysers-{_key()}"


def tool(name: str) -> Path:
    """A program of the environment."""
    return folder() / "bin" / name


def _key() -> str:
    return content_key(LOCK, venv.UV_LOCK, sys.version, platform.machine())


def make(bench: Workbench) -> None:
    """Raises: StepFailed if a package cannot be had."""
    uv, env, place = venv.uv(bench), venv.environment(), folder()
    bench.run(uv, "venv", "-q", "--clear", "--python", venv.INTERPRETER, place, env=env)
    options = ("--python", place / "bin" / "python", "--require-hashes", "--compile-bytecode")
    bench.run(uv, "pip", "sync", "-q", *options, LOCK, env=env)
    Stamp(place).write(_key())


STEP = SetupStep(
    name="analysers",
    ready=lambda bench: Stamp(folder()).matches(_key()),
    make=make,
    after=("packages",),
)
