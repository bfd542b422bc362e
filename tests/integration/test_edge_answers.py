"""The shortest and the longest that a node can be asked: honest answers pass, and what does not fit says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chain.calibration.files import packaged_for
from executor import devices
from protocol.params import PASS_ABOVE_BPS, REVIEW_ABOVE_BPS
from protocol.stages.execution import CLASS_DTYPES, InvalidResult, validate_fingerprint
from protocol.stages.verification import Calibration, score
from tests.support.runner_context import open_context, run_inside, small_model

pytestmark = pytest.mark.docker

SCRIPT = Path(__file__).parent / "edge_answers.py"
EDGES = ["nothing asked", "one token", "other token", "long"]
CLASS = max(devices.class_ids_for("bf16"))


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One container's answers to every edge."""
    noise = packaged_for(small_model().cid)
    assert noise is not None
    order = {"order.json": json.dumps({"dtype": CLASS_DTYPES[CLASS]}).encode(), "act_w.bin": noise.act_weights}
    with open_context() as context:
        return run_inside(context, SCRIPT, order, tmp_path_factory.mktemp("edges"), with_model=True)


@pytest.fixture(scope="module")
def found(answered: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((answered / "found.json").read_text())
    return told


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    noise = packaged_for(small_model().cid)
    assert noise is not None
    return noise.classes[CLASS].calibration


@pytest.mark.parametrize("edge", EDGES)
def test_honest_answer_at_the_edge_passes(
    answered: Path, found: dict[str, Any], calibration: Calibration, edge: str
) -> None:
    fingerprint, check = (answered / f"{edge}.proof").read_bytes(), (answered / f"{edge}.check").read_bytes()
    tokens = len(found[edge]["ids"])
    validate_fingerprint(fingerprint, tokens)
    assert score(fingerprint, check, tokens, calibration) > PASS_ABOVE_BPS


def test_edges_are_where_they_should_be(found: dict[str, Any]) -> None:
    assert (found["context"], found["full"]) == (8_192, 8_191)
    assert found["long"]["prompt_tokens"] > 1_200
    assert len(found["one token"]["ids"]) == 1


def test_prompt_that_leaves_no_room_is_refused_with_the_numbers(found: dict[str, Any]) -> None:
    told = found["over"]
    assert (told["code"], told["tokens"], told["limit"]) == ("prompt_too_long", 8_191, 8_190)
    assert "8191 tokens, and 8190 fit before an answer of 2" in told["text"]


def test_prompt_that_would_not_fit_the_memory_is_the_clients_fault(found: dict[str, Any]) -> None:
    """The end of a container that runs out of memory would be held against its node."""
    fits, over = found["memory"]
    assert fits == {}
    assert (over["code"], over["tokens"]) == ("prompt_too_long", 8_192)
    assert 512 < over["memory_mib"] <= 2_112
    assert "and this job was given 512" in over["text"]


def test_proof_of_another_job_fails(answered: Path, found: dict[str, Any], calibration: Calibration) -> None:
    """Even of the same length, and true: its projections are keyed by its own job."""
    fingerprint, check = (answered / "one token.proof").read_bytes(), (answered / "other token.check").read_bytes()
    assert len(found["one token"]["ids"]) == len(found["other token"]["ids"])
    assert score(fingerprint, check, 1, calibration) <= REVIEW_ABOVE_BPS
    with pytest.raises(InvalidResult, match=r"proof\.bin: length"):
        validate_fingerprint(fingerprint, 2)
