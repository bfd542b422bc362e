"""One codec for everything that peers send and the journal keeps: canonical CBOR of dataclasses.

A dataclass is the array of its fields in order; a message of several possible types is `[name, fields]`, by the name
that its class states with `wire_class`. Decoding is strict: the types are those that the class declares, nothing is
converted, sizes are bounded, and bytes that would not encode to themselves again are refused, so that one message has
exactly one form.
"""

import dataclasses
import functools
import types
from collections.abc import Callable
from enum import IntEnum, StrEnum
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import cbor2

from protocol.errors import Malformed, TooLarge
from protocol.wire.ids import Address, is_address
from protocol.wire.names import by_name, name_of

T = TypeVar("T")
MAX_ITEMS = 4096
"""No list on the wire is longer, whatever its message allows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """A bound on a field, as in Annotated[bytes, Size(32)]: at most, or exactly, so many bytes or characters."""

    most: int
    exact: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Bits:
    """A bound on an integer field: 0 .. 2**bits - 1."""

    bits: int


U8 = Annotated[int, Bits(8)]
U16 = Annotated[int, Bits(16)]
U24 = Annotated[int, Bits(24)]
U32 = Annotated[int, Bits(32)]
U40 = Annotated[int, Bits(40)]
U48 = Annotated[int, Bits(48)]
U64 = Annotated[int, Bits(64)]
U96 = Annotated[int, Bits(96)]
U128 = Annotated[int, Bits(128)]
Bytes32 = Annotated[bytes, Size(32, exact=True)]
Signature = Annotated[bytes, Size(65, exact=True)]
Text = Annotated[str, Size(512)]


def encode(value: Any) -> bytes:
    """The one form of a dataclass as bytes."""
    return cbor2.dumps(_plain(value), canonical=True)


def decode(cls: type[T], data: bytes, limit: int) -> T:
    """Read a `cls` from bytes that a peer sent.

    Args: limit, the most bytes that such a message may have.
    Raises: TooLarge over the limit; Malformed for anything else that is not exactly one `cls`.
    """
    if len(data) > limit:
        raise TooLarge(f"{cls.__name__}: {len(data)} bytes, at most {limit}")
    raw = _loads(data, cls.__name__)
    value = _build(cls, raw)
    _require_canonical(raw, data, cls.__name__)
    return cast(T, value)


def encode_named(value: Any) -> bytes:
    """A dataclass with its name, for channels that carry several types."""
    return cbor2.dumps([name_of(type(value)), _plain(value)], canonical=True)


def decode_named(classes: dict[str, type[Any]], data: bytes, limit: int) -> Any:
    """Read one of `classes`, by its name.

    Raises: TooLarge; Malformed, also for a name that is not in the table.
    """
    if len(data) > limit:
        raise TooLarge(f"{len(data)} bytes, at most {limit}")
    raw = _loads(data, "message")
    if not isinstance(raw, list) or len(raw) != 2 or not isinstance(raw[0], str) or raw[0] not in classes:
        raise Malformed("not a message of a known name")
    value = _build(classes[raw[0]], raw[1])
    _require_canonical(raw, data, raw[0])
    return value


def build(cls: type[T], raw: Any) -> T:
    """A `cls` from the plain form that the codec writes, wherever that was read.

    Raises: Malformed unless it is one, with every field of its type and within its bounds.
    """
    return cast(T, _build(cls, raw))


def _loads(data: bytes, name: str) -> Any:
    try:
        return cbor2.loads(data)
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError, MemoryError, TypeError) as error:
        raise Malformed(f"{name}: not CBOR") from error


def _require_canonical(raw: Any, data: bytes, name: str) -> None:
    """Check that these bytes are the only form of the value that was read from them.

    Integers in a longer form, maps with other key order, trailing bytes: all the same value, none the same bytes.
    """
    # No class has maps or floats, all that the canonical encoder, twice as slow, has a form of its own for.
    if cbor2.dumps(raw) != data:
        raise Malformed(f"{name}: not in canonical form")


def _plain(value: Any) -> Any:
    return _form(cast(Any, type(value)))(value)


@functools.cache
def _form(kind: type[Any]) -> Callable[[Any], Any]:
    """The function that makes a value of this class plain."""
    if dataclasses.is_dataclass(kind):
        writers = _writers(kind)
        return lambda value: [write(getattr(value, name)) for name, write in writers]
    if issubclass(kind, tuple | list):
        return lambda value: [_plain(item) for item in value]
    if issubclass(kind, IntEnum):
        return int
    if issubclass(kind, StrEnum):
        return str
    if kind is type:
        return name_of
    return lambda value: value


def _with_name(value: Any) -> Any:
    """As `_plain`, for a field that may hold one of several classes: says which."""
    return [name_of(type(value)), _plain(value)] if dataclasses.is_dataclass(value) else _plain(value)


def _build(cls: type[Any], raw: Any) -> Any:
    readers = _readers(cast(Any, cls))
    if not isinstance(raw, list) or len(raw) != len(readers):
        raise Malformed(f"{cls.__name__}: expected {len(readers)} fields")
    values = [read(item, where) for (read, where), item in zip(readers, raw, strict=True)]
    try:
        return cls(*values)
    except ValueError as error:
        raise Malformed(f"{cls.__name__}: {error}") from error


@functools.cache
def fields_of(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    """The fields of a dataclass in order: each one's name, and its type with its bounds."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple((field.name, hints[field.name]) for field in dataclasses.fields(cast(Any, cls)))


