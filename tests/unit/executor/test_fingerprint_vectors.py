"""Real files of the runner image, read by the rules of the protocol: the distances must be those that numpy found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from protocol.stages.execution import validate_fingerprint
from protocol.stages.verification import distances

VECTORS = Path(__file__).parents[2] / "vectors" / "fingerprint"
EXPECTED = json.loads((VECTORS / "expected.json").read_text())


@pytest.mark.parametrize("name", ["honest", "quantised"])
def test_distances(name: str) -> None:
    fingerprint, check = ((VECTORS / name / file).read_bytes() for file in ("proof.bin", "check.bin"))
    tokens = EXPECTED[name]["tokens"]
    validate_fingerprint(fingerprint, tokens)
    found = dataclasses.asdict(distances(fingerprint, check, tokens))
    assert found == pytest.approx(EXPECTED[name]["distances_ppm"], abs=1)


def test_quantised_run_is_far_from_the_honest_one_in_every_term() -> None:
    honest, quantised = (EXPECTED[name]["distances_ppm"] for name in ("honest", "quantised"))
    assert all(quantised[term] > 5 * honest[term] for term in honest)


def test_token_count_is_that_of_the_result() -> None:
    for name, facts in EXPECTED.items():
        assert len(json.loads((VECTORS / name / "result.json").read_bytes())["output_token_ids"]) == facts["tokens"]
