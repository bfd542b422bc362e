"""The wheels of the image for cards: PyPI has each of them under the hash of the lock; nothing is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.cuda import image as cuda
from executor.image_weight import wheels
from scripts.setup import wheel_lock
from scripts.setup.failure import StepFailed
from scripts.setup.step import Workbench

# In the layer whose set-up reaches PyPI anyway.
pytestmark = pytest.mark.docker


@pytest.mark.parametrize("lock", [cuda.LOCK, cuda.TOOLKIT_LOCK], ids=lambda lock: lock.name)
def test_every_wheel_of_a_lock_is_found_by_its_hash(lock: Path) -> None:
    pinned = wheels(lock)
    found = wheel_lock.resolve(Workbench.open("image-lock"), lock, "--no-deps")
    assert {each.name: each for each in found} == {each.name: each for each in pinned}
    assert lock.read_text() == wheel_lock.lock_text(lock.with_suffix(".in").name, pinned)


def test_lock_holds_all_that_its_wheels_need(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("".join(f"{each.name}=={each.version}\n" for each in wheels(cuda.LOCK)))
    found = wheel_lock.resolve(Workbench.open("image-lock"), pins)
    assert {each.name for each in found} == {each.name for each in wheels(cuda.LOCK)}


def test_wheel_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "asked.txt").write_text("torch==2.15.0.999\n")
    with pytest.raises(StepFailed, match="torch"):
        wheel_lock.resolve(Workbench.open("image-lock"), tmp_path / "asked.txt")
