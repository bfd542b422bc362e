"""The locks against pyproject.toml: what is asked for is pinned, by hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from scripts.setup.cache import REPOSITORY
from scripts.setup.venv import ANALYSERS_LOCK, CLIENTS_LOCK, DEVELOPMENT_LOCK, RUNTIME_LOCK

PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: Path) -> dict[str, str]:
    return {normal(name): version for name, version in PIN.findall(lock.read_text())}


def asked(requirements: list[str]) -> dict[str, str]:
    """Name and exact version, empty where a range is allowed."""
    found = {}
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name
        exact = re.search(r"==([\w.]+)", requirement)
        found[normal(name.group())] = exact.group(1) if exact else ""
    return found


def test_locks_pin_all_that_the_project_asks_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    # The group of developers takes the one that builds contracts whole.
    developers = [each for each in groups["dev"] if isinstance(each, str)] + groups["build"]
    runtime, development = asked(project["project"]["dependencies"]), asked(developers)
    analysers = asked(groups["analysers"])
    assert all(analysers.values()), "what analyses is one version: another finds other things"
    whole = (
        (runtime, RUNTIME_LOCK),
        (runtime | development, DEVELOPMENT_LOCK),
        (analysers, ANALYSERS_LOCK),
        (asked(groups["clients"]), CLIENTS_LOCK),
    )
    for wanted, lock in whole:
        have = pins(lock)
        for name, version in wanted.items():
            assert name in have, f"{name} is not in {lock.name}: run ./scripts/lock"
            assert version in ("", have[name]), f"{lock.name} pins {name} {have[name]}: run ./scripts/lock"


def test_operators_install_the_versions_that_were_tested() -> None:
    development = pins(DEVELOPMENT_LOCK)
    assert {name: development.get(name) for name in pins(RUNTIME_LOCK)} == pins(RUNTIME_LOCK)


def test_every_pin_has_hashes() -> None:
    for lock in (RUNTIME_LOCK, DEVELOPMENT_LOCK, ANALYSERS_LOCK, CLIENTS_LOCK):
        blocks = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text())
        assert all("--hash=sha256:" in block for block in blocks if PIN.match(block))
