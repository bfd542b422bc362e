"""The input and the memory that a request signs, also for a manifest whose numbers lie."""

import dataclasses
import json
from typing import Any

import pytest

from node.api.asks import job_ask
from node.api.faults import Fault
from node.daemon.asking import input_of, signed_memory
from protocol.params import MAX_MEMORY_CEILING
from protocol.stages.blob import ModelFile
from protocol.stages.token_rules import TokenRules, rules_of
from protocol.wire.ids import cid_of
from tests.simulation.scene import CLASS, MANIFEST

WEIGHTS = ModelFile("model.safetensors", cid_of(b"w"), 2**62)


def test_request_signs_what_the_manifest_states_up_to_the_default() -> None:
    stated = dataclasses.replace(MANIFEST, needs_bytes=2**30)
    assert signed_memory(stated, 1 << CLASS, 100) == 2**30


@pytest.mark.parametrize("needs_bytes", [0, 2**62])
def test_manifest_of_more_than_any_request_may_allow_is_refused_in_one_sentence(needs_bytes: int) -> None:
    files = tuple(dataclasses.replace(WEIGHTS, path=f"{number}.safetensors") for number in range(64))
    liar = dataclasses.replace(MANIFEST, dtype="bf16", files=files, needs_bytes=needs_bytes)
    with pytest.raises(Fault, match=str(MAX_MEMORY_CEILING)) as refused:
        signed_memory(liar, 0xFFFFFFFF, 100)
    assert (refused.value.code, refused.value.hint) == ("bad_model", "vcoin model list")


CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_order_without_rules_has_the_input_that_every_version_reads() -> None:
    off = {"stop": [], "top_p_ppm": 10**6, "top_k": 0, "presence_milli": 0, "frequency_milli": 0}
    ask = job_ask(CHAT | off)
    plain = json.loads(input_of(ask))
    assert (plain.keys(), plain["v"], ask.is_ruled) == ({"v", "salt", "messages"}, 1, False)


def test_rules_and_texts_are_in_an_input_of_version_2() -> None:
    ask = job_ask(CHAT | {"stop": ["a", "b"], "seed": 0, "top_k": 5})
    written = input_of(ask)
    plain = json.loads(written)
    assert (plain.keys(), plain["v"]) == ({"v", "salt", "messages", "rules"}, 2)
    assert rules_of(written) == ask.rules == TokenRules(("a", "b"), seed=0, top_k=5)
    schema = '{"properties":{"b":{},"a":{}}}'
    assert rules_of(input_of(job_ask(CHAT | {"schema": schema}))) == TokenRules(schema=schema)
    text = json.loads(input_of(job_ask({"model": "m", "prompt": "Once"})))
    assert (text["v"], text["prompt"], text["rules"]) == (2, "Once", {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"stop": 5},
        {"seed": True},
        {"top_p_ppm": 0},
        {"top_k": -1},
        {"presence_milli": 1.5},
        {"schema": "5"},
        {"prompt": "x"},
    ],
)
def test_rule_out_of_bounds_is_refused_by_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(Fault) as refused:
        job_ask(CHAT | wrong)
    assert (next(iter(wrong)) if "prompt" not in wrong else "messages") in refused.value.message


def test_texts_that_are_only_read_have_no_rules() -> None:
    with pytest.raises(Fault, match="unknown field 'stop'"):
        job_ask({"kind": "embed", "model": "m", "texts": ["a"], "stop": ["x"]})
