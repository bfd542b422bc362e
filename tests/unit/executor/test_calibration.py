"""From measured runs to constants, and the constants that this release carries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chain.calibration import packaged
from executor import images
from protocol.stages.verification import score
from scripts.calibration.constants import FLOORS, FULL_LENGTH, Measured, constants, reading_constants
from scripts.calibration.prompts import all_prompts

VECTORS = Path(__file__).parents[2] / "vectors" / "fingerprint"


def run(act: int, chunk: int = 20_000, tok: int = 0, worst: int = 0, tokens: int = FULL_LENGTH) -> Measured:
    return Measured(act, chunk, tok, worst, tokens)


def test_even_noise_is_bounded_by_six_deviations() -> None:
    found = constants([run(act) for act in (19_000, 20_000, 21_000)], 2)
    assert found["act"] == [26_250, 29_532]
    assert found["n"] == 3


def test_one_noisy_answer_raises_the_bound_a_quarter_over_itself() -> None:
    found = constants([run(20_000)] * 400 + [run(60_000)], 2)
    assert found["act"] == [75_000, 84_375]


def test_short_answers_count_for_all_but_the_mean_margin() -> None:
    runs = [run(20_000)] * 10 + [run(20_000, chunk=40_000, tok=900_000, worst=700_000, tokens=3)]
    found = constants(runs, 2)
    assert found["chunk"][0] >= 50_000
    assert found["tok"] == [FLOORS[2].tok, 2 * FLOORS[2].tok]
    assert found["worst"] == [1_400_000, 2_800_000]
    assert found["n"] == 10


@pytest.mark.parametrize("class_id", [1, 2])
def test_margins_that_are_all_zero_still_leave_room(class_id: int) -> None:
    found = constants([run(20_000)] * 3, class_id)
    assert found["tok"][0] == FLOORS[class_id].tok
    assert found["worst"][0] == FLOORS[class_id].worst


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


def test_prompts_are_many_and_no_two_are_alike() -> None:
    prompts = all_prompts()
    assert len(prompts) > 200
    assert len(set(prompts)) == len(prompts)


def test_carried_calibration_is_of_this_runner() -> None:
    (carried,) = packaged()
    found = {noise.runtime.hex() for noise in carried.classes.values()}
    assert found == {images.runtime()}, "run ./scripts/calibrate --confirm: a new network would have no constants"


def test_carried_calibration_tells_the_vectors_apart() -> None:
    expected = json.loads((VECTORS / "expected.json").read_text())
    (carried,) = packaged()
    for name, passes in (("honest", True), ("quantised", False)):
        proof, check = ((VECTORS / name / file).read_bytes() for file in ("proof.bin", "check.bin"))
        calibration = carried.classes[expected[name]["class_id"]].calibration
        points = score(proof, check, expected[name]["tokens"], calibration)
        assert points > 9500 if passes else points < 2000
