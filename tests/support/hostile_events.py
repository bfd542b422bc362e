"""Durable events with values that nobody honest sends: at the bounds of their types, empty, full, or out of place.

Values are drawn from what a real history holds (`Pool`) and from the extremes of each type hint, by one seed.
"""

import dataclasses
import random
import types
from collections import defaultdict
from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from protocol.wire.codec import Bits, Size
from protocol.wire.ids import ZERO_ADDRESS, Address, checksum

BIG = 2**255 - 1
"""The most that a contract tells of a number without a bound of its own."""


class Pool:
    """Values of a real history by their kind: whole dataclasses, addresses, bytes by length, texts, numbers."""

    def __init__(self, values: Iterable[Any]) -> None:
        self._found: dict[Any, dict[Any, None]] = defaultdict(dict)
        for value in values:
            self._take(value)
        self._lists = {kind: list(found) for kind, found in self._found.items()}

    def one(self, kind: Any, chance: random.Random) -> Any:
        """Raises: IndexError if the history has none."""
        return chance.choice(self._lists.get(kind, []))

    def _take(self, value: Any) -> None:
        if dataclasses.is_dataclass(value):
            self._found[type(value)][value] = None
            for field in dataclasses.fields(value):
                self._take(getattr(value, field.name))
        elif isinstance(value, tuple):
            for item in value:
                self._take(item)
        elif isinstance(value, bytes):
            self._found[len(value)][value] = None
        elif isinstance(value, str):
            self._found[Address if value.startswith("0x") and len(value) == 42 else str][value] = None
        elif type(value) is int:
            self._found[int][value] = None


class Hostile:
    """Makes values of a class by its type hints."""

    def __init__(self, pool: Pool, chance: random.Random) -> None:
        self._pool = pool
        self._chance = chance

    def instance(self, cls: type[Any]) -> Any:
        """A value that the class accepts: a real one with a few fields exchanged, or one of hostile fields alone."""
        while True:
            try:
                base = self._pool.one(cls, self._chance) if self._chance.random() < 0.8 else None
            except IndexError:
                base = None
            try:
                return self._exchanged(base) if base is not None else self._made(cls)
            except ValueError:
                continue

    def _made(self, cls: type[Any]) -> Any:
        hints = get_type_hints(cls, include_extras=True)
        return cls(**{field.name: self._value(hints[field.name]) for field in dataclasses.fields(cls)})

    def _exchanged(self, base: Any) -> Any:
        hints = get_type_hints(type(base), include_extras=True)
        names = [field.name for field in dataclasses.fields(base)]
        chosen = self._chance.sample(names, min(len(names), self._chance.choice((0, 1, 1, 2, 3))))
        return dataclasses.replace(base, **{name: self._value(hints[name]) for name in chosen})

    def _value(self, hint: Any) -> Any:
        origin, chance = get_origin(hint), self._chance
        if origin is Annotated:
            return self._bounded(*get_args(hint))
        if origin in (Union, types.UnionType):
            kind = chance.choice(get_args(hint))
            return None if kind is type(None) else self._value(kind)
        if origin is type:
            (union,) = get_args(hint)
            return chance.choice(get_args(union) or (union,))
        if origin is tuple:
            item, *rest = get_args(hint)
            kinds = [item] * chance.choice((0, 1, 2, 3, 40)) if rest == [Ellipsis] else [item, *rest]
            return tuple(self._value(kind) for kind in kinds)
        if hint is Address:
            fresh = checksum("0x" + chance.randbytes(20).hex())
            return self._known(Address, chance.choice((ZERO_ADDRESS, fresh)))
        while hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        if isinstance(hint, type) and issubclass(hint, IntEnum | StrEnum):
            return chance.choice(list(hint))
        if dataclasses.is_dataclass(hint):
            return self.instance(hint)
        if hint is bool:
            return chance.random() < 0.5
        if hint is int:
            return self._known(int, chance.choice((0, 1, -1, BIG, -BIG)))
        return self._bounded(hint, Size(64))

    def _bounded(self, base: Any, bound: Any) -> Any:
        chance = self._chance
        if isinstance(bound, Bits):
            most = 2**bound.bits - 1
            return min(abs(self._known(int, chance.choice((0, 1, most - 1, most, chance.randint(0, most))))), most)
        assert isinstance(bound, Size)
        size = bound.most if bound.exact else chance.choice((0, 1, bound.most // 2, bound.most))
        if base is bytes:
            return self._known(size, chance.choice((bytes(size), b"\xff" * size, chance.randbytes(size))))
        if base is str:
            return self._known(str, chance.choice(("", ":", "0x", "\0" * size, "z" * size)))[: bound.most]
        return tuple(self._value(base))[: bound.most]

    def _known(self, kind: Any, other: Any) -> Any:
        try:
            return self._pool.one(kind, self._chance) if self._chance.random() < 0.7 else other
        except IndexError:
            return other
