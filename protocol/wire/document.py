"""Documents: the same dataclasses as JSON, for files that people keep and other programs read.

An object has the fields of its class by name, one that is None left out. Bytes are hex, integers that a double cannot
hold are decimal strings. One value has one form: keys in order, no spaces, ASCII. Members unknown to a class are told,
not refused, so that a newer writer may say more.
"""

import dataclasses
import json
import re
import types
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, Union, cast, get_args, get_origin

from protocol.errors import Malformed, TooLarge
from protocol.wire.codec import MAX_ITEMS, Bits, build, fields_of

T = TypeVar("T")
EXACT_BITS = 53
"""Wider integers are strings: a reader that knows only doubles would round them."""
MAX_DIGITS = 78
MAX_STRANGE = 64
"""Unknown members, which are told by name."""
_DECIMAL = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Document(Generic[T]):
    """The value of a document, and the paths of members that its class does not know."""

    value: T
    strange: tuple[str, ...]


def write(value: Any) -> bytes:
    """The one form of a dataclass as JSON."""
    return encode(plain(value))


def encode(content: Any) -> bytes:
    """The one form of JSON that was read, or is to be written."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def plain(value: Any) -> Any:
    """A dataclass as JSON can hold it."""
    return _written(cast(Any, type(value)), value)


def read(cls: type[T], data: bytes, limit: int, version: int) -> Document[T]:
    """Read a `cls` from a file that came from anywhere, and whose member `v` is its version.

    Raises: TooLarge over `limit` bytes; Malformed for anything else that is not exactly one `cls` in its one form.
    """
    if len(data) > limit:
        raise TooLarge(f"it has more than {limit} bytes")
    content = _loads(data)
    if encode(content) != data:
        raise Malformed("it is not in canonical form: keys in order, no spaces, no line end")
    found = content.get("v") if isinstance(content, dict) else None
    if type(found) is int and found != version:
        raise Malformed(f"it is of version {found}, and this is read as version {version}")
    strange: list[str] = []
    raw = _raw(cls, content, "", strange)
    return Document(build(cls, raw), tuple(strange))


def _loads(data: bytes) -> Any:
    try:
        return json.loads(
            data.decode("ascii"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
    except RecursionError as error:
        raise Malformed("it is nested too deeply") from error
    except ValueError as error:
        raise Malformed(f"it is no JSON of ours: {error!s:.120}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands there twice")
    return found


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _refuse(text: str) -> Any:
    raise ValueError(f"the number {text:.40} is no integer")


# --- writing --------------------------------------------------------------------------------------------------------
def _written(hint: Any, value: Any) -> Any:
    hint, bits = _bare(hint)
    if dataclasses.is_dataclass(hint):
        held = ((name, kind, getattr(value, name)) for name, kind in fields_of(cast(Any, hint)))
        return {name: _written(kind, each) for name, kind, each in held if each is not None}
    if get_origin(hint) is tuple:
        return [_written(get_args(hint)[0], each) for each in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool | str):
        return value
    return str(int(value)) if bits > EXACT_BITS else int(value)


# --- reading --------------------------------------------------------------------------------------------------------
def _raw(hint: Any, content: Any, where: str, strange: list[str]) -> Any:
    """The plain form from which the codec builds a value of this type. The codec checks the rest."""
    hint, bits = _bare(hint)
    if dataclasses.is_dataclass(hint):
        return _raw_fields(hint, content, where, strange)
    if get_origin(hint) is tuple:
        if type(content) is not list or len(content) > MAX_ITEMS:
            raise Malformed(f"{where}: expected a list")
        kind, _ = get_args(hint)
        return [_raw(kind, each, f"{where}[{number}]", strange) for number, each in enumerate(content)]
    if hint is bytes:
        return _bytes(content, where)
    return _wide(content, where) if bits > EXACT_BITS else content


def _raw_fields(cls: Any, content: Any, where: str, strange: list[str]) -> list[Any]:
    if type(content) is not dict:
        raise Malformed(f"{where or 'it'}: expected an object")
    known = dict(fields_of(cls))
    for name in content:
        if name not in known and len(strange) < MAX_STRANGE:
            strange.append(_under(where, name[:64]))
    raw = []
    for name, kind in known.items():
        path = _under(where, name)
        if name not in content and not _is_optional(kind):
            raise Malformed(f"{path} is missing")
        raw.append(_raw(kind, content[name], path, strange) if name in content else None)
    return raw


def _bytes(content: Any, where: str) -> bytes:
    try:
        found = bytes.fromhex(content)
    except (TypeError, ValueError) as error:
        raise Malformed(f"{where}: expected hex") from error
    if found.hex() != content:
        raise Malformed(f"{where}: expected hex in small letters")
    return found


def _wide(content: Any, where: str) -> int:
    if type(content) is not str or len(content) > MAX_DIGITS or not _DECIMAL.fullmatch(content):
        raise Malformed(f"{where}: expected a number as a decimal string")
    return int(content)


def _under(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


# --- types ----------------------------------------------------------------------------------------------------------
def _bare(hint: Any) -> tuple[Any, int]:
    """A type without None and bounds, and how many bits an integer of it may have."""
    if _is_optional(hint):
        (hint,) = (member for member in get_args(hint) if member is not type(None))
    bits = 0
    if get_origin(hint) is Annotated:
        hint, bound = cast(Any, get_args(hint))
        bits = bound.bits if isinstance(bound, Bits) else 0
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    return hint, bits


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)
