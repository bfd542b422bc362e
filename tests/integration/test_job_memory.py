"""A real job, and its check, in a container that has no more memory than the job is counted to need."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from executor import devices
from executor.docker_runner import Capacity, DockerRunner
from executor.runs.context import SERVE
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import INPUT_JSON, RESULT_JSON, Workspaces
from protocol.effects import ReplaySample
from protocol.stages.execution import CLASS_DTYPES, Outcome, RunSpec
from protocol.stages.memory import needed_bytes, tokens_of
from protocol.stages.request import GENERATE
from tests.support.runner_context import open_context, small_model

pytestmark = [pytest.mark.docker, pytest.mark.slow]

CLASSES = devices.class_ids_for("bf16")
NEW_TOKENS = 32
LONG = "".join(chr(0x4E00 + 37 * number % 5_000) for number in range(700))
"""Signs that the small model's tokenizer takes apart: nearly a token a byte of UTF-8."""


async def ignore(_ids: tuple[int, ...]) -> None:
    """The test reads the result, not the stream."""


@pytest.mark.parametrize("class_id", CLASSES)
@pytest.mark.parametrize("content", ["Why is the sky blue?", LONG], ids=["short", "long"])
async def test_job_and_check_fit_in_what_the_job_needs(class_id: int, content: str, tmp_path: Path) -> None:
    manifest, job_id = small_model(), hashlib.sha256(content.encode()).digest()
    plain = {"v": 1, "salt": "5a" * 16, "messages": [{"role": "user", "content": content}]}
    asked = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    tokens = tokens_of(GENERATE, len(asked), NEW_TOKENS, manifest.context)
    needs = needed_bytes(manifest, class_id, tokens)
    # In float32 the file beside the weights takes as much as the keys and values of the longest context.
    assert (needs < manifest.needs_bytes) is (CLASS_DTYPES[class_id] == "bf16" or content != LONG)
    spec = RunSpec(job_id, manifest.cid, class_id, NEW_TOKENS, 0, bytes(32), needs, 300_000)
    workspaces = Workspaces(tmp_path / "work")
    workspaces.of_job(job_id).put(INPUT_JSON, asked)
    with open_context() as context:
        runner = DockerRunner(context, workspaces, Capacity(1, HostSlots(tmp_path / "slots", 1)))
        exited = await runner.run_job(spec, ignore)
        assert exited.result.outcome is Outcome.OK, exited.result
        sample = workspaces.of_sample(job_id, 0)
        sample.put(INPUT_JSON, asked)
        sample.put(RESULT_JSON, workspaces.of_job(job_id).get(RESULT_JSON) or b"")
        replayed = await runner.replay(ReplaySample(job_id, 0, spec))
        assert (replayed.problem, replayed.check != b"") == ("", True)


async def test_an_engine_takes_a_job_with_no_more_than_the_counted_need(tmp_path: Path) -> None:
    manifest, class_id, content = small_model(), max(CLASSES), "Why is the sky blue?"
    job_id = hashlib.sha256(content.encode()).digest()
    plain = {"v": 1, "salt": "5a" * 16, "messages": [{"role": "user", "content": content}]}
    asked = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    needs = needed_bytes(manifest, class_id, tokens_of(GENERATE, len(asked), NEW_TOKENS, manifest.context))
    spec = RunSpec(job_id, manifest.cid, class_id, NEW_TOKENS, 0, bytes(32), needs, 300_000)
    workspaces = Workspaces(tmp_path / "work")
    workspaces.of_job(job_id).put(INPUT_JSON, asked)
    with open_context(node=f"test-need-{os.getpid()}") as context:
        began = int(time.time())
        runner = DockerRunner(context, workspaces, Capacity(1, HostSlots(tmp_path / "slots", 1), at_once=4))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.serve)
            await trio.testing.wait_all_tasks_blocked()
            exited = await runner.run_job(spec, ignore)
            nursery.cancel_scope.cancel()
        filters = {"label": f"org.vcoin.node=test-need-{os.getpid()}", "event": "create"}
        made = list(context.engine.api.events(since=began, until=time.time(), filters=filters, decode=True))
    assert exited.result.outcome is Outcome.OK, exited.result
    assert [each["Actor"]["Attributes"]["org.vcoin.kind"] for each in made] == [SERVE]
