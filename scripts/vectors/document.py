"""The parts of docs/wire.md that come from the code: the values of its vector blocks, and the form of every field.

A block ```vector names a value of tests/vectors, as codec[Withdrawal].bytes, and shows it; `refreshed` puts in what the
file holds now. `form` says how a field of a message is written down in the tables of that page.
"""

import dataclasses
import json
import re
import textwrap
import types
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from protocol.wire.codec import MAX_ITEMS, Bits, Size
from protocol.wire.ids import Address
from scripts.vectors.frame import VECTORS

PAGE = VECTORS.parents[1] / "docs" / "wire.md"
WIDTH = 100
_BLOCK = re.compile(r"^```vector\n(\S.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_NAME = re.compile(r"([a-z]+)\[([^]]+)\](?:\.(\S+))?")


def refreshed(page: str) -> str:
    """The page with the value of every vector block as its file holds it. Raises: KeyError for one that is nowhere."""
    return _BLOCK.sub(lambda block: f"```vector\n{block[1]}\n{shown(value(block[1]))}\n```", page)


def blocks(page: str) -> list[str]:
    """The names of all vector blocks of the page."""
    return [block[1] for block in _BLOCK.finditer(page)]


def value(name: str) -> Any:
    """The value that file[case].key names; a case by its name or number. Raises: KeyError."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise KeyError(name)
    file, case, key = found.groups()
    cases = json.loads((VECTORS / f"{file}.json").read_text("utf-8"))["cases"]
    at = next((each for number, each in enumerate(cases) if case in (each.get("name"), str(number))), None)
    for part in key.split(".") if key else ():
        at = at[int(part)] if isinstance(at, list) else None if at is None else at.get(part)
    if at is None:
        raise KeyError(name)
    return at


def shown(found: Any) -> str:
    """A value on lines that fit a page; bytes without the 0x."""
    text = found.removeprefix("0x") if isinstance(found, str) else json.dumps(found, indent=1)
    return "\n".join(part for line in text.splitlines() for part in textwrap.wrap(line, WIDTH) or [""])


def fields(cls: Any) -> list[tuple[str, str, str]]:
    """Name, type and limit of every field of a message, in order."""
    hints = get_type_hints(cls, include_extras=True)
    return [(field.name, *form(hints[field.name])) for field in dataclasses.fields(cls)]


def form(hint: Any) -> tuple[str, str]:
    """How a field is written down: its type, and its limit."""
    origin = get_origin(hint)
    if origin is Annotated:
        base, bound, *_ = get_args(hint)
        return form(base)[0], _bound(bound)
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(hint) if member is not type(None)]
        names = " or ".join(form(member)[0] for member in members)
        return f"{names} or null" if type(None) in get_args(hint) else names, "-"
    if origin is type:
        return "text", "a name"
    if origin is tuple:
        kind, limit = form(get_args(hint)[0])
        return f"list of {kind}", f"<= {MAX_ITEMS} items" + ("" if limit == "-" else f", each {limit}")
    if hint is Address:
        return "address", "42 characters"
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    if issubclass(hint, StrEnum):
        return "text", ", ".join(hint)
    if issubclass(hint, IntEnum):
        return "uint", ", ".join(str(int(member)) for member in hint)
    return {bytes: "bytes", str: "text", int: "uint", bool: "bool"}.get(hint, hint.__name__), "-"


def _bound(bound: Bits | Size) -> str:
    if isinstance(bound, Bits):
        return f"< 2^{bound.bits}"
    return f"{bound.most}" if bound.exact else f"<= {bound.most}"


def parts(cls: Any) -> list[Any]:
    """The classes that a message is made of, itself first."""
    found = [cls]
    for hint in get_type_hints(cls, include_extras=True).values():
        for inner in _classes(hint):
            found += [each for each in parts(inner) if each not in found]
    return found


def _classes(hint: Any) -> list[Any]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    if get_origin(hint) is type:
        return []
    return [each for inner in get_args(hint) for each in _classes(inner)]
