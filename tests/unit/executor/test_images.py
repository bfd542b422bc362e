"""The name of the runner image follows its content."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from executor import images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(images.RUNNER, tmp_path / "runner"))


def test_copy_has_the_same_name(folder: Path) -> None:
    assert images.tag(folder) == images.tag()
    assert images.tag().removeprefix("vcoin-runner:") == images.runtime()[:12]


@pytest.mark.parametrize("name", ["Dockerfile", "requirements.lock", "generate.py", "fingerprint.py", "__main__.py"])
def test_any_change_of_what_runs_gives_another_name(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    assert images.runtime(folder) != images.runtime()


def test_new_source_gives_another_name(folder: Path) -> None:
    (folder / "more.py").touch()
    assert images.runtime(folder) != images.runtime()


def test_what_python_left_there_does_not(folder: Path) -> None:
    (folder / "__pycache__").mkdir(exist_ok=True)
    (folder / "__pycache__" / "generate.pyc").write_bytes(b"x")
    assert images.runtime(folder) == images.runtime()


def test_every_line_of_the_lock_is_pinned_by_hash() -> None:
    lines = (images.RUNNER / "requirements.lock").read_text().splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert pinned
    assert all("==" in line and "--hash=sha256:" in line for line in pinned)
