"""Environments of their own in the cache, for packages that bring other versions of what the project uses.

Each is resolved apart, into a lock that scripts/lock writes.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.setup import venv
from scripts.setup.cache import Stamp, cache_directory, content_key
from scripts.setup.step import SetupStep, Workbench


@dataclass(frozen=True)
class ApartEnvironment:
    """An environment by its lock."""

    name: str
    lock: Path

    @property
    def folder(self) -> Path:
        """The environment; there once the step has run."""
        return cache_directory() / "tools" / f"{self.name}-{self._key()}"

    def tool(self, name: str) -> Path:
        """A program of the environment."""
        return self.folder / "bin" / name

    def step(self) -> SetupStep:
        """Its set-up."""
        return SetupStep(
            name=self.name,
            ready=lambda bench: Stamp(self.folder).matches(self._key()),
            make=self._make,
            after=("packages",),
        )

    def _key(self) -> str:
        return content_key(self.lock, venv.UV_LOCK, sys.version, platform.machine())

    def _make(self, bench: Workbench) -> None:
        """Raises: StepFailed if a package cannot be had."""
        uv, env, place = venv.uv(bench), venv.environment(), self.folder
        bench.run(uv, "venv", "-q", "--clear", "--python", venv.INTERPRETER, place, env=env)
        options = ("--python", place / "bin" / "python", "--require-hashes", "--compile-bytecode")
        bench.run(uv, "pip", "sync", "-q", *options, self.lock, env=env)
        Stamp(place).write(self._key())
