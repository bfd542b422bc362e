"""The noise of readings, measured in a real container as a calibration does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.calibration.files import packaged_for
from executor import devices
from node.calibration.constants import OVER_WORST, reading_constants
from scripts.calibration import readings
from tests.support.runner_context import open_context, small_model

pytestmark = pytest.mark.docker

TEXTS = ["Name the largest ocean.", "Write SQL that counts lamps.", "Who wrote Hamlet, and when?"]


def test_honest_readings_lie_within_what_the_release_carries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(readings, "texts", lambda: TEXTS)
    class_id, cid = max(devices.class_ids_for("bf16")), small_model().cid
    packaged = packaged_for(cid)
    assert packaged is not None
    carried = packaged.classes[class_id].calibration
    with open_context() as context:
        found = readings.measure(context.engine, context.image, context.models.path(cid), class_id, tmp_path)
    assert len(found["embed"]) == len(TEXTS)
    assert [len(rows) for rows in found["classify"]] == [len(TEXTS)] * len(readings.LABELS)
    assert (tmp_path / "readings.npz").stat().st_size > 0
    measured = reading_constants(found["embed"], found["classify"], class_id)
    assert carried.embed is not None
    assert carried.classify is not None
    assert measured["embed"][0] <= OVER_WORST * carried.embed.d0
    assert measured["classify"][0] <= OVER_WORST * carried.classify.d0
