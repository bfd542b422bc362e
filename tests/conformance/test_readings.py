"""The executor's promises about jobs that only read, asked of the fake and of real containers with a real model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest

from executor.workspace.folders import INPUT_JSON, RESULT_JSON
from protocol.events import SampleReplayed
from protocol.judging.kinds import score_of, validate
from protocol.judging.reading import ReadingFacts
from protocol.params import PASS_ABOVE_BPS, REVIEW_ABOVE_BPS
from protocol.stages.execution import Outcome, RunSpec, validate_fingerprint
from protocol.stages.request import CLASSIFY, EMBED
from protocol.stages.verification import UNCALIBRATED
from protocol.wire.ids import JobId
from tests.support.scenes.sandboxes import SALT, Bench
from tests.support.scenes.sandboxes import bench as bench

TEXTS = ["The river was high after the storm.", "A goal in the last minute.", "x", "Rain and wind. " * 12]
READINGS = pytest.mark.parametrize("kind", [EMBED, CLASSIFY])


def asked(kind: int, *texts: str, **changes: Any) -> bytes:
    plain: dict[str, Any] = {"v": 1, "salt": SALT, "texts": texts}
    if kind == CLASSIFY:
        plain["labels"] = ["weather", "sports", "music"]
    return json.dumps(plain | changes).encode()


@dataclasses.dataclass(frozen=True)
class Reading:
    """An honest reading, its result validated."""

    spec: RunSpec
    raw: bytes
    facts: ReadingFacts
    fingerprint: bytes


async def read(bench: Bench, kind: int) -> Reading:
    spec = bench.spec(f"reading {kind}", kind=kind, max_new_tokens=64)
    exited, streamed = await bench.run(spec, asked(kind, *TEXTS))
    assert exited.result.outcome is Outcome.OK, exited.result.detail
    raw = bench.result_of(spec)
    facts = validate(kind, raw, JobId(spec.job_id), bench.manifest, spec.max_new_tokens, asked(kind, *TEXTS))
    assert isinstance(facts, ReadingFacts)
    assert (exited.result.new_tokens, exited.result.finish) == (facts.delivered, "")
    validate_fingerprint(exited.fingerprint, facts.rows)
    assert streamed == []
    assert exited.result.fingerprint_hash == hashlib.sha256(exited.fingerprint).digest()
    assert exited.result.result_hash == hashlib.sha256(raw).digest()
    return Reading(spec, raw, facts, exited.fingerprint)


async def check(bench: Bench, spec: RunSpec, result: bytes, content: bytes) -> SampleReplayed:
    return await bench.sandbox.replay(bench.sample(spec, content, result))


@READINGS
async def test_honest_reading_passes_its_check(bench: Bench, kind: int) -> None:
    done = await read(bench, kind)
    assert done.facts.rows == len(TEXTS)
    replayed = await check(bench, done.spec, done.raw, asked(kind, *TEXTS))
    assert replayed.problem == ""
    assert score_of(kind, done.fingerprint, replayed.check, done.facts.rows, UNCALIBRATED) > PASS_ABOVE_BPS


@READINGS
async def test_one_text_that_was_not_read_fails_the_check(bench: Bench, kind: int) -> None:
    done = await read(bench, kind)
    plain = json.loads(done.raw)
    numbers = plain["embeddings" if kind == EMBED else "logits"]
    # That of another text, and the other way round for the labels.
    numbers[1] = numbers[0] if kind == EMBED else [-number for number in numbers[1]]
    forged = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    replayed = await check(bench, done.spec, forged, asked(kind, *TEXTS))
    assert replayed.problem == ""
    assert score_of(kind, done.fingerprint, replayed.check, done.facts.rows, UNCALIBRATED) <= REVIEW_ABOVE_BPS


@READINGS
async def test_reading_of_other_texts_is_a_problem_and_gets_no_check(bench: Bench, kind: int) -> None:
    done = await read(bench, kind)
    replayed = await check(bench, done.spec, done.raw, asked(kind, *TEXTS[::-1]))
    assert replayed.check == b""
    assert "prompt_mismatch" in replayed.problem or "misstates" in replayed.problem


@pytest.mark.parametrize(
    ("kind", "content", "changes", "detail"),
    [
        (EMBED, asked(EMBED, "half \ud800"), {}, "bad_texts"),
        (EMBED, asked(EMBED, "a", "b"), {"max_new_tokens": 1}, "texts_too_long"),
        (EMBED, asked(EMBED, "a"), {"temperature": 800}, "params.temperature_milli must be"),
        (CLASSIFY, asked(CLASSIFY, "a", labels=[]), {}, "bad_labels"),
        (CLASSIFY, asked(CLASSIFY, "a", labels=["same", "same"]), {}, "labels_alike"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_reading_that_cannot_be_done_as_asked_is_the_clients_fault(
    bench: Bench, kind: int, content: bytes, changes: dict[str, Any], detail: str
) -> None:
    spec = dataclasses.replace(bench.spec(detail + str(kind), kind=kind, max_new_tokens=64), **changes)
    exited, _ = await bench.run(spec, content)
    assert exited.result.outcome is Outcome.CLIENT, exited.result.detail
    assert detail in exited.result.detail


async def test_reading_in_the_workspace_is_told_again_and_not_read_again(bench: Bench) -> None:
    done = await read(bench, EMBED)
    again, _ = await bench.run(done.spec, None)
    assert (again.result.outcome, again.fingerprint) == (Outcome.OK, done.fingerprint)
    workspace = bench.workspaces.of_job(done.spec.job_id)
    assert (workspace.get(RESULT_JSON), workspace.get(INPUT_JSON)) == (done.raw, asked(EMBED, *TEXTS))
