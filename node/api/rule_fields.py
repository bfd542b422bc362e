"""Fields of JSON objects that ask for token rules: for jobs in whole numbers, for the gateway as OpenAI writes them."""

from typing import Any

from node.api.fields import Reader, number, text
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


def stops(raw: Any) -> tuple[str, ...]:
    """Stop strings: one text, or a list of some. Raises: ValueError."""
    given = [raw] if isinstance(raw, str) else raw
    if not isinstance(given, list) or len(given) > MAX_STOPS:
        raise ValueError(f"expected at most {MAX_STOPS} texts, of 1 to {MAX_STOP_BYTES} bytes each")
    found = tuple(text(1, MAX_STOP_BYTES)(each) for each in given)
    for each in found:
        require_stop(each)
    return found


RULE_FIELDS: dict[str, tuple[Reader, Any]] = {
    "stop": (stops, ()),
    "seed": (number(-MAX_SEED - 1, MAX_SEED), None),
    "top_p_ppm": (number(1, WHOLE_PPM), WHOLE_PPM),
    "top_k": (number(0, MAX_TOP_K), 0),
    "presence_milli": (number(-MAX_PENALTY_MILLI, MAX_PENALTY_MILLI), 0),
    "frequency_milli": (number(-MAX_PENALTY_MILLI, MAX_PENALTY_MILLI), 0),
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


OPENAI_FIELDS: dict[str, tuple[Reader, Any]] = {
    "stop": (stops, ()),
    "seed": (number(-MAX_SEED - 1, MAX_SEED), None),
    "top_p": (_share, WHOLE_PPM),
    "top_k": (_count, 0),
    "presence_penalty": (_penalty, 0),
    "frequency_penalty": (_penalty, 0),
}
"""The same rules in OpenAI's names and units; top_k is not of OpenAI, but other servers have it."""
_OURS = dict(zip(OPENAI_FIELDS, RULE_FIELDS, strict=True))


def taken_rules(found: dict[str, Any]) -> TokenRules:
    """Take the rules out of fields that were read, in the names of RULE_FIELDS."""
    return TokenRules(**{name: found.pop(name) for name in RULE_FIELDS})


def openai_rules(found: dict[str, Any]) -> TokenRules:
    """The rules in fields that were read, in OpenAI's names."""
    return TokenRules(**{ours: found[name] for name, ours in _OURS.items()})
