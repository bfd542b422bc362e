"""Hypothesis strategies: any valid instance of a protocol dataclass, derived from its field types."""

import dataclasses
import types
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from protocol.params import MAX_INPUT_BYTES, MAX_MEMORY_CEILING, MAX_UNITS, TIMEOUT_CEILING_MS
from protocol.stages.request import KINDS, Request
from protocol.wire.codec import Bits, Size
from protocol.wire.ids import Address, checksum

ADDRESSES = st.binary(min_size=20, max_size=20).map(lambda raw: checksum("0x" + raw.hex()))
NARROW: dict[type[Any], dict[str, st.SearchStrategy[Any]]] = {
    Request: {
        "kind": st.integers(0, len(KINDS) - 1),
        "max_new_tokens": st.integers(1, MAX_UNITS),
        "input_bytes": st.integers(1, MAX_INPUT_BYTES),
        "timeout_ms": st.integers(1_000, TIMEOUT_CEILING_MS),
        "max_memory": st.integers(0, MAX_MEMORY_CEILING),
    }
}
"""Fields whose checks hardly any value of their type passes: left to chance, a test finds no instance now and then."""


def instances(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Instances of `cls`; those that its own checks refuse are not drawn."""
    hints = get_type_hints(cls, include_extras=True)
    fields = {field.name: _of(hints[field.name]) for field in dataclasses.fields(cls)} | NARROW.get(cls, {})

    def build(values: dict[str, Any]) -> Any:
        try:
            return cls(**values)
        except ValueError:
            return None

    return st.fixed_dictionaries(fields).map(build).filter(lambda value: value is not None)


def _of(hint: Any) -> st.SearchStrategy[Any]:
    origin = get_origin(hint)
    if origin is Annotated:
        return _bounded(*get_args(hint))
    if origin in (Union, types.UnionType):
        return st.one_of([st.none() if arg is type(None) else _of(arg) for arg in get_args(hint)])
    if origin is type:
        return st.sampled_from(get_args(get_args(hint)[0]))
    if origin is tuple:
        item, *rest = get_args(hint)
        return st.lists(_of(item), max_size=2).map(tuple) if rest == [Ellipsis] else st.tuples(*map(_of, (item, *rest)))
    if hint is Address:
        return ADDRESSES
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    if isinstance(hint, type) and issubclass(hint, IntEnum | StrEnum):
        return st.sampled_from(list(hint))
    if dataclasses.is_dataclass(hint):
        return instances(hint)
    return {int: st.integers(0, 2**63), bytes: st.binary(max_size=40), str: st.text(max_size=20), bool: st.booleans()}[
        hint
    ]


def _bounded(base: Any, *bounds: Any) -> st.SearchStrategy[Any]:
    for bound in bounds:
        if isinstance(bound, Bits):
            return st.integers(0, 2**bound.bits - 1)
        if isinstance(bound, Size):
            least = bound.most if bound.exact else 0
            most = min(bound.most, 60) if not bound.exact else bound.most
            return st.binary(min_size=least, max_size=most) if base is bytes else st.text(max_size=min(most, 20))
    return _of(base)
