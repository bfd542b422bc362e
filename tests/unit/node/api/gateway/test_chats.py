"""Chats over a real port: whole answers, streams, and what becomes of a job whose client leaves."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from io import StringIO
from typing import Any

import httpx
import pytest
import trio

from node.api import views as views
from node.api.backend import JobAsk
from node.api.gateway.bodies import chat_body
from node.api.gateway.completions import finish_reason
from tests.fakes.answering import COST_WEI, WORDS
from tests.fakes.backend import PROVIDER, SMOL, STOPPED_WEI, job_of
from tests.support.scenes.gateways import CHAT, WITHIN_S, Gateway

DELIVERED: dict[str, Any] = {"state": "delivered", "finish": "length", "tokens": 2, "cost_wei": COST_WEI}


def events(said: str) -> list[Any]:
    """The objects of a stream; its last word as it is."""
    lines = [line.removeprefix("data: ") for line in said.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def test_whole_answer_has_text_usage_and_cost(answering: Gateway) -> None:
    answer = await answering.chat()
    assert answer.status_code == 200, answer.text
    said = answer.json()
    (choice,) = said["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("".join(WORDS), "stop")
    (job_id,) = answering.backend.held
    assert said["id"] == f"chatcmpl-{job_id}"
    assert said["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 4,
        "total_tokens": 9,
        "cost_vcn": "0.02",
        "cost_wei": str(COST_WEI),
        "job_ids": [job_id],
    }


@pytest.mark.parametrize(
    ("finish", "reason"), [("eos", "stop"), ("stop", "stop"), ("length", "length"), ("dead_end", "length")]
)
def test_answer_that_is_not_whole_ended_at_a_length(finish: str, reason: str) -> None:
    assert finish_reason(replace(job_of(chat_body(CHAT).ask, "ab" * 32), finish=finish)) == reason


async def test_choices_are_jobs(answering: Gateway) -> None:
    said = (await answering.chat(n=3)).json()
    assert [choice["index"] for choice in said["choices"]] == [0, 1, 2]
    assert len(answering.backend.asked) == 3
    assert said["usage"]["cost_wei"] == str(3 * COST_WEI)
    assert said["usage"]["prompt_tokens"] == 5


async def test_ask_is_what_the_body_says(answering: Gateway) -> None:
    await answering.chat(temperature=0.7, messages=[{"role": "developer", "content": "Be short."}, *CHAT["messages"]])
    await answering.chat()
    first, second = answering.backend.asked
    assert (first.model, first.max_new_tokens, first.temperature_milli) == (SMOL.manifest, 64, 700)
    assert [message.role for message in first.messages] == ["system", "user"]
    assert second.temperature_milli == 1_000
    assert first.max_price_wei > 0, "a job has a cap, so its cost can be set aside"


async def test_stream_passes_tokens_on_as_they_come(gateway: Gateway) -> None:
    body = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
    heard = StringIO()

    async def read() -> None:
        async with gateway.client.stream("POST", "/chat/completions", json=body) as answer:
            async for part in answer.aiter_text():
                heard.write(part)

    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            (job_id,) = await gateway.asked()
            gateway.backend.change(job_id, state="running", node=PROVIDER)
            gateway.backend.say(job_id, "The ")
            while '"The "' not in heard.getvalue():
                await trio.lowlevel.checkpoint()
            gateway.backend.say(job_id, "sky")
            gateway.backend.change(job_id, **DELIVERED)
    said = events(heard.getvalue())
    assert said.pop() == "[DONE]"
    last = said.pop()
    assert (last["choices"], last["usage"]["cost_wei"]) == ([], str(COST_WEI))
    deltas = [(each["choices"][0]["delta"], each["choices"][0]["finish_reason"]) for each in said]
    assert deltas == [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "The "}, None),
        ({"content": "sky"}, None),
        ({}, "length"),
    ]
    assert all(each["usage"] is None for each in said)
    assert {each["id"] for each in said} == {f"chatcmpl-{job_id}"}


async def test_stream_without_usage_says_nothing_of_it(answering: Gateway) -> None:
    answer = await answering.chat(stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "usage" not in answer.text
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in events(answer.text)[:-1]) == "".join(
        WORDS
    )


async def test_streamed_choices_are_told_apart(answering: Gateway) -> None:
    said = events((await answering.chat(stream=True, n=2)).text)[:-1]
    for index in (0, 1):
        mine = [each["choices"][0] for each in said if each["choices"][0]["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in mine) == "".join(WORDS)
        assert mine[-1]["finish_reason"] == "stop"


async def answer_of(gateway: Gateway, play: Any, **changes: Any) -> httpx.Response:
    """The response to a chat whose job the test plays."""
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await gateway.chat(**changes))

    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            (job_id,) = await gateway.asked()
            while job_id not in gateway.backend.feed.followed:
                await trio.lowlevel.checkpoint()
            await play(job_id)
    return answers[0]


async def test_job_that_no_node_takes_says_why(gateway: Gateway) -> None:
    async def play(job_id: str) -> None:
        failure = views.Trouble("job_failed", "no node has offered within 30 s", "")
        gateway.backend.change(job_id, state="failed", failure=failure)

    answer = await answer_of(gateway, play, stream=True)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert answer.json()["error"]["message"] == "no node has offered within 30 s"


async def test_job_that_its_node_fails_is_not_asked_again_by_itself(gateway: Gateway) -> None:
    async def play(job_id: str) -> None:
        failure = views.Trouble("job_failed", "the container ended", "")
        gateway.backend.change(job_id, state="failed", node=PROVIDER, failure=failure)

    answer = await answer_of(gateway, play)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "false")


async def test_failure_in_the_middle_of_a_stream_is_an_event(gateway: Gateway) -> None:
    async def play(job_id: str) -> None:
        gateway.backend.change(job_id, state="running", node=PROVIDER)
        gateway.backend.say(job_id, "The ")
        failure = views.Trouble("job_failed", "the container ended", "")
        gateway.backend.change(job_id, state="failed", failure=failure)

    answer = await answer_of(gateway, play, stream=True)
    said = events(answer.text)
    assert answer.status_code == 200
    assert said[-1]["error"]["message"] == "the container ended"
    assert "[DONE]" not in said


async def test_second_attempt_goes_on_where_the_first_one_ended(gateway: Gateway) -> None:
    async def play(job_id: str) -> None:
        gateway.backend.change(job_id, state="running", node=PROVIDER)
        gateway.backend.say(job_id, "The sky ")
        gateway.backend.change(job_id, state="requested", attempt=1, text="", node="")
        gateway.backend.change(job_id, state="running", node=PROVIDER)
        for part in ("The ", "sky is ", "blue"):
            gateway.backend.say(job_id, part)
        gateway.backend.change(job_id, **DELIVERED)

    said = events((await answer_of(gateway, play, stream=True)).text)
    assert said.pop() == "[DONE]"
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in said) == "The sky is blue"


async def test_second_attempt_that_differs_ends_the_stream(gateway: Gateway) -> None:
    async def play(job_id: str) -> None:
        gateway.backend.say(job_id, "The sky ")
        gateway.backend.change(job_id, state="requested", attempt=1, text="")
        gateway.backend.say(job_id, "A cloud")
        gateway.backend.change(job_id, **DELIVERED)

    said = events((await answer_of(gateway, play, stream=True)).text)
    assert said[-1]["error"]["code"] == "answer_changed"


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("choices", [1, 2])
async def test_jobs_of_a_client_that_left_are_stopped_and_cost_what_was_written(
    gateway: Gateway, is_streamed: bool, choices: int
) -> None:
    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(gateway.chat, stream=is_streamed, n=choices))
            jobs = await gateway.asked(choices)
            while set(jobs) != gateway.backend.feed.followed:
                await trio.lowlevel.checkpoint()
            for job_id in jobs:
                gateway.backend.change(job_id, state="running", node=PROVIDER)
                gateway.backend.say(job_id, "The ")
            nursery.cancel_scope.cancel()
        while gateway.kept().reserved_wei != choices * STOPPED_WEI:
            await trio.lowlevel.checkpoint()
    assert sorted(gateway.backend.stopped) == sorted(jobs)
    assert {gateway.backend.held[job_id].finish for job_id in jobs} == {"stop_order"}
    assert (await gateway.client.get("/models")).status_code == 200


async def test_client_that_left_before_its_job_had_an_id_has_it_stopped(gateway: Gateway) -> None:
    ask, has_left = gateway.backend.ask_job, trio.Event()

    async def late(asked: JobAsk) -> str:
        gateway.backend.asked.append(asked)
        await has_left.wait()
        return await ask(asked)

    gateway.backend.ask_job = late  # type: ignore[method-assign]
    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gateway.chat)
            while not gateway.backend.asked:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        # The server has to see that the connection is closed.
        assert (await gateway.client.get("/models")).status_code == 200
        has_left.set()
        while not gateway.backend.stopped:
            await trio.lowlevel.checkpoint()
    (job_id,) = gateway.backend.held
    assert (gateway.backend.stopped, gateway.backend.held[job_id].state) == ([job_id], "failed")


async def test_one_choice_that_fails_stops_the_others(gateway: Gateway) -> None:
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await gateway.chat(n=2))

    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            jobs = await gateway.asked(2)
            while set(jobs) != gateway.backend.feed.followed:
                await trio.lowlevel.checkpoint()
            failure = views.Trouble("job_failed", "the container ended", "")
            gateway.backend.change(jobs[0], state="failed", node=PROVIDER, failure=failure)
        while len(gateway.backend.stopped) < 2:
            await trio.lowlevel.checkpoint()
    assert answers[0].status_code == 502
    assert gateway.backend.held[jobs[1]].state == "failed"


@pytest.mark.parametrize("has_begun", [True, False])
async def test_bug_of_the_node_ends_a_stream_with_an_error_and_without_its_words(
    gateway: Gateway, has_begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    follow = gateway.backend.follow

    @asynccontextmanager
    async def broken(prefix: str) -> AsyncIterator[AsyncIterator[views.JobUpdate]]:
        async def updates() -> AsyncIterator[views.JobUpdate]:
            async with follow(prefix) as heard:
                async for update in heard:
                    if update.job is not None and update.job.state == "running":
                        raise ZeroDivisionError("secret")
                    yield update

        async with aclosing(updates()) as heard:
            yield heard

    gateway.backend.follow = broken  # type: ignore[method-assign]

    async def play(job_id: str) -> None:
        if has_begun:
            gateway.backend.say(job_id, "The ")
        gateway.backend.change(job_id, state="running", node=PROVIDER)

    answer = await answer_of(gateway, play, stream=True)
    error = events(answer.text)[-1]["error"] if has_begun else answer.json()["error"]
    assert (answer.status_code, error["code"]) == (200 if has_begun else 500, "internal")
    assert not re.search("secret|Group|DONE", answer.text)
    # Of an answer that has not begun, the server logs the error after it has answered.
    assert not has_begun or "ZeroDivisionError" in caplog.text
