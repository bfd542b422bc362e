"""Changing an input: in its bytes, or in the tree that CBOR or JSON makes of it, so that what is deep is reached."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import cbor2

MAX_BYTES = 1 << 20
Bend = Callable[[bytes], bytes]
"""Changes some bytes."""


class Shape(Enum):
    """The parts of an input."""

    CBOR = auto()
    JSON = auto()
    BYTES = auto()


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 31, 255, 256, 65_536, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64),
    *(2**96, 2**128, 2**256, -(2**63), -(2**64), 10**40, 0.0, -0.0, 0.5, 1e308, float("inf"), float("-inf")),
    *(float("nan"), "", "\0", "\n", "\x1b[2J", "\u202e", "../../etc/passwd", "/etc/passwd", "--json", "é" * 300),
    *("a" * 513, "0x", "0x" + "f" * 40, "0x" + "f" * 64, "-0x1", "1_000", "١٢٣", "1e999", "f" * 64, b"", b"\0"),
    *(bytes(32), bytes(33), b"\xff" * 64, b"\xff" * 1_025, [], {}, [[]], [None] * 600, {"": None}, {"v": 1}),
)
# Deeper than any reader's stack.
DEEP = 20_000
_NESTS = {Shape.CBOR: (b"\x81", b"", b"\xa1\x00", b""), Shape.JSON: (b"[", b"]", b'{"v":', b"}")}


def mutated(data: bytes, shape: Shape, dice: random.Random, bend: Bend) -> bytes:
    """Another input made from this one."""
    if shape is Shape.BYTES or dice.random() < 0.35:
        return bend(data)
    if dice.random() < 0.003:
        return _nested(data, shape, dice)
    try:
        tree = cbor2.loads(data) if shape is Shape.CBOR else json.loads(data)
    except Exception:
        # A reader may take it, but it is no tree.
        return bend(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        tree = _change(tree, dice)
    try:
        return cbor2.dumps(tree, canonical=dice.random() < 0.9) if shape is Shape.CBOR else _json(tree, dice)
    except (ValueError, TypeError, OverflowError, RecursionError, cbor2.CBORError):
        return bend(data)


def bent(data: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, taken out or put in."""
    raw = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5))):
        at = dice.randrange(len(raw) + 1)
        match dice.randrange(6):
            case 0 if raw:
                raw[at % len(raw)] ^= 1 << dice.randrange(8)
            case 1 if raw:
                raw[at % len(raw)] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            case 2:
                raw[at:at] = dice.randbytes(dice.choice((1, 2, 4, 40)))
            case 3:
                del raw[at : at + dice.choice((1, 1, 4, 32, len(raw)))]
            case 4:
                raw[at:at] = raw[dice.randrange(len(raw) + 1) :][:64]
            case _:
                odd = dice.choice(ODD)
                raw[at:at] = odd if isinstance(odd, bytes) else str(odd).encode(errors="replace")
    return bytes(raw[:MAX_BYTES])


def _nested(data: bytes, shape: Shape, dice: random.Random) -> bytes:
    open_list, close_list, open_map, close_map = _NESTS[shape]
    depth = dice.choice((200, 900, 980, 1_500, DEEP))
    start, end = (open_list, close_list) if dice.random() < 0.5 else (open_map, close_map)
    inside = data if dice.random() < 0.5 else b"\x00" if shape is Shape.CBOR else b"0"
    return start * depth + inside + end * depth


def _json(tree: Any, dice: random.Random) -> bytes:
    loose = dice.random() < 0.3
    plain = json.dumps(tree, sort_keys=not loose, separators=None if loose else (",", ":"), ensure_ascii=not loose)
    return plain.encode(errors="surrogatepass")


def _change(tree: Any, dice: random.Random) -> Any:
    """The tree with one of its nodes changed; every way down is as likely."""
    if isinstance(tree, list) and tree and dice.random() < 0.85:
        at = dice.randrange(len(tree))
        return [*tree[:at], _change(tree[at], dice), *tree[at + 1 :]]
    if isinstance(tree, dict) and tree and dice.random() < 0.85:
        key = dice.choice(list(tree))
        return {**tree, key: _change(tree[key], dice)}
    return _other(tree, dice)


def _other(node: Any, dice: random.Random) -> Any:
    if dice.random() < 0.3:
        return dice.choice(ODD)
    match node:
        case bool():
            return not node
        case int():
            return dice.choice((node + 1, node - 1, -node, node << dice.randrange(200), dice.randrange(2**64)))
        case float():
            return dice.choice((-node, node * 1e300, int(node) if abs(node) < 1e300 else 0))
        case str():
            text = bent(node.encode(errors="replace"), dice).decode(errors="replace")
            return dice.choice((text, node * 2, node[:-1], node.upper(), node.encode(errors="replace")))
        case bytes():
            return dice.choice((bent(node, dice), node * 2, node[:-1], node.hex()))
        case list():
            return dice.choice(
                (node * 2, node[:-1], [*node, None], node[::-1], {"v": node}, dice.sample(node, len(node)))
            )
        case dict():
            kept = dict(node)
            if kept and dice.random() < 0.5:
                del kept[dice.choice(list(kept))]
            else:
                kept[dice.choice(("", "v", "extra", "\0"))] = dice.choice(ODD)
            return dice.choice((kept, list(node.values())))
        case _:
            return dice.choice(ODD)
