"""Schemas that an answer can be bound to: what is read, what is refused in one sentence, and that a runner agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import executor.runner.answer_schema
import protocol.stages.answer_schema
from executor.runner.job import BadInput
from executor.runner.rules import read_rules
from protocol.stages.answer_schema import MAX_SCHEMA_BYTES, read_schema
from protocol.stages.token_rules import NO_RULES, TokenRules, rules_of

NESTED = {"type": "array", "items": {"$ref": "#/$defs/list"}}


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"items": found}
    return found


def test_runner_has_a_copy_of_the_same_file() -> None:
    ours, runners = (
        Path(module.__file__ or "").read_text()
        for module in (protocol.stages.answer_schema, executor.runner.answer_schema)
    )
    assert ours == runners


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": ["integer", "null"]}}},
        {"$defs": {"list": NESTED}, "$ref": "#/$defs/list"},
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False},
        {"anyOf": [{"type": "string", "pattern": "^a+$"}, {"type": "null"}]},
        {"type": "string", "minLength": 1, "maxLength": 100_000},
        {"type": "string", "enum": ["a", "b"]},
        {"type": "number", "minimum": -1.5, "exclusiveMaximum": 7, "multipleOf": 0.5},
        {"type": "array", "prefixItems": [{"const": 1}, True], "items": False, "minItems": 2},
        {"type": "string", "format": "date-time"},
        {"prefixItems": [{"anyOf": [{"type": "string"}, {"type": "null"}]}] * 64},
        nested(32),
    ],
)
def test_schema_is_read_in_the_order_of_its_keywords(schema: dict[str, Any]) -> None:
    written = json.dumps(schema, separators=(",", ":"))
    assert read_schema(json.dumps(schema, indent=1)) == written
    assert read_schema(written) == written


def test_keywords_that_change_nothing_are_left_out() -> None:
    noted = {"title": "T", "type": "object", "properties": {"title": {"description": "d", "default": {"allOf": 1}}}}
    assert json.loads(read_schema(json.dumps(noted))) == {"type": "object", "properties": {"title": {}}}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("[]", "a JSON object"),
        ("true", "a JSON object"),
        ('{"type"', "the schema is not JSON: "),
        ('{"minimum":NaN}', "the schema is not JSON: it has no NaN"),
        ('{"minimum":1e999}', "the schema is not JSON: "),
        ('{"minimum":' + "1" * 5000 + "}", "the schema is not JSON: "),
        ('{"const":"\\ud83d"}', "texts that UTF-8 can hold"),
        (" " * MAX_SCHEMA_BYTES + "{}", "at most 32768 bytes"),
        ('{"const":"' + "\u20ac" * 11_000 + '"}', "at most 32768 bytes"),
        ('{"items":' * 2_000 + "{}" + "}" * 2_000, "at most 32 levels"),
        ("[" * 30_000, "at most 32 levels"),
        (nested(33), "at most 32 levels"),
        ({"allOf": [{}]}, "keyword 'allOf' is not supported"),
        ({"items": {"oneOf": [{}]}}, "keyword 'oneOf' is not supported"),
        ({"x-guidance": {"lenient": True}}, "keyword 'x-guidance' is not supported"),
        ({"items": {"$defs": {}}}, "keyword '$defs' is not supported"),
        ({"$ref": "https://example.com/schema"}, "as $ref"),
        ({"$ref": "#/$defs/none"}, "as $ref"),
        ({"$ref": "#/$defs/a/b", "$defs": {"a": {"b": {}}}}, "as $ref"),
        ({"$ref": 5}, "as $ref"),
        ({"$ref": "#"}, "$ref '#' leads back to itself"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "leads back to itself"),
        ({"$ref": "#/$defs/a", "type": "string", "$defs": {"a": {}}}, "'$ref' and 'type' cannot stand together"),
        ({"anyOf": [{}], "minLength": 1}, "'anyOf' and 'minLength' cannot stand together"),
        ({"enum": ["a"], "pattern": "a"}, "'enum' and 'pattern' cannot stand together"),
        ({"pattern": "a", "maxLength": 5}, "'pattern' and 'maxLength' cannot stand together"),
        ({"format": "date", "pattern": "a"}, "'pattern' and 'format' cannot stand together"),
        ({"pattern": "a" * 257}, "as pattern a text of at most 256 bytes"),
        ({"prefixItems": [{"pattern": "a"}] * 33}, "at most 32 patterns"),
        ({"format": "regex"}, "as format one of"),
        ({"type": "text"}, "as type one of"),
        ({"type": []}, "a list as type that is not empty"),
        ({"type": [[]]}, "as type one of"),
        ({"enum": []}, "a list as enum that is not empty"),
        ({"enum": [{}]}, "scalars in enum"),
        ({"enum": [*range(1001)]}, "at most 1000 enum values"),
        ({"anyOf": [{}] * 65}, "at most 64 alternatives"),
        ({"anyOf": [{"type": "null"}] * 66}, "at most 64 alternatives"),
        ({"anyOf": [{"anyOf": [{}] * 32}] * 2}, "at most 64 alternatives"),
        ({"prefixItems": [{}] * 1000}, "at most 1000 subschemas"),
        ({"properties": {str(i): True for i in range(257)}}, "at most 256 properties"),
        ({"properties": []}, "an object as properties"),
        ({"items": 5}, "an object or a boolean as each subschema"),
        ({"required": "a"}, "a list of texts as required"),
        ({"maxItems": 100_001}, "as maxItems a whole number from 0 to 100000"),
        ({"minLength": True}, "as minLength a whole number"),
        ({"minimum": "5"}, "a number as minimum"),
    ],
)
def test_schema_beyond_the_bounds_is_refused_in_one_sentence_by_node_and_runner(schema: Any, words: str) -> None:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    with pytest.raises(ValueError, match="the schema") as refused:
        read_schema(text)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(BadInput) as declined:
        read_rules({"schema": text})
    assert declined.value.code == "bad_schema"
    assert rules_of(json.dumps({"v": 2, "rules": {"schema": text, "stop": ["x"]}}).encode()) == NO_RULES


def test_rules_that_a_node_writes_are_those_that_a_runner_reads() -> None:
    rules = TokenRules(("x",), schema='{"type":"object"}')
    read = read_rules(rules.plain)
    assert (read.stops, read.schema) == (rules.stop, rules.schema)
    assert rules_of(json.dumps({"v": 2, "rules": rules.plain}).encode()) == rules
    for wrong in (5, None, {"type": "object"}, ""):
        with pytest.raises(BadInput):
            read_rules({"schema": wrong})
