"""anvil, forge, solc and OpenZeppelin: `npm ci` of `hardhat-local/package-lock.json`."""

from __future__ import annotations

import platform
from pathlib import Path

from scripts.setup.cache import REPOSITORY, Stamp, cache_directory, content_key
from scripts.setup.packages import node_major
from scripts.setup.step import SetupStep, Workbench

FOLDER = REPOSITORY / "hardhat-local"
MODULES = FOLDER / "node_modules"


def present() -> bool:
    """Whether this checkout has node tools to install at all."""
    return (FOLDER / "package-lock.json").is_file()


def _key() -> str:
    return content_key(FOLDER / "package-lock.json", str(node_major()), platform.machine())


def make(bench: Workbench) -> None:
    """Raises: StepFailed with npm's own words."""
    cache = cache_directory() / "npm"
    bench.run("npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--cache", cache, cwd=FOLDER)
    Stamp(MODULES).write(_key())


STEP = SetupStep(
    name="node tools",
    ready=lambda bench: Stamp(MODULES).matches(_key()),
    make=make,
    after=("packages",),
)


def forge() -> Path:
    """The forge binary of this machine's kind, whether it is installed or not."""
    return _binary("forge")


def anvil() -> Path:
    """The anvil binary of this machine's kind, whether it is installed or not."""
    return _binary("anvil")


def cast() -> Path:
    """The cast binary of this machine's kind, whether it is installed or not."""
    return _binary("cast")


def _binary(name: str) -> Path:
    kind = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return MODULES / "@foundry-rs" / f"{name}-{platform.system().lower()}-{kind}" / "bin" / name
