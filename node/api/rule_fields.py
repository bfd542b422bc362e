"""Fields of JSON objects that ask for token rules: for jobs in whole numbers, for the gateway as OpenAI writes them."""

import json
from typing import Any

from node.api.fields import Reader, number, text
from protocol.stages.answer_schema import MAX_SCHEMA_BYTES, read_schema
from protocol.stages.token_rules import (
    MAX_PENALTY_MILLI,
    MAX_SEED,
    MAX_STOP_BYTES,
    MAX_STOPS,
    MAX_TOP_K,
    WHOLE_PPM,
    TokenRules,
    require_stop,
)

ANY_OBJECT = '{"type":"object"}'
"""The schema of any JSON object."""


def stops(raw: Any) -> tuple[str, ...]:
    """Stop strings: one text, or a list of some. Raises: ValueError."""
    given = [raw] if isinstance(raw, str) else raw
    if not isinstance(given, list) or len(given) > MAX_STOPS:
        raise ValueError(f"expected at most {MAX_STOPS} texts, of 1 to {MAX_STOP_BYTES} bytes each")
    found = tuple(text(1, MAX_STOP_BYTES)(each) for each in given)
    for each in found:
        require_stop(each)
    return found


def schema(raw: Any) -> str:
    """A JSON schema as text. Raises: ValueError."""
    return read_schema(text(1, MAX_SCHEMA_BYTES)(raw))


RULE_FIELDS: dict[str, tuple[Reader, Any]] = {
    "stop": (stops, ()),
    "seed": (number(-MAX_SEED - 1, MAX_SEED), None),
    "top_p_ppm": (number(1, WHOLE_PPM), WHOLE_PPM),
    "top_k": (number(0, MAX_TOP_K), 0),
    "presence_milli": (number(-MAX_PENALTY_MILLI, MAX_PENALTY_MILLI), 0),
    "frequency_milli": (number(-MAX_PENALTY_MILLI, MAX_PENALTY_MILLI), 0),
    "schema": (schema, ""),
}
"""As a job of this node's own interface asks for them, each with the value that is off."""


def _share(raw: Any) -> int:
    # 0 is OpenAI's word for the likeliest token alone, which any share keeps.
    return max(1, _scaled(raw, WHOLE_PPM, 0, 1))


def _penalty(raw: Any) -> int:
    most = MAX_PENALTY_MILLI // 1_000
    return _scaled(raw, 1_000, -most, most)


def _count(raw: Any) -> int:
    return 0 if raw == -1 else int(number(0, MAX_TOP_K)(raw))


def _scaled(raw: Any, scale: int, lowest: int, highest: int) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not lowest <= raw <= highest:
        raise ValueError(f"expected a number from {lowest} to {highest}")
    return round(raw * scale)


def _response_format(raw: Any) -> str:
    """The schema that a response_format asks for; empty for a text."""
    kind = raw.get("type") if isinstance(raw, dict) else None
    if kind in ("text", "json_object") and len(raw) == 1:
        return ANY_OBJECT if kind == "json_object" else ""
    if kind != "json_schema" or set(raw) != {"type", "json_schema"}:
        raise ValueError('expected {"type": "text"}, {"type": "json_object"}, or "json_schema" with its json_schema')
    named = raw["json_schema"]
    if not isinstance(named, dict) or not {"schema"} <= set(named) <= {"name", "description", "schema", "strict"}:
        raise ValueError("expected of json_schema: a schema, and a name, a description and strict beside it")
    # With or without `strict`, each answer is an instance: there is no weaker way to ask for one.
    return read_schema(json.dumps(named["schema"]))


OPENAI_FIELDS: dict[str, tuple[Reader, Any]] = {
    "stop": (stops, ()),
    "seed": (number(-MAX_SEED - 1, MAX_SEED), None),
    "top_p": (_share, WHOLE_PPM),
    "top_k": (_count, 0),
    "presence_penalty": (_penalty, 0),
    "frequency_penalty": (_penalty, 0),
    "response_format": (_response_format, ""),
}
"""The same rules in OpenAI's names and units; top_k is not of OpenAI, but other servers have it."""
_OURS = dict(zip(OPENAI_FIELDS, RULE_FIELDS, strict=True))


def taken_rules(found: dict[str, Any]) -> TokenRules:
    """Take the rules out of fields that were read, in the names of RULE_FIELDS."""
    return TokenRules(**{name: found.pop(name) for name in RULE_FIELDS})


def openai_rules(found: dict[str, Any]) -> TokenRules:
    """The rules in fields that were read, in OpenAI's names."""
    return TokenRules(**{ours: found[name] for name, ours in _OURS.items()})
