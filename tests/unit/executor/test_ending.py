"""The party that pays for the end of a container."""

from __future__ import annotations

from typing import Any

import pytest

from executor.containers.ending import Ending, Intent, RunnerError, classify
from protocol.stages.execution import Outcome


def ending(exit_code: int = 0, **fields: Any) -> Ending:
    return Ending(exit_code=exit_code, **{"oom_killed": False, "engine_error": "", "duration_ms": 5, **fields})


CASES = [
    (ending(0), Outcome.OK),
    (ending(64), Outcome.CLIENT),
    (ending(65), Outcome.CLIENT),
    (ending(70), Outcome.PROVIDER),
    (ending(75), Outcome.RESUMABLE),
    (ending(1), Outcome.PROVIDER),
    (ending(126), Outcome.PROVIDER),
    (ending(127), Outcome.PROVIDER),
    (ending(137), Outcome.PROVIDER),
    (ending(139), Outcome.PROVIDER),
    (ending(153), Outcome.JOB),
    (ending(137, oom_killed=True), Outcome.JOB),
    (ending(1, oom_killed=True), Outcome.JOB),
    # Only a child was killed, and the job finished without it.
    (ending(0, oom_killed=True), Outcome.OK),
    (ending(70, runner_error=RunnerError("out_of_memory", "")), Outcome.JOB),
    (ending(70, runner_error=RunnerError("output_quota", "")), Outcome.JOB),
    (ending(127, engine_error="no such file"), Outcome.PROVIDER),
    (ending(0, engine_error="device lost"), Outcome.PROVIDER),
    (ending(255, unseen=True), Outcome.PROVIDER),
    (ending(255, unseen=True, intent=Intent.TIMEOUT), Outcome.JOB),
    (ending(137, intent=Intent.DONE), Outcome.OK),
    (ending(137, intent=Intent.TIMEOUT), Outcome.JOB),
    (ending(137, intent=Intent.CANCELLED), Outcome.CANCELLED),
    (ending(137, intent=Intent.FLOOD), Outcome.HOSTILE),
]


@pytest.mark.parametrize(("ended", "outcome"), CASES)
def test_outcome(ended: Ending, outcome: Outcome) -> None:
    assert classify(ended)[0] is outcome


@pytest.mark.parametrize("exit_code", [0, 64, 65, 70, 75, 137])
@pytest.mark.parametrize("oom_killed", [False, True])
def test_our_own_kill_explains_everything_else(exit_code: int, oom_killed: bool) -> None:
    ended = ending(exit_code, oom_killed=oom_killed, engine_error="x", intent=Intent.TIMEOUT)
    assert classify(ended) == (Outcome.JOB, "timeout: killed after 5 ms")


def test_memory_is_asked_before_what_the_runner_says() -> None:
    lying = ending(65, oom_killed=True, runner_error=RunnerError("bad_messages", "not me"))
    assert classify(lying)[0] is Outcome.JOB


def test_detail_carries_the_runners_own_words() -> None:
    ended = ending(65, runner_error=RunnerError("prompt_too_long", "the prompt has 9000 tokens"))
    assert classify(ended)[1] == "prompt_too_long: the prompt has 9000 tokens"


def test_limit_code_with_a_good_exit_is_no_excuse() -> None:
    assert classify(ending(0, runner_error=RunnerError("output_quota", "")))[0] is Outcome.OK
