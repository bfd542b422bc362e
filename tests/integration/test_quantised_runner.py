"""A node that runs a 4-bit copy of the model, judged by the calibration that this release carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from chain.calibration.files import packaged_for
from executor import devices
from executor.runs.context import RunnerContext
from executor.runs.generation import Generation, PendingRun
from executor.runs.replay import Replay
from executor.workspace.folders import INPUT_JSON, RESULT_JSON, Workspace
from protocol.stages.execution import Outcome, RunSpec
from protocol.stages.verification import Distances, distances, score
from tests.adversaries.images import build
from tests.support.runner_context import docker_host, open_context, small_model

pytestmark = [pytest.mark.docker, pytest.mark.long]

QUESTION = "Explain in depth how salt changed the history of human society, with examples from several countries."
CHAT = json.dumps({"v": 1, "salt": "00" * 16, "messages": [{"role": "user", "content": QUESTION}]}).encode()
TOKENS = 64


@dataclass(frozen=True)
class Stations:
    """The same machine with the honest image and with the 4-bit one."""

    honest: RunnerContext
    quantised: RunnerContext


@pytest.fixture(scope="module")
def stations() -> Iterator[Stations]:
    with ExitStack() as stack:
        honest = stack.enter_context(open_context())
        image = build("quantised_runner", honest.image, docker_host())
        yield Stations(honest, stack.enter_context(open_context(image)))


def judge(worker: RunnerContext, seat: RunnerContext, home: Path) -> tuple[int, Distances]:
    """The score that `seat` gives an answer of `worker`, and what it found."""
    class_id = max(devices.class_ids_for("bf16"))
    manifest = small_model().cid
    noise = packaged_for(manifest)
    assert noise is not None, "this release carries no calibration of the small model"
    spec = RunSpec(
        hashlib.sha256(QUESTION.encode()).digest(), manifest, class_id, TOKENS, 0, bytes(32), 2 << 30, 240_000
    )
    mine, theirs = Workspace(home / "mine"), Workspace(home / "theirs")
    theirs.put(INPUT_JSON, CHAT)
    result, fingerprint = Generation(worker, PendingRun(worker, spec, theirs)).run(lambda ids: None)
    assert result.outcome is Outcome.OK, result.detail
    mine.put(INPUT_JSON, CHAT)
    mine.put(RESULT_JSON, theirs.get(RESULT_JSON) or b"")
    check, problem = Replay(seat, spec, mine).run()
    assert problem == ""
    calibration = noise.classes[class_id].calibration
    return score(fingerprint, check, result.new_tokens, calibration), distances(fingerprint, check, result.new_tokens)


def test_honest_answer_passes(stations: Stations, tmp_path: Path) -> None:
    points, found = judge(stations.honest, stations.honest, tmp_path)
    assert points > 9500, found


def test_answer_of_a_4_bit_copy_fails(stations: Stations, tmp_path: Path) -> None:
    points, found = judge(stations.quantised, stations.honest, tmp_path)
    assert points < 2000, found
