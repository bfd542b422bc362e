"""Jobs that only read, over the control API: what may be asked, and OpenAI's way to ask for embeddings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import trio

from node.api import views as views
from node.api.admission import admit
from node.api.faults import Fault
from tests.fakes.backend import SMOL
from tests.support.scenes.admissions import ASK as CHAT
from tests.support.scenes.admissions import market
from tests.support.scenes.control_api import fault
from tests.unit.node.api.conftest import Door

EMBED = {"kind": "embed", "model": SMOL.name, "texts": ["one", "two"]}
CLASSIFY = EMBED | {"kind": "classify", "labels": ["a", "b"], "uncalibrated": True}


async def test_texts_are_asked_for_in_one_job(door: Door) -> None:
    for body in (EMBED, CLASSIFY):
        job_id = (await door.post("jobs", body=body))["id"]
        assert (await door.get("jobs", job_id))["kind"] == body["kind"]
    embed, classify = door.backend.asked
    assert (embed.texts, embed.labels, embed.messages, embed.max_new_tokens) == (("one", "two"), (), (), 0)
    assert (classify.kind, classify.labels) == ("classify", ("a", "b"))


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (EMBED | {"kind": "draw"}, "bad_request", "kind: expected one of generate, embed, classify"),
        (EMBED | {"kind": 1}, "bad_request", "kind: expected one of"),
        (EMBED | {"texts": []}, "bad_request", "texts: expected a list of 1 to 1024 texts"),
        (EMBED | {"texts": ["x"] * 1_025}, "bad_request", "texts: expected a list"),
        (EMBED | {"texts": ["\n"]}, "bad_request", "more than spaces"),
        (EMBED | {"texts": [1]}, "bad_request", "texts: expected a text"),
        (EMBED | {"texts": ["\ud800"]}, "bad_request", "UTF-8"),
        (EMBED | {"labels": ["a", "b"]}, "unknown_field", "'labels'"),
        (EMBED | {"temperature_milli": 1}, "unknown_field", "'temperature_milli'"),
        (EMBED | {"messages": []}, "unknown_field", "'messages'"),
        (CLASSIFY | {"labels": ["a"]}, "bad_request", "labels: expected a list of 2 to 64 texts"),
        (CLASSIFY | {"labels": ["a", "b" * 129]}, "bad_request", "1 to 128 characters"),
        ({"kind": "classify", "model": "x", "texts": ["y"]}, "bad_request", "labels is missing"),
    ],
)
async def test_bad_field_is_named(door: Door, body: dict[str, Any], code: str, words: str) -> None:
    found = await fault(door, "jobs", body=body)
    assert (found.code, words in found.message) == (code, True), found.message
    assert not door.backend.asked


def test_a_kind_is_asked_of_the_classes_with_constants_for_it() -> None:
    ask = replace(CHAT, kind="embed")
    assert admit(ask, replace(SMOL, embeds=(2,)), SMOL.context, market()) == 0b100
    with pytest.raises(Fault, match="no constants for embed"):
        admit(ask, replace(SMOL, embeds=()), 10, market())
    with pytest.raises(Fault, match="exceeds the model"):
        admit(ask, SMOL, SMOL.context + 1, market())


async def asked(door: Door, body: dict[str, Any], **change: Any) -> Any:
    """Ask as OpenAI's clients do, and let the job go on once somebody waits for it."""
    results: list[Any] = []

    async def ask() -> None:
        try:
            results.append(await door.post("embeddings", body=body))
        except Fault as found:
            results.append(found)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        with trio.fail_after(10):
            while not door.backend.feed.followed:
                await trio.lowlevel.checkpoint()
        (job_id,) = door.backend.feed.followed
        door.backend.change(job_id, **change)
    return results[0]


async def test_embeddings_come_as_openai_has_them(door: Door) -> None:
    vectors = [[0.6, -0.8], [1.0, 0.0]]
    text = "".join(json.dumps(vector) + "\n" for vector in vectors)
    body = {"model": SMOL.name, "input": ["one", "two"], "encoding_format": "float"}
    found = await asked(door, body, state="delivered", text=text, tokens=2)
    assert [(each["index"], each["embedding"]) for each in found["data"]] == list(enumerate(vectors))
    assert (found["object"], found["model"], found["usage"]["prompt_tokens"]) == ("list", SMOL.name, 64)
    assert door.backend.asked[0].texts == ("one", "two")


async def test_one_text_alone_may_be_given_without_a_list(door: Door) -> None:
    found = await asked(door, {"model": SMOL.name, "input": "one"}, state="delivered", text="[1.0]\n", tokens=1)
    assert len(found["data"]) == 1
    assert door.backend.asked[0].texts == ("one",)


@pytest.mark.parametrize("checked", [True, False, None])
async def test_embeddings_may_be_ordered_with_a_check_beside_openais_fields(door: Door, checked: bool | None) -> None:
    body = {"model": SMOL.name, "input": "one"} | ({} if checked is None else {"checked": checked})
    await asked(door, body, state="delivered", text="[1.0]\n", tokens=1)
    assert door.backend.asked[0].checked is checked


async def test_embeddings_that_nobody_makes_are_an_error(door: Door) -> None:
    trouble = views.Trouble("job_failed", "no able node", "")
    found = await asked(door, {"model": SMOL.name, "input": "one"}, state="failed", failure=trouble)
    assert isinstance(found, Fault)
    assert (found.code, found.message) == ("job_failed", "no able node")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dimensions": 8}, "unknown field 'dimensions'"),
        ({"encoding_format": "base64"}, "encoding_format: expected one of float"),
        ({"input": []}, "input: expected a list"),
        ({"checked": 1}, "checked: expected true or false"),
        ({"input": [[1, 2]]}, "input: expected a text"),
    ],
)
async def test_what_is_not_offered_is_named(door: Door, changes: dict[str, Any], words: str) -> None:
    found = await fault(door, "embeddings", body={"model": SMOL.name, "input": "one"} | changes)
    assert words in found.message
