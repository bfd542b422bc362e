"""Missing packages, and their remedy in words."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from scripts.setup import packages
from scripts.setup.failure import Missing
from scripts.setup.packages import Requirement
from scripts.setup.step import Workbench

THERE = Requirement("a shell", lambda: True, ("dash",))
GONE = Requirement("the moon", lambda: False, ("libmoon-dev", "moon"))


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path / "log", dict(os.environ))


def test_only_what_is_not_there_is_missing() -> None:
    assert packages.missing([THERE, GONE, GONE]) == [GONE]
    assert packages.step([THERE]).ready is not None


def test_without_a_package_manager_one_line_names_what_to_install(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(Missing, match="lacks the moon, and has no apt-get") as raised:
        packages.install(bench, [THERE, GONE])
    assert "libmoon-dev moon" in raised.value.fix


def test_without_root_one_line_is_ready_to_be_copied(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/usr/bin/apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Missing, match="installing needs root") as raised:
        packages.install(bench, [GONE])
    assert raised.value.fix == "sudo apt-get install libmoon-dev moon"


def test_every_requirement_names_its_debian_packages() -> None:
    everything = (*packages.PYTHON, *packages.NODE, *packages.ENGINE, *packages.IMAGE)
    assert all(requirement.debian for requirement in everything)
    assert all(isinstance(requirement.probe(), bool) for requirement in everything)
