"""A node that embeds and classifies with a 4-bit copy of the model, judged by the calibration of this release."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from chain.calibration.files import packaged_for
from executor import devices
from executor.runs.generation import Generation, PendingRun
from executor.runs.replay import Replay
from executor.workspace.folders import INPUT_JSON, RESULT_JSON, Workspace
from protocol.judging.kinds import differ, is_calibrated, rows_of, score_of
from protocol.params import PASS_ABOVE_BPS, REVIEW_ABOVE_BPS
from protocol.stages.execution import Outcome, RunSpec
from protocol.stages.request import CLASSIFY, EMBED
from tests.adversaries.images import build
from tests.support.runner_context import docker_host, open_context, small_model

pytestmark = [pytest.mark.docker, pytest.mark.long]

TEXTS = [
    "The parliament voted on the new budget after a debate of nine hours.",
    "She scored twice in the last ten minutes, and the cup was theirs.",
    "SELECT name, price FROM lamps WHERE year > 1999 ORDER BY price;",
    "Soak the beans overnight, then simmer them with bay leaves and salt.",
]
LABELS = ["politics", "sports", "computers", "food"]


@pytest.mark.parametrize("kind", [EMBED, CLASSIFY])
def test_readings_of_a_4_bit_copy_fail_where_honest_ones_pass(kind: int, tmp_path: Path) -> None:
    class_id, manifest = max(devices.class_ids_for("bf16")), small_model().cid
    packaged = packaged_for(manifest)
    assert packaged is not None
    calibration = packaged.classes[class_id].calibration
    assert is_calibrated(kind, calibration)
    spec = RunSpec(hashlib.sha256(b"readings").digest(), manifest, class_id, 64, 0, bytes(32), 2 << 30, 240_000, kind)
    asked = {"v": 1, "salt": "00" * 16, "texts": TEXTS} | ({"labels": LABELS} if kind == CLASSIFY else {})
    scores, checks = {}, {}
    with open_context() as honest, open_context(build("quantised_runner", honest.image, docker_host())) as quantised:
        for name, context in (("honest", honest), ("quantised", quantised)):
            theirs, mine = Workspace(tmp_path / name / "theirs"), Workspace(tmp_path / name / "mine")
            for workspace in (theirs, mine):
                workspace.put(INPUT_JSON, json.dumps(asked).encode())
            result, fingerprint = Generation(context, PendingRun(context, spec, theirs)).run(lambda ids: None)
            assert result.outcome is Outcome.OK, result.detail
            raw = theirs.get(RESULT_JSON) or b""
            mine.put(RESULT_JSON, raw)
            checks[name], problem = Replay(honest, spec, mine).run()
            assert problem == ""
            scores[name] = score_of(kind, fingerprint, checks[name], rows_of(kind, raw), calibration)
    assert scores["honest"] > PASS_ABOVE_BPS, scores
    assert scores["quantised"] <= REVIEW_ABOVE_BPS, scores
    # A seat's own pass does not depend on the fingerprint that it was shown.
    assert not differ(kind, checks["honest"], checks["quantised"], len(TEXTS), calibration)
