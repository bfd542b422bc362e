"""From measured readings to constants, and the constants that this release carries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chain.calibration.files import packaged
from executor import images
from node.calibration.constants import FLOORS, reading_constants
from protocol.stages.verification import score

VECTORS = Path(__file__).parents[2] / "vectors" / "fingerprint"


def test_embeddings_are_bounded_as_many_texts_and_as_the_worst_one_alone() -> None:
    assert reading_constants([16_000] * 50, [[(0, 0)] * 40], 2)["embed"] == [20_000, 30_000]
    (d0, _) = reading_constants([0] * 50 + [48_000], [[(0, 0)] * 40], 2)["embed"]
    assert d0 == pytest.approx(1.25 * 48_000 / 32**0.25, abs=1)


def test_classifications_are_bounded_by_the_noisiest_texts_in_a_row_or_alone() -> None:
    calm, noisy = [(40_000, 0)] * 32, [(80_000, 0)] * 32
    assert reading_constants([0], [calm, [*calm, *noisy]], 2)["classify"] == [100_000, 175_000]
    single = [*[(0, 0)] * 31, (4 * 80_000, 0)]
    (d0, _), alone = reading_constants([0], [single], 2)["classify"], 1.25 * 320_000 / 32**0.25
    assert d0 == pytest.approx(alone, abs=1)


@pytest.mark.parametrize("class_id", [1, 2])
def test_readings_that_do_not_differ_still_leave_room(class_id: int) -> None:
    found = reading_constants([0] * 40, [[(0, 0)] * 40], class_id)
    assert found["embed"][0] == FLOORS[class_id].embed
    assert found["classify"][0] == FLOORS[class_id].classify


def test_carried_calibration_is_of_this_runner() -> None:
    (carried,) = packaged()
    found = {noise.runtime.hex() for noise in carried.classes.values()}
    assert found == {images.runtime()}, "run ./scripts/calibrate --confirm: a new network would have no constants"


def test_carried_calibration_tells_the_vectors_apart() -> None:
    expected = json.loads((VECTORS / "expected.json").read_text())
    (carried,) = packaged()
    for name, passes in (("honest", True), ("quantised", False)):
        fingerprint, check = ((VECTORS / name / file).read_bytes() for file in ("proof.bin", "check.bin"))
        calibration = carried.classes[expected[name]["class_id"]].calibration
        points = score(fingerprint, check, expected[name]["tokens"], calibration)
        assert points > 9500 if passes else points < 2000
