"""Fields of JSON objects: each is checked before the daemon hears of it, and a fault names it."""

import json
from collections.abc import Callable
from typing import Any

from node.api.faults import Fault
from protocol import params

MAX_WEI = 2**96 - 1
MAX_BODY_BYTES = 8 * 2**20
"""Of a request to any HTTP interface of the node."""

Reader = Callable[[Any], Any]
"""Turns a JSON value into what a field holds, or raises ValueError with what it should be."""
REQUIRED: Any = object()
"""The default of a field that has none."""


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises: Fault bad_request if it is anything else, or names a field twice.
    """
    try:
        found = json.loads(body, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Fault("bad_request", f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Fault("bad_request", "the body is not a JSON object")
    return found


def read_fields(plain: dict[str, Any], fields: dict[str, tuple[Reader, Any]]) -> dict[str, Any]:
    """The fields of an object, each by its reader or as its default.

    Raises: Fault unknown_field, bad_request, with the name of the field.
    """
    for name in plain:
        if name not in fields:
            raise Fault("unknown_field", f"unknown field {name[:64]!r}", f"known: {', '.join(fields)}")
    found = {}
    for name, (reader, default) in fields.items():
        if name not in plain and default is REQUIRED:
            raise Fault("bad_request", f"{name} is missing")
        try:
            found[name] = reader(plain[name]) if name in plain else default
        except ValueError as error:
            raise Fault("bad_request", f"{name}: {error}") from error
    return found


def text(shortest: int, longest: int) -> Reader:
    """A text of so many characters that UTF-8 can hold."""

    def read(raw: Any) -> str:
        if not isinstance(raw, str) or not shortest <= len(raw) <= longest or "\0" in raw:
            raise ValueError(f"expected a text of {shortest} to {longest} characters")
        try:
            raw.encode()
        except UnicodeEncodeError:
            raise ValueError("expected a text that UTF-8 can hold") from None
        return raw

    return read


def texts(fewest: int, most: int, longest: int) -> Reader:
    """So many texts that are more than spaces; longest, of one, in characters. One text may stand for a list of it."""

    def read(raw: Any) -> tuple[str, ...]:
        raw = [raw] if isinstance(raw, str) and fewest == 1 else raw
        if not isinstance(raw, list) or not fewest <= len(raw) <= most:
            raise ValueError(f"expected a list of {fewest} to {most} texts")
        found = tuple(text(1, longest)(each) for each in raw)
        if not all(each.strip() for each in found):
            raise ValueError("expected texts that are more than spaces")
        require_room(sum(len(each.encode()) for each in found))
        return found

    return read


def one_of(choices: tuple[str, ...]) -> Reader:
    """One of several words."""

    def read(raw: Any) -> str:
        if raw not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return str(raw)

    return read


def require_room(size: int) -> None:
    """Check that texts of so many bytes fit the input of a job. Raises: ValueError."""
    if size > params.MAX_INPUT_BYTES // 2:
        # JSON may escape a byte into several; half of the limit leaves room for it and for the seal.
        raise ValueError(f"expected at most {params.MAX_INPUT_BYTES // 2} bytes of text")


def number(lowest: int, highest: int) -> Reader:
    """A whole number within bounds, both included."""

    def read(raw: Any) -> int:
        if type(raw) is not int or not lowest <= raw <= highest:
            raise ValueError(f"expected a whole number from {lowest} to {highest}")
        return raw

    return read


def wei(raw: Any) -> int:
    """An amount as a decimal string. Raises: ValueError."""
    if not isinstance(raw, str) or not raw.isascii() or not raw.isdigit() or len(raw) > 29 or int(raw) > MAX_WEI:
        raise ValueError('expected an amount in wei as a decimal string, for example "1000000000000000000"')
    return int(raw)


def flag(raw: Any) -> bool:
    """true or false. Raises: ValueError."""
    if not isinstance(raw, bool):
        raise ValueError("expected true or false")
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field stands twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
