"""A program of a user of OpenAI's interface: chats, streams, embeddings and errors with the official package.

Its interpreter is that of scripts/setup/clients.py. The address and the key are those of its environment.
"""

import asyncio
import os
import time
from typing import Literal

import openai
import pydantic

MODEL = os.environ["MODEL"]
# No two tokens of its answer are nearly as likely: the smallest distance of their logits is 0.66.
CHAT = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Name the days of the week."}],
    "max_tokens": 12,
    "temperature": 0,
}


def say(words: str) -> None:
    print(f"{time.perf_counter() - began:6.2f} s  {words}", flush=True)


def whole(client: openai.OpenAI) -> str:
    said = client.chat.completions.create(**CHAT)
    text, usage = said.choices[0].message.content, said.usage
    say(f"chat: {text!r}, {usage.completion_tokens} tokens, {usage.cost_vcn} VCN, {said.choices[0].finish_reason}")
    assert text
    assert usage.completion_tokens == CHAT["max_tokens"]
    return text


def streamed(client: openai.OpenAI) -> str:
    chunks = []
    for chunk in client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}):
        if not chunks:
            say("stream: the first chunk")
        chunks.append(chunk)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    say(f"stream: {text!r}, {len(chunks)} chunks, {chunks[-1].usage.cost_vcn} VCN")
    assert len(chunks) > 4
    return text


async def side_by_side() -> list[str]:
    async with openai.AsyncOpenAI(max_retries=0) as client:

        async def one() -> str:
            stream = await client.chat.completions.create(**CHAT, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        texts = await asyncio.gather(one(), one())
    say(f"asynchronous: {len(texts)} streams at once")
    return texts


def embedded(client: openai.OpenAI) -> None:
    found = client.embeddings.create(model=MODEL, input=["blue sky", "red rose"])
    say(f"embeddings: {len(found.data)} of {len(found.data[0].embedding)} numbers, {found.usage.cost_vcn} VCN")
    assert len(found.data) == 2
    assert all(abs(sum(number**2 for number in each.embedding) - 1) < 0.01 for each in found.data)


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=20)
    age: int = pydantic.Field(ge=0, le=120)
    kind: Literal["adult", "child"]


def parsed(client: openai.OpenAI) -> None:
    asked = CHAT | {"messages": [{"role": "user", "content": "Describe a person."}], "max_tokens": 64}
    said = client.chat.completions.parse(**asked, response_format=Person)
    person = said.choices[0].message.parsed
    say(f"parsed: {person!r}, {said.choices[0].finish_reason}")
    assert isinstance(person, Person)
    assert said.choices[0].finish_reason == "stop"


def refused(client: openai.OpenAI) -> None:
    cases = (
        (openai.NotFoundError, client, {"model": "gpt-4"}),
        (openai.BadRequestError, client, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        (openai.BadRequestError, client, {"max_tokens": 1_000_000}),
        (openai.BadRequestError, client, {"logprobs": True}),
        (openai.AuthenticationError, client.with_options(api_key="sk-none"), {}),
        (openai.APIStatusError, client, {"n": 8, "max_tokens": 8_000}),
    )
    for kind, asker, changes in cases:
        try:
            asker.chat.completions.create(**CHAT | changes)
        except kind as error:
            say(f"{type(error).__name__} {error.status_code}: {error.body['message']}")
        else:
            raise AssertionError(f"{changes} was accepted")


began = time.perf_counter()
with openai.OpenAI(max_retries=0) as openai_client:
    say(f"models: {', '.join(model.id for model in openai_client.models.list())}")
    answer = whole(openai_client)
    # The likeliest tokens, and the same runner: all answers are one.
    assert streamed(openai_client) == answer
    assert asyncio.run(side_by_side()) == [answer, answer]
    embedded(openai_client)
    parsed(openai_client)
    refused(openai_client)
say("all is as OpenAI's documents say")
