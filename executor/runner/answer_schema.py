"""The JSON schemas that an answer can be bound to: those whose grammar has a bounded size, and no regex intersections.

executor/runner/answer_schema.py is a copy of this file, since the runner imports nothing of the node: a node refuses
what a runner would. Source of the limits: docs/decisions/engines.md, "A JSON schema is a token rule".
"""

import json
from collections.abc import Callable
from typing import Any

MAX_SCHEMA_BYTES = 32 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_SUBSCHEMAS = 1_000
MAX_PROPERTIES = 256
MAX_ENUM_VALUES = 1_000
MAX_ALTERNATIVES = 64
"""Schemas in all lists of anyOf together, one null a list aside. Those that begin alike are followed side by side, in a
time with the square of their number."""
MAX_PATTERNS = 32
MAX_PATTERN_BYTES = 256
MAX_COUNT = 100_000
"""The largest of minLength, maxLength, minItems and maxItems."""
TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
NOTES = ("$schema", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly")
"""Keywords that change nothing; they are left out."""
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_OTHER = ("type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems")
_ALONE = ("$ref", "anyOf", "enum", "const")
"""Of these one can stand in a schema, with no other keyword but a type: the grammar would have to intersect them."""
_ROOMS = ("$defs", "definitions")
_TEXTS = ("pattern", "format", "minLength", "maxLength")
_LIMITS = {
    "subschemas": MAX_SUBSCHEMAS,
    "properties": MAX_PROPERTIES,
    "enum values": MAX_ENUM_VALUES,
    "alternatives": MAX_ALTERNATIVES,
    "patterns": MAX_PATTERNS,
}
KEYWORDS = (*_OTHER, *_COUNTS, *_BOUNDS, "pattern", "format", "anyOf", "$ref", *_ROOMS)


def read_schema(text: str) -> str:
    """A schema as its grammar is made of it: without keywords that change nothing, in one form of JSON.

    Raises: ValueError, one sentence that names the keyword or the limit.
    """
    # A text may hold half a character, which UTF-8 cannot; the length is asked first, so that no long one is read.
    _require(len(text) <= MAX_SCHEMA_BYTES and _bytes(text) <= MAX_SCHEMA_BYTES, f"at most {MAX_SCHEMA_BYTES} bytes")
    plain = _in_json(lambda: json.loads(text, parse_constant=_refuse))
    _require(isinstance(plain, dict), "a JSON object")
    cleaned = _read_root(plain)
    # A number may be beyond what JSON can say.
    written: str = _in_json(lambda: json.dumps(cleaned, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    _bytes(written)
    return written


def _read_root(root: dict[str, Any]) -> Any:
    for room in _ROOMS:
        for name in _object(room, root.get(room, {})):
            _require_end(root, f"#/{room}/{name}")
    _require_end(root, "#")
    return _read_one(root, 0, root, dict(_LIMITS))


def _read_one(plain: Any, depth: int, root: dict[str, Any], left: dict[str, int]) -> Any:
    """One schema without notes. Args: left, what the whole may still hold, which is counted down."""
    if isinstance(plain, bool):
        return plain
    _count(left, "subschemas", 1)
    _require(depth <= MAX_SCHEMA_DEPTH, f"at most {MAX_SCHEMA_DEPTH} levels")
    _require(isinstance(plain, dict), "an object or a boolean as each subschema")
    found: dict[str, Any] = {}
    for name, value in plain.items():
        if name in NOTES:
            continue
        if name not in KEYWORDS or (name in _ROOMS and depth):
            raise ValueError(f"the schema's keyword {name[:64]!r} is not supported here")
        if name in ("properties", *_ROOMS):
            _count(left, "properties", len(_object(name, value)) if name == "properties" else 0)
            found[name] = {key: _read_one(each, depth + 1, root, left) for key, each in _object(name, value).items()}
        elif name in ("items", "additionalProperties"):
            found[name] = _read_one(value, depth + 1, root, left)
        elif name in ("anyOf", "prefixItems"):
            given = _list(name, value)
            _count(left, "alternatives", len(given) - ({"type": "null"} in given) if name == "anyOf" else 0)
            found[name] = [_read_one(each, depth + 1, root, left) for each in given]
        else:
            _require_value(name, value, root, left)
            found[name] = value
    _require_apart(found)
    return found


def _target(root: dict[str, Any], reference: Any) -> Any:
    """The subschema that a $ref names."""
    words = 'as $ref "#", or "#/$defs/" and a name that is there'
    _require(isinstance(reference, str), words)
    if reference == "#":
        return root
    parts = reference.split("/")
    _require(len(parts) == 3 and parts[0] == "#" and parts[1] in _ROOMS and not {"~", "%"} & {*parts[2]}, words)
    room = _object(parts[1], root.get(parts[1], {}))
    _require(parts[2] in room, words)
    return room[parts[2]]


def _require_end(root: dict[str, Any], reference: str) -> None:
    """Refuse a $ref that leads to nothing but another $ref, and so back to itself."""
    seen = set()
    while reference not in seen:
        seen.add(reference)
        at = _target(root, reference)
        if not isinstance(at, dict) or "$ref" not in at:
            return
        _target(root, at["$ref"])
        reference = at["$ref"]
    raise ValueError(f"the schema's $ref {reference[:64]!r} leads back to itself")


def _count(left: dict[str, int], what: str, more: int) -> None:
    left[what] -= more
    _require(left[what] >= 0, f"at most {_LIMITS[what]} {what}")


def _require_apart(found: dict[str, Any]) -> None:
    """Refuse keywords of one schema whose grammar would be an intersection, which has no bound."""
    alone = [name for name in _ALONE if name in found]
    free = {*_ROOMS} | ({"type"} if alone and alone[0] in ("enum", "const") else set())
    texts = [name for name in _TEXTS if name in found]
    for first, others in (
        (alone[:1], [name for name in found if name not in free]),
        ([name for name in texts if name in ("pattern", "format")][:1], texts),
    ):
        if first and (beside := [name for name in others if name not in first]):
            raise ValueError(f"the schema's keywords {first[0]!r} and {beside[0]!r} cannot stand together here")


def _require_value(name: str, value: Any, root: dict[str, Any], left: dict[str, int]) -> None:
    if name in ("enum", "const"):
        values = _list(name, value) if name == "enum" else [value]
        _count(left, "enum values", len(values))
        _require(all(each is None or isinstance(each, str | int | float) for each in values), f"scalars in {name}")
    elif name == "pattern":
        _count(left, "patterns", 1)
        words = f"as {name} a text of at most {MAX_PATTERN_BYTES} bytes"
        _require(isinstance(value, str) and _bytes(value) <= MAX_PATTERN_BYTES, words)
    elif name == "$ref":
        _target(root, value)
    elif name == "type":
        names = _list(name, value) if isinstance(value, list) else [value]
        _require(all(isinstance(each, str) and each in TYPES for each in names), f"as type one of {', '.join(TYPES)}")
    elif name == "format":
        _require(isinstance(value, str) and value in FORMATS, f"as format one of {', '.join(FORMATS)}")
    elif name == "required":
        _require(
            isinstance(value, list) and all(isinstance(each, str) for each in value), "a list of texts as required"
        )
    elif name in _COUNTS:
        _require(type(value) is int and 0 <= value <= MAX_COUNT, f"as {name} a whole number from 0 to {MAX_COUNT}")
    else:
        _require(isinstance(value, int | float) and not isinstance(value, bool), f"a number as {name}")


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected of the schema: an object as {name}")
    return value


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"expected of the schema: a list as {name} that is not empty")
    return value


def _bytes(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("expected of the schema: texts that UTF-8 can hold") from None


def _in_json(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except RecursionError:
        raise ValueError(f"expected of the schema: at most {MAX_SCHEMA_DEPTH} levels") from None
    except ValueError as error:
        raise ValueError(f"the schema is not JSON: {error}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"it has no {constant}")


def _require(condition: bool, words: str) -> None:
    if not condition:
        raise ValueError(f"expected of the schema: {words}")
