"""The official `openai` package against the gateway: what its users write works, and fails as its documents say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import openai
import pytest
import trio

from node.api import views as views
from tests.fakes.answering import COST_WEI, WORDS, AnsweringBackend
from tests.fakes.backend import SMOL, VCN, FakeBackend
from tests.support.scenes.gateways import CHAT, WITHIN_S, Gateway, open_gateway

T = TypeVar("T")


def client_of(gateway: Gateway, **changes: Any) -> openai.OpenAI:
    given = {"api_key": gateway.shown, "base_url": gateway.url, "max_retries": 0, "timeout": WITHIN_S}
    return openai.OpenAI(**given | changes)


async def in_thread(act: Callable[[], T]) -> T:
    """The synchronous client, while the gateway goes on."""
    with trio.fail_after(WITHIN_S):
        return await trio.to_thread.run_sync(act)


async def test_chat(answering: Gateway) -> None:
    with client_of(answering) as client:
        said = await in_thread(partial(client.chat.completions.create, **CHAT, n=2))
    assert [choice.message.content for choice in said.choices] == ["".join(WORDS)] * 2
    assert said.usage is not None
    assert said.usage.model_extra is not None
    assert said.usage.completion_tokens == 2 * len(WORDS)
    assert said.usage.model_extra["cost_wei"] == str(2 * COST_WEI)


async def test_stream(answering: Gateway) -> None:
    def read() -> tuple[str, Any]:
        with client_of(answering) as client:
            stream = client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
            chunks = list(stream)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]), chunks[-1].usage

    text, usage = await in_thread(read)
    assert text == "".join(WORDS)
    assert usage.model_extra["cost_vcn"] == "0.02"


async def test_completion_of_a_text_whole_and_as_a_stream(answering: Gateway) -> None:
    asked: dict[str, Any] = {"model": SMOL.name, "prompt": "The sky is blue because", "max_tokens": 64}

    def read() -> tuple[Any, list[Any]]:
        with client_of(answering) as client:
            whole = client.completions.create(**asked, n=2, seed=5, stop=["END"], presence_penalty=0.5)
            stream = client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
            return whole, list(stream)

    whole, chunks = await in_thread(read)
    assert whole.object == "text_completion"
    assert [(choice.text, choice.finish_reason) for choice in whole.choices] == [("".join(WORDS), "stop")] * 2
    assert whole.usage.completion_tokens == 2 * len(WORDS)
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "".join(WORDS)
    assert (chunks[-2].choices[0].finish_reason, chunks[-1].usage.model_extra["cost_vcn"]) == ("stop", "0.02")
    assert all(chunk.id.startswith("cmpl-") and chunk.object == "text_completion" for chunk in chunks)
    first, second, streamed = answering.backend.asked
    assert first.prompt == second.prompt == streamed.prompt == asked["prompt"]
    assert [(each.rules.stop, each.rules.presence_milli) for each in (first, second)] == [(("END",), 500)] * 2
    assert 5 in (first.rules.seed, second.rules.seed)
    assert first.rules.seed != second.rules.seed, "choices of one seed would all be the same"
    assert not streamed.rules.plain


async def test_asynchronous_chat_and_stream(answering: Gateway) -> None:
    async def talk() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(api_key=answering.shown, base_url=answering.url, max_retries=0) as client:
            said = await client.chat.completions.create(**CHAT)
            stream = await client.chat.completions.create(**CHAT, stream=True)
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return said.choices[0].message.content, "".join(parts)

    # Its users have asyncio.
    assert await in_thread(lambda: asyncio.run(talk())) == ("".join(WORDS), "".join(WORDS))


async def test_answer_is_sent_back_as_part_of_the_next_chat(answering: Gateway) -> None:
    def talk() -> str | None:
        with client_of(answering) as client:
            said = client.chat.completions.create(**CHAT).choices[0].message
            messages = [*CHAT["messages"], said, {"role": "user", "content": "And at night?"}]
            return client.chat.completions.create(model=SMOL.name, messages=messages).choices[0].message.content

    assert await in_thread(talk) == "".join(WORDS)
    assert [message.role for message in answering.backend.asked[1].messages] == ["user", "assistant", "user"]


async def test_embeddings(answering: Gateway) -> None:
    with client_of(answering) as client:
        # Without a format the client asks for base64 and unpacks it.
        for more in ({}, {"encoding_format": "float"}):
            create = partial(client.embeddings.create, model=SMOL.name, input=["a", "b"], **more)
            found = await in_thread(create)
            assert [entry.embedding for entry in found.data] == [
                pytest.approx([0.6, -0.8, 0.0]),
                pytest.approx([0.6, -0.8, 1.0]),
            ]


async def test_models(answering: Gateway) -> None:
    with client_of(answering) as client:
        assert [model.id for model in await in_thread(lambda: list(client.models.list()))] == [SMOL.name]
        assert (await in_thread(partial(client.models.retrieve, SMOL.name))).owned_by == "vcoin"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model": "gpt-4"}, openai.NotFoundError, "unknown model 'gpt-4'"),
        ({"logprobs": True}, openai.BadRequestError, "logprobs: jobs of this network do not support it"),
        ({"stop": ["x"] * 5}, openai.BadRequestError, "stop: expected at most 4 texts"),
        (
            {"messages": [{"role": "user", "content": "x" * 9 * 2**20}]},
            openai.APIStatusError,
            "more than 8388608 bytes",
        ),
        ({"max_tokens": 8_192}, openai.BadRequestError, "exceeds the model's 8192"),
        ({"n": 8, "max_tokens": 4_096}, openai.APIStatusError, "left of its budget"),
    ],
)
async def test_error_is_of_its_class(
    answering: Gateway, changes: dict[str, Any], error: type[openai.APIStatusError], words: str
) -> None:
    with client_of(answering) as client, pytest.raises(error) as caught:
        await in_thread(partial(client.chat.completions.create, **CHAT | changes))
    assert words in caught.value.message


async def test_wrong_key_is_an_authentication_error(answering: Gateway) -> None:
    with client_of(answering, api_key="sk-none") as client, pytest.raises(openai.AuthenticationError):
        await in_thread(client.models.list)


async def test_rate_is_a_rate_limit_error(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, FakeBackend(), rate=1) as gateway:
        with client_of(gateway) as client:
            await in_thread(client.models.list)
            with pytest.raises(openai.RateLimitError) as caught:
                await in_thread(client.models.list)
    assert int(caught.value.response.headers["retry-after"]) > 0


async def test_no_able_node_is_an_internal_server_error_with_the_reason(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, FakeBackend(nodes=[])) as gateway:
        with client_of(gateway) as client, pytest.raises(openai.InternalServerError) as caught:
            await in_thread(partial(client.chat.completions.create, **CHAT))
    assert caught.value.status_code == 503
    assert "no able node" in caught.value.message


async def test_client_orders_a_failed_job_once(tmp_path: Path) -> None:
    failure = views.Trouble("job_failed", "the container ended", "")
    async with open_gateway(tmp_path, AnsweringBackend(failure=failure)) as gateway:
        with client_of(gateway, max_retries=2) as client, pytest.raises(openai.InternalServerError):
            await in_thread(partial(client.chat.completions.create, **CHAT))
    assert len(gateway.backend.asked) == 1


async def test_failure_in_mid_stream_is_an_api_error(gateway: Gateway) -> None:
    def read() -> None:
        with client_of(gateway) as client:
            for _ in client.chat.completions.create(**CHAT, stream=True):
                pass

    async def play() -> None:
        (job_id,) = await gateway.asked()
        while job_id not in gateway.backend.feed.followed:
            await trio.lowlevel.checkpoint()
        gateway.backend.say(job_id, "The ")
        failure = views.Trouble("job_failed", "the container ended", "")
        gateway.backend.change(job_id, state="failed", failure=failure)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play)
        with pytest.raises(openai.APIError, match="the container ended"):
            await in_thread(read)
    assert gateway.kept().left_wei > 99 * VCN
