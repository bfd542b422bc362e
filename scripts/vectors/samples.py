"""One valid value of any class that the codec knows, made from a seed: for vectors, and for fuzzing to begin with."""

import dataclasses
import random
import types
from enum import IntEnum, StrEnum
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import Request
from protocol.stages.verification import MarginScores
from protocol.wire.codec import Bits, Size
from protocol.wire.ids import Address, checksum

T = TypeVar("T")
# Values that a class refuses although its types allow them: what any node would run.
RANGES: dict[type, dict[str, Any]] = {
    Request: {
        "kind": 0,
        "max_new_tokens": 8_192,
        "input_bytes": 65_536,
        "timeout_ms": 120_000,
        "max_memory": 2**30,
        "requester_peer": "/ip4/127.0.0.1/tcp/4701/p2p/16Uiu2HAm",
    },
    MarginScores: {"edges": (100, 5_000), "scores": (-2, 40, 900)},
    Heartbeat: {"addresses": ("/ip4/127.0.0.1/tcp/4701",)},
}


def sample(cls: type[T], seed: str) -> T:
    """A valid `cls`, always the same for one seed."""
    made: T = _build(cls, random.Random(f"{cls.__name__} {seed}"))
    return made


def _build(cls: Any, dice: random.Random) -> Any:
    hints = get_type_hints(cls, include_extras=True)
    values = {field.name: _value(hints[field.name], dice) for field in dataclasses.fields(cls)}
    return cls(**{**values, **RANGES.get(cls, {})})


def _value(hint: Any, dice: random.Random) -> Any:
    origin = get_origin(hint)
    if origin is Annotated:
        base, bound = get_args(hint)
        return _bounded(base, bound, dice)
    if origin in (Union, types.UnionType):
        return _value(dice.choice([member for member in get_args(hint) if member is not type(None)]), dice)
    if origin is type:
        return dice.choice(get_args(get_args(hint)[0]))
    if origin is tuple:
        return tuple(_value(get_args(hint)[0], dice) for _ in range(dice.randrange(1, 3)))
    if hint is Address:
        return checksum("0x" + dice.randbytes(20).hex())
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    if isinstance(hint, type) and issubclass(hint, IntEnum | StrEnum):
        return dice.choice(list(hint))
    if dataclasses.is_dataclass(hint):
        return _build(hint, dice)
    plain = {bool: dice.random() < 0.5, int: dice.randrange(2**32), bytes: dice.randbytes(32), str: _word(dice, 12)}
    return plain[hint]


def _bounded(base: Any, bound: Bits | Size, dice: random.Random) -> Any:
    if isinstance(bound, Bits):
        return dice.randrange(1 << dice.randrange(1, bound.bits + 1))
    length = bound.most if bound.exact else dice.randrange(1, min(bound.most, 48) + 1)
    return dice.randbytes(length) if base is bytes else _word(dice, length)


def _word(dice: random.Random, length: int) -> str:
    return "".join(dice.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(length))