# A frame is read by the thousand a second: what hangs on the class alone is found once.
@functools.cache
def _readers(cls: type[Any]) -> tuple[tuple[Callable[[Any, str], Any], str], ...]:
    """For each field what checks and builds its value, and what it is called in an error."""
    return tuple((_checker(hint), f"{cls.__name__}.{name}") for name, hint in fields_of(cast(Any, cls)))


@functools.cache
def _writers(cls: type[Any]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """For each field its name and what makes its value plain."""
    return tuple((name, _writer(hint)) for name, hint in fields_of(cast(Any, cls)))


def _writer(hint: Any) -> Callable[[Any], Any]:
    return _with_name if len(_dataclasses_of(hint)) > 1 else _plain


@functools.cache
def _dataclasses_of(hint: Any) -> tuple[type[Any], ...]:
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return tuple(member for member in members if isinstance(member, type) and dataclasses.is_dataclass(member))


@functools.cache
def _checker(hint: Any) -> Callable[[Any, str], Any]:
    """Compile a type hint to the function that checks and builds a value of it."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _bounded(*get_args(hint))
    if origin in (Union, types.UnionType):
        return _one_of(hint)
    if origin is tuple and get_args(hint)[-1] is Ellipsis:
        return _list(_checker(get_args(hint)[0]))
    if origin is type:
        return _class(get_args(hint)[0])
    if hint is Address:
        return _address
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    if isinstance(hint, type) and issubclass(hint, IntEnum | StrEnum):
        return _enum(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return lambda raw, where: _build(hint, raw)
    if hint in (int, bytes, str, bool):
        return _exact(hint)
    raise TypeError(f"the codec has no form for {hint!r}")


def _exact(kind: type[Any]) -> Callable[[Any, str], Any]:
    def check(raw: Any, where: str) -> Any:
        if type(raw) is not kind:
            raise Malformed(f"{where}: expected {kind.__name__}")
        return raw

    return check


def _address(raw: Any, where: str) -> Any:
    if type(raw) is not str or not is_address(raw):
        raise Malformed(f"{where}: not a checksummed address")
    return raw


def _enum(kind: type[Any]) -> Callable[[Any, str], Any]:
    # True and 1.0 are equal to 1, and no form of it.
    plain = int if issubclass(kind, IntEnum) else str

    def check(raw: Any, where: str) -> Any:
        if type(raw) is not plain:
            raise Malformed(f"{where}: expected {plain.__name__}")
        try:
            return kind(raw)
        except ValueError as error:
            raise Malformed(f"{where}: no such {kind.__name__}") from error

    return check


def _class(hint: Any) -> Callable[[Any, str], Any]:
    """For a field that holds one of several classes itself: it is written as the name of the class."""
    named = by_name(_dataclasses_of(hint))

    def check(raw: Any, where: str) -> Any:
        if type(raw) is not str or raw not in named:
            raise Malformed(f"{where}: not the name of a possible class")
        return named[raw]

    return check


def _bounded(base: Any, bound: Bits | Size) -> Callable[[Any, str], Any]:
    if isinstance(bound, Bits):
        return _integer(1 << bound.bits)
    if base not in (bytes, str):
        raise TypeError(f"the codec has no size for {base!r}")
    return _sized(base, bound.most if bound.exact else 0, bound.most)


def _integer(end: int) -> Callable[[Any, str], Any]:
    def check(raw: Any, where: str) -> Any:
        if type(raw) is not int:
            raise Malformed(f"{where}: expected int")
        if not 0 <= raw < end:
            raise Malformed(f"{where}: out of range")
        return raw

    return check


def _sized(kind: type[Any], least: int, most: int) -> Callable[[Any, str], Any]:
    def check(raw: Any, where: str) -> Any:
        if type(raw) is not kind:
            raise Malformed(f"{where}: expected {kind.__name__}")
        if not least <= len(raw) <= most:
            raise Malformed(f"{where}: wrong length")
        return raw

    return check


def _list(item: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def check(raw: Any, where: str) -> Any:
        if not isinstance(raw, list) or len(raw) > MAX_ITEMS:
            raise Malformed(f"{where}: expected a list")
        return tuple(item(entry, where) for entry in raw)

    return check


def _one_of(hint: Any) -> Callable[[Any, str], Any]:
    members = get_args(hint)
    possible = _dataclasses_of(hint)
    named = by_name(possible) if len(possible) > 1 else {}
    optional = type(None) in members
    others = [_checker(member) for member in members if member is not type(None) and member not in possible]

    def check(raw: Any, where: str) -> Any:
        if raw is None and optional:
            return None
        if len(possible) == 1 and not others:
            return _build(possible[0], raw)
        if isinstance(raw, list) and len(raw) == 2 and isinstance(raw[0], str) and raw[0] in named:
            return _build(named[raw[0]], raw[1])
        for other in others:
            try:
                return other(raw, where)
            except Malformed:
                continue
        raise Malformed(f"{where}: none of the possible types")

    return check
