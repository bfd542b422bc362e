"""Bodies as OpenAI's clients write them: what becomes a job, and what is refused by the name of its field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from node.api.gateway.bodies import (
    DEFAULT_TEMPERATURE_MILLI,
    DEFAULT_TEXT_TOKENS,
    chat_body,
    embeddings_body,
    text_body,
)
from node.api.gateway.refusals import GatewayRefusal
from protocol.params import MAX_INPUT_BYTES
from protocol.stages.token_rules import NO_RULES, TokenRules

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
# As the `openai` package gives back an answer, to be sent again as part of the chat.
SAID_BEFORE = {"role": "assistant", "content": "yes", "refusal": None, "tool_calls": None, "annotations": []}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


PERSON = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {}}}


def as_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}


def refused(plain: dict[str, Any], read: Any = chat_body) -> GatewayRefusal:
    with pytest.raises(GatewayRefusal) as caught:
        read(plain)
    return caught.value


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"stop": ["\n"] * 5}, "stop"),
        ({"stop": ["."] * 10**6}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": "€" * 22}, "stop"),
        ({"stop": "\ufffd"}, "stop"),
        ({"stop": [7]}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_p": True}, "top_p"),
        ({"top_p": float("nan")}, "top_p"),
        ({"top_k": 1025}, "top_k"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": "much"}, "frequency_penalty"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_object", "schema": {}}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
        ({"response_format": as_format([])}, "response_format"),
        ({"response_format": "json_object"}, "response_format"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"store": True}, "store"),
        ({"modle": "m"}, "modle"),
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, IMAGE]}]}, "messages.0.content.1"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages.0.name"),
        ({"messages": [SAID_BEFORE | {"tool_calls": [{}]}]}, "messages.0.tool_calls"),
        ({"messages": [{"role": "user", "content": "é" * (MAX_INPUT_BYTES // 4 + 1)}]}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 8, "max_completion_tokens": 9}, "max_completion_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"n": 9}, "n"),
        ({"n": 0}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_all": True}}, "stream_options.include_all"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"user": 5}, "user"),
        ({"checked": 1}, "checked"),
        ({"alone": 1}, "alone"),
    ],
)
def test_field_that_no_job_can_honour_is_named(changes: dict[str, Any], param: str) -> None:
    found = refused(CHAT | changes)
    assert (found.status, found.param) == (400, param)
    assert found.message.startswith(f"{param}: ")


def test_values_that_mean_off_are_accepted() -> None:
    off = {
        "stop": None,
        "seed": None,
        "top_p": 1.0,
        "top_k": -1,
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "logit_bias": {},
        "logprobs": False,
        "response_format": {"type": "text"},
        "tools": [],
        "tool_choice": "auto",
        "store": False,
        "service_tier": "auto",
        "user": "customer-7",
        "n": None,
        "max_tokens": None,
        "temperature": None,
        "stream_options": None,
    }
    assert chat_body(CHAT | off) == chat_body(CHAT)
    assert chat_body(CHAT | off | {"stop": []}).ask.rules == NO_RULES
    assert not chat_body(CHAT | off).ask.is_ruled


@pytest.mark.parametrize("read", [chat_body, text_body])
def test_schema_of_an_answer_is_a_rule_that_keeps_the_order_of_its_properties(read: Any) -> None:
    plain = CHAT if read is chat_body else {"model": "m", "prompt": "x"}
    titled = {**PERSON, "title": "Person", "properties": {**PERSON["properties"]}}  # type: ignore[dict-item]
    ask = read(plain | {"response_format": as_format(titled)}).ask
    assert ask.rules == TokenRules(schema=json.dumps(PERSON, separators=(",", ":")))
    assert ask.is_ruled
    assert read(plain | {"response_format": {"type": "json_object"}}).ask.rules.schema == '{"type":"object"}'


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"allOf": [{}]}, "the schema's keyword 'allOf' is not supported here"),
        ({"enum": ["x" * 40_000]}, "expected of the schema: at most 32768 bytes"),
    ],
)
def test_schema_that_no_answer_is_bound_to_is_refused_by_its_keyword_or_limit(schema: Any, words: str) -> None:
    assert refused(CHAT | {"response_format": as_format(schema)}).message == f"response_format: {words}"


def test_rules_are_taken_over_in_whole_numbers() -> None:
    rules = {
        "stop": "END",
        "seed": -5,
        "top_p": 0.95,
        "top_k": 40,
        "presence_penalty": -0.25,
        "frequency_penalty": 1,
    }
    ask = chat_body(CHAT | rules).ask
    assert ask.rules == TokenRules(("END",), -5, 950_000, 40, -250, 1_000)
    assert ask.is_ruled
    assert chat_body(CHAT | {"stop": ["a", "b"], "top_p": 0}).ask.rules == TokenRules(("a", "b"), top_p_ppm=1)


TEXT: dict[str, Any] = {"model": "m", "prompt": "Once upon a time"}


def test_text_is_taken_over_as_it_stands() -> None:
    body = text_body(TEXT | {"n": 2, "stream": True, "logprobs": None, "echo": False, "best_of": 1, "seed": 3})
    assert (body.ask.prompt, body.ask.messages, body.ask.max_new_tokens) == (TEXT["prompt"], (), DEFAULT_TEXT_TOKENS)
    assert (body.choices, body.is_streamed, body.ask.rules, body.ask.is_ruled) == (2, True, TokenRules(seed=3), True)
    assert text_body(TEXT | {"prompt": ["one"]}).ask.prompt == "one"
    assert text_body(TEXT).ask.is_ruled


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["one", "two"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": "x" * (MAX_INPUT_BYTES // 2 + 1)}, "prompt"),
        ({"echo": True}, "echo"),
        ({"logprobs": 0}, "logprobs"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"messages": []}, "messages"),
        ({"tools": []}, "tools"),
        ({"stop": ["x"] * 5}, "stop"),
    ],
)
def test_text_body_is_checked(changes: dict[str, Any], param: str) -> None:
    found = refused(TEXT | changes, text_body)
    assert (found.status, found.param) == (400, param)


def test_defaults_are_those_of_the_interface() -> None:
    body = chat_body(CHAT)
    assert (body.choices, body.is_streamed, body.with_usage) == (1, False, False)
    assert (body.ask.max_new_tokens, body.ask.temperature_milli) == (256, DEFAULT_TEMPERATURE_MILLI)


def test_chat_is_taken_over_with_its_parts_and_roles() -> None:
    parts = [{"type": "text", "text": "Why is "}, {"type": "text", "text": "that?"}]
    messages = [{"role": "developer", "content": "Be short."}, SAID_BEFORE, {"role": "user", "content": parts}]
    ask = chat_body(CHAT | {"messages": messages, "max_completion_tokens": 9, "temperature": 0}).ask
    assert [(each.role, each.content) for each in ask.messages] == [
        ("system", "Be short."),
        ("assistant", "yes"),
        ("user", "Why is that?"),
    ]
    assert (ask.max_new_tokens, ask.temperature_milli) == (9, 0)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": " "}, "input"),
        ({"dimensions": 64}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"encoding_format": ["float"]}, "encoding_format"),
        ({"labels": ["a"]}, "labels"),
    ],
)
def test_embeddings_body_is_checked(changes: dict[str, Any], param: str) -> None:
    assert refused({"model": "m", "input": "x"} | changes, embeddings_body).param == param


def test_embeddings_of_one_text_or_many_are_one_job() -> None:
    assert embeddings_body({"model": "m", "input": "x"}).ask.texts == ("x",)
    body = embeddings_body({"model": "m", "input": ["x", "y"], "encoding_format": "base64"})
    assert (body.ask.texts, body.ask.kind, body.as_base64) == (("x", "y"), "embed", True)
