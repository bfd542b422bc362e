"""The promises to every test: services are there or the test fails with the fix, and nothing is ever skipped."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

from scripts.setup import engine, node_tools

# Machines that run tests differ too much in speed for a deadline on one example to mean anything.
settings.register_profile("vcoin", deadline=None, print_blob=True)
settings.load_profile("vcoin")

# py_ecc, which eth_account imports, raises it to 100,000: then a deeply nested JSON text overflows the C stack and ends
# the process, where it should raise RecursionError. Tests run with the limit of a process that did not import it.
RECURSION_LIMIT = 1_000


@functools.cache
def docker_fault() -> str | None:
    """Why tests marked `docker` cannot run here, with the fix; None if they can."""
    host = os.environ.get("DOCKER_HOST", f"unix://{engine.SYSTEM_SOCKET}")
    if engine.answers(host):
        return None
    return f"no Docker Engine answers at {host}: run ./scripts/test, which starts one, or set DOCKER_HOST"


@functools.cache
def anvil_fault() -> str | None:
    """Why tests marked `anvil` cannot run here, with the fix; None if they can."""
    if node_tools.anvil().is_file() or shutil.which("anvil"):
        return None
    return "anvil is not installed: run ./scripts/test, or `npm ci` in hardhat-local/"


@functools.cache
def gpu_fault() -> str | None:
    """Why tests marked `gpu` cannot run here; None if they can."""
    return (
        None
        if shutil.which("nvidia-smi")
        else "no NVIDIA driver on this machine: leave the gpu tests out with -m 'not gpu'"
    )


FAULTS = {"docker": docker_fault, "anvil": anvil_fault, "gpu": gpu_fault}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A missing service is an error with the fix."""
    if sys.getrecursionlimit() > RECURSION_LIMIT:
        sys.setrecursionlimit(RECURSION_LIMIT)
    for marker, fault in FAULTS.items():
        if item.get_closest_marker(marker) and (words := fault()):
            pytest.fail(words, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips itself has not passed: say so."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skipped itself; a test here runs or fails"
    return report
