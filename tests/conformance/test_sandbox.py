"""The executor's promises to the driver, asked of the fake and of real containers with a real model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
import trio
import trio.testing

from executor.workspace.folders import FINGERPRINT_BIN, INPUT_JSON, RESULT_JSON
from protocol.effects import ReplaySample
from protocol.errors import ExecutorError
from protocol.events import ContainerExited, ContainersHeld
from protocol.stages.execution import Outcome, RunSpec, validate_fingerprint, validate_result
from protocol.stages.verification import UNCALIBRATED, distances, score
from protocol.wire.ids import JobId
from tests.support.scenes.sandboxes import SALT, Bench

QUESTION = "Name three rivers of Europe and say where each of them ends."


def chat(*contents: str) -> bytes:
    messages = [{"role": "user", "content": content} for content in contents]
    return json.dumps({"v": 1, "salt": SALT, "messages": messages}).encode()


@pytest.fixture
async def answered(bench: Bench) -> tuple[RunSpec, ContainerExited, list[int]]:
    """A job that went well; run at the first call and only told again after that."""
    spec = bench.spec("answered")
    exited, streamed = await bench.run(spec, chat(QUESTION))
    return spec, exited, streamed


async def test_job_ends_with_a_result_that_its_own_node_would_offer(
    bench: Bench, answered: tuple[RunSpec, ContainerExited, list[int]]
) -> None:
    spec, exited, streamed = answered
    assert exited.result.outcome is Outcome.OK, exited.result.detail
    raw = bench.result_of(spec)
    facts = validate_result(raw, JobId(spec.job_id), bench.manifest, spec.max_new_tokens, salt=SALT)
    validate_fingerprint(exited.fingerprint, len(facts.output_ids))
    assert exited.result.result_hash == hashlib.sha256(raw).digest()
    assert exited.result.fingerprint_hash == hashlib.sha256(exited.fingerprint).digest()
    assert exited.fingerprint == bench.workspaces.of_job(spec.job_id).get(FINGERPRINT_BIN)
    assert (exited.result.new_tokens, exited.result.finish) == (len(facts.output_ids), facts.finish)
    assert exited.result.duration_ms > 0
    assert tuple(streamed) == facts.output_ids
    assert facts.output_ids
    serving = bench.sandbox.serving()
    assert (serving.streams, serving.jobs_waiting, serving.checks_waiting) == (0, 0, 0)
    (served,) = serving.models
    assert (served.manifest, served.answers, served.tokens) == (bench.manifest.cid, 1, len(streamed))
    assert served.first_token_ms > 0 < serving.tokens_per_s


async def test_same_job_asked_again_is_answered_and_not_run_again(
    bench: Bench, answered: tuple[RunSpec, ContainerExited, list[int]]
) -> None:
    spec, exited, _ = answered
    again, streamed = await bench.run(spec, None)
    assert again == exited
    assert streamed == []


async def test_check_of_an_honest_result_finds_it_close(
    bench: Bench, answered: tuple[RunSpec, ContainerExited, list[int]]
) -> None:
    spec, exited, _ = answered
    replayed = await bench.sandbox.replay(bench.sample(spec, chat(QUESTION), bench.result_of(spec)))
    assert replayed.problem == ""
    found = distances(exited.fingerprint, replayed.check, exited.result.new_tokens)
    assert score(exited.fingerprint, replayed.check, exited.result.new_tokens, UNCALIBRATED) > 9500, found


async def test_check_finds_a_token_that_the_model_did_not_choose(
    bench: Bench, answered: tuple[RunSpec, ContainerExited, list[int]]
) -> None:
    spec, exited, _ = answered
    plain = json.loads(bench.result_of(spec))
    plain["output_token_ids"][5] = plain["output_token_ids"][5] // 2 + 3
    forged = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    replayed = await bench.sandbox.replay(bench.sample(spec, chat(QUESTION), forged))
    assert replayed.problem == ""
    assert score(exited.fingerprint, replayed.check, exited.result.new_tokens, UNCALIBRATED) <= 8500


async def test_seed_decides_what_is_answered_at_a_temperature(bench: Bench) -> None:
    spec = bench.spec("drawn", temperature=800, seed=b"\x01" * 32, max_new_tokens=24)
    exited, _ = await bench.run(spec, chat(QUESTION))
    assert exited.result.outcome is Outcome.OK, exited.result.detail
    scores = []
    for each in (spec, dataclasses.replace(spec, seed=b"\x02" * 32)):
        # A workspace of its own: what has been checked is not checked again.
        sample = dataclasses.replace(bench.sample(spec, chat(QUESTION), bench.result_of(spec)), spec=each)
        sample = dataclasses.replace(sample, leaf_index=len(scores))
        for name, content in ((INPUT_JSON, chat(QUESTION)), (RESULT_JSON, bench.result_of(spec))):
            bench.workspaces.of_sample(sample.batch_id, sample.leaf_index).put(name, content)
        replayed = await bench.sandbox.replay(sample)
        scores.append(score(exited.fingerprint, replayed.check, exited.result.new_tokens, UNCALIBRATED))
    assert scores[0] > 9500 > 8500 >= scores[1], scores


async def test_answer_to_another_prompt_is_a_problem_and_gets_no_check(
    bench: Bench, answered: tuple[RunSpec, ContainerExited, list[int]]
) -> None:
    spec, _, _ = answered
    replayed = await bench.sandbox.replay(bench.sample(spec, chat("Something else."), bench.result_of(spec)))
    assert replayed.check == b""
    assert "prompt_mismatch" in replayed.problem


@pytest.mark.parametrize(
    ("name", "content", "changes", "outcome", "detail"),
    [
        ("no messages", chat(), {}, Outcome.CLIENT, "bad_messages"),
        ("long", chat("word " * 9000), {}, Outcome.CLIENT, "prompt_too_long"),
        ("hot", chat(QUESTION), {"temperature": 2001}, Outcome.CLIENT, "params.temperature_milli must be"),
        ("late", chat(QUESTION), {"timeout_ms": 50}, Outcome.JOB, "timeout"),
        ("large", chat(QUESTION), {"memory_bytes": 48 << 20}, Outcome.JOB, "out_of_memory"),
        ("no model", chat(QUESTION), {"manifest": bytes(32)}, Outcome.PROVIDER, "not"),
        ("no input", None, {}, Outcome.PROVIDER, "not"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 12 else "",
)
async def test_job_that_fails_says_whose_fault_it_is(
    bench: Bench, name: str, content: bytes | None, changes: dict[str, Any], outcome: Outcome, detail: str
) -> None:
    exited, streamed = await bench.run(bench.spec(name, **changes), content)
    assert exited.result.outcome is outcome, exited.result.detail
    assert detail in exited.result.detail
    assert (exited.fingerprint, exited.result.new_tokens, streamed) == (b"", 0, [])


async def test_check_that_cannot_run_here_says_nothing_about_the_result(bench: Bench) -> None:
    with pytest.raises(ExecutorError):
        await bench.sandbox.replay(ReplaySample(bytes(32), 0, bench.spec("never opened")))


async def test_cancelling_ends_the_run_at_once(bench: Bench) -> None:
    spec = bench.spec("cancelled", max_new_tokens=2000)
    bench.workspaces.of_job(spec.job_id).put(INPUT_JSON, chat(QUESTION))
    with trio.fail_after(30), trio.CancelScope() as scope:

        async def on_tokens(ids: tuple[int, ...]) -> None:
            scope.cancel()
            await trio.lowlevel.checkpoint()

        await bench.sandbox.run_job(spec, on_tokens)
    assert scope.cancelled_caught
    assert bench.workspaces.of_job(spec.job_id).get(RESULT_JSON) is None


async def test_machine_reports_its_classes_and_slots(bench: Bench) -> None:
    status = (await bench.sandbox.report()).status
    assert bench.class_id in status.class_ids
    assert status.slots == 1
    assert len(status.ms_per_token) == len(status.class_ids)
    assert min(status.ms_per_token) > 0
    await bench.sandbox.recover()


async def test_nothing_is_run_while_containers_stand_still(bench: Bench) -> None:
    spec, found = bench.spec("held"), list[ContainerExited]()

    async def run() -> None:
        found.append((await bench.run(spec, chat(QUESTION)))[0])

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            assert await bench.sandbox.hold(is_held=True) == ContainersHeld(is_held=True)
            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            assert found == []
            assert await bench.sandbox.hold(is_held=False) == ContainersHeld(is_held=False)
    assert found[0].result.outcome is Outcome.OK
