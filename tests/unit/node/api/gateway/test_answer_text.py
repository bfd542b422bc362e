"""Text that was sent cannot be taken back: what follows it, and what ends the stream."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.api.gateway.answer_text import AnswerText
from node.api.gateway.refusals import GatewayRefusal
from node.api.views import JobUpdate
from tests.fakes.backend import job_of
from tests.support.scenes.followed_jobs import ASK

JOB = job_of(ASK, "ab" * 32)


def text(said: str, attempt: int = 0) -> JobUpdate:
    return JobUpdate("text", text=said, attempt=attempt)


def state(said: str, name: str = "running", attempt: int = 0) -> JobUpdate:
    return JobUpdate("state", job=replace(JOB, state=name, text=said, attempt=attempt))


def sent(*updates: JobUpdate) -> list[str]:
    answer = AnswerText()
    return [answer.new(update) for update in updates]


def test_text_comes_once_whether_as_a_part_or_in_a_view() -> None:
    assert sent(state("The "), text("sky "), state("The sky "), text("is"), state("The sky is blue", "delivered")) == [
        *("The ", "sky ", "", "is"),
        " blue",
    ]


def test_view_that_is_behind_takes_nothing_back() -> None:
    assert sent(text("The sky"), state("The"), text(" is")) == ["The sky", "", " is"]


def test_second_attempt_is_silent_until_it_is_ahead() -> None:
    assert sent(text("The sky"), state("", attempt=1), text("The", 1), text(" sky is", 1)) == ["The sky", "", "", " is"]


@pytest.mark.parametrize(
    "update",
    [text("A cloud", 1), state("The", "delivered"), state("", "delivered"), state("The cat", "delivered")],
    ids=["another attempt", "shorter result", "empty result", "another result"],
)
def test_answer_that_is_another_one_now_ends_the_stream(update: JobUpdate) -> None:
    answer = AnswerText()
    answer.new(text("The sky"))
    with pytest.raises(GatewayRefusal) as caught:
        answer.new(update)
    assert (caught.value.status, caught.value.code) == (502, "answer_changed")
