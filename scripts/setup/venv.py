"""The virtual environment `.venv`: exactly what `requirements-dev.lock` names, and the project itself, editable.

uv does the work: the same tool writes the locks, and it needs a fifth of pip's time. pip brings uv, by hash.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.setup.cache import REPOSITORY, Stamp, cache_directory, content_key
from scripts.setup.failure import Missing
from scripts.setup.step import SetupStep, Workbench

VENV = REPOSITORY / ".venv"
PYTHON = VENV / "bin" / "python"
RUNTIME_LOCK = REPOSITORY / "requirements.lock"
DEVELOPMENT_LOCK = REPOSITORY / "requirements-dev.lock"
UV_LOCK = Path(__file__).with_name("uv.lock")
ANALYSERS_LOCK = Path(__file__).with_name("analysers.lock")
CLIENTS_LOCK = Path(__file__).with_name("clients.lock")

# Inside an activated environment this is the interpreter behind it, which must not be one that we are about to replace.
INTERPRETER = Path(getattr(sys, "_base_executable", sys.executable))


def environment() -> dict[str, str]:
    """The arguments that uv is started with."""
    env = {"UV_CACHE_DIR": str(cache_directory() / "python"), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    # uv does not read pip's settings: hand over a company's own certificates and index.
    for ours, pips in (("SSL_CERT_FILE", "PIP_CERT"), ("UV_DEFAULT_INDEX", "PIP_INDEX_URL")):
        if pips in os.environ and ours not in os.environ:
            env[ours] = os.environ[pips]
    return env


def _tool_folder() -> Path:
    return cache_directory() / "tools" / content_key(UV_LOCK, str(INTERPRETER), sys.version)


def pip() -> Path:
    """The Python that has pip, for what only pip can do; there once the step has run."""
    return _tool_folder() / "bin" / "python"


def uv(bench: Workbench) -> Path:
    """The pinned uv, installed at the first call."""
    folder = _tool_folder()
    key = folder.name
    if not Stamp(folder).matches(key):
        shutil.rmtree(folder, ignore_errors=True)
        bench.run(INTERPRETER, "-m", "venv", folder)
        bench.run(
            folder / "bin" / "python", "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "-r", UV_LOCK
        )
        Stamp(folder).write(key)
    return folder / "bin" / "uv"


def _key() -> str:
    return content_key(DEVELOPMENT_LOCK, UV_LOCK, REPOSITORY / "pyproject.toml", sys.version, platform.machine())


def _is_ours(venv: Path) -> bool:
    """Whether the environment runs on this interpreter; another Python's packages cannot be kept."""
    answer = subprocess.run(
        [venv / "bin" / "python", "-c", "import sys; print(sys.version)"], capture_output=True, check=False
    )
    return answer.returncode == 0 and answer.stdout.decode().strip() == sys.version


def make(bench: Workbench) -> None:
    """Bring `.venv` to what the lock says. Raises: Missing without a lock, StepFailed if a package cannot be had."""
    if not DEVELOPMENT_LOCK.is_file():
        raise Missing(f"{DEVELOPMENT_LOCK.name} is missing", "git checkout requirements-dev.lock, or ./scripts/lock")
    tool, env = uv(bench), environment()
    if VENV.exists() and not (PYTHON.exists() and _is_ours(VENV)):
        shutil.rmtree(VENV)
    if not VENV.exists():
        bench.run(tool, "venv", "-q", "--python", INTERPRETER, VENV, env=env)
    Stamp(VENV).remove()
    into = ("--python", PYTHON)
    # Compiled here, on all cores, and not by each first command; some machines never let Python write it.
    sync = (tool, "pip", "sync", "--compile-bytecode", *into)
    bench.run(*sync, "--require-hashes", DEVELOPMENT_LOCK, env=env)
    bench.run(tool, "pip", "install", *into, "--no-deps", "--no-build-isolation", "-e", REPOSITORY, env=env)
    Stamp(VENV).write(_key())


def write_locks(bench: Workbench, *, upgrade: bool) -> None:
    """Resolve `pyproject.toml` for every Python we support. Without `upgrade`, versions move only where they must."""
    tool = uv(bench)
    env = {**environment(), "UV_CUSTOM_COMPILE_COMMAND": "./scripts/lock"}
    options = [
        "--universal",
        "--python-version",
        "3.11",
        "--generate-hashes",
        "-q",
        *(["--upgrade"] if upgrade else []),
    ]
    compile_: tuple[str | Path, ...] = (tool, "pip", "compile", *options, "pyproject.toml")
    bench.run(*compile_, "--group", "dev", "-o", DEVELOPMENT_LOCK.name, env=env)
    # Operators install the same versions, less what only developers need.
    bench.run(*compile_, "-c", DEVELOPMENT_LOCK.name, "-o", RUNTIME_LOCK.name, env=env)
    # Resolved apart: these bring other versions of what the project uses.
    for group, lock in (("analysers", ANALYSERS_LOCK), ("clients", CLIENTS_LOCK)):
        bench.run(tool, "pip", "compile", *options, "--group", group, "-o", lock, env=env)


STEP = SetupStep(
    name="venv",
    ready=lambda bench: PYTHON.exists() and Stamp(VENV).matches(_key()),
    make=make,
    after=("packages",),
)
