"""TOPLOC, another way to check what a model has computed, in an environment of its own: a benchmark compares with it.

It is compiled from its sources, because its wheels do not load beside the torch of today: there is an undefined symbol.
Nothing of this is part of the project, of its tests or of any lock but `toploc.lock`, which names those sources.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

from scripts.setup import venv
from scripts.setup.cache import REPOSITORY, Stamp, cache_directory, content_key
from scripts.setup.failure import StepFailed
from scripts.setup.step import SetupStep, Workbench

LOCK = Path(__file__).with_name("toploc.lock")
RUNNER_LOCK = REPOSITORY / "executor" / "runner" / "requirements.lock"
TORCH = "torch==2.13.0"
TOOLS = ("numpy", "setuptools", "ninja")
OF_RUNNER = ("transformers", "safetensors", "tokenizers", "huggingface-hub")
"""In the versions of the runner image. torch is not: no package index has the build that Debian ships."""


def python() -> Path:
    """The interpreter of the environment; there once the step has run."""
    return _folder() / "bin" / "python"


def _folder() -> Path:
    return cache_directory() / "tools" / f"toploc-{_key()}"


def _key() -> str:
    return content_key(LOCK, RUNNER_LOCK, TORCH, *TOOLS, sys.version, platform.machine())


def _versions_of_runner() -> list[str]:
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", RUNNER_LOCK.read_text(), re.MULTILINE))
    return [f"{name}=={pinned[name]}" for name in OF_RUNNER]


def make(bench: Workbench) -> None:
    """Takes minutes. Raises: StepFailed, with what building needs, if it cannot be done here."""
    place = _folder()
    install = (python(), "-m", "pip", "install", "-q")
    path = {"PATH": f"{place / 'bin'}:{os.environ.get('PATH', '')}"}
    try:
        bench.run(venv.INTERPRETER, "-m", "venv", "--clear", place)
        bench.run(*install, TORCH, *TOOLS, *_versions_of_runner())
        from_sources = ("--no-deps", "--no-build-isolation", "--no-binary", "toploc", "--require-hashes", "-r", LOCK)
        bench.run(*install, *from_sources, env=path)
        bench.run(python(), "-P", "-c", "import toploc")
    except StepFailed as error:
        needs = f"{TORCH} for this Python (its CPU build will do), a C++ compiler, and Python's headers"
        words = "TOPLOC cannot be built here, and nothing but this benchmark wants it; it takes"
        raise StepFailed(f"{words} {needs}: {error}") from error
    Stamp(place).write(_key())


STEP = SetupStep(name="toploc", ready=lambda bench: Stamp(_folder()).matches(_key()), make=make)
