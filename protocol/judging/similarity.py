"""Similarity of two outputs as such, in basis points: for people who compare them, and for kinds without a model.

What a node is judged by is `verification`, which knows the model's noise; these know only what lies before them. Each
gives 10000 for the same content and 0 where nothing agrees, in integers, so that every machine gets the same score.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from protocol.params import BPS

MAX_WORDS = 65_536
"""Of a longer text what is beyond counts as different, unless it is the same at its beginning or end."""
MAX_LEAVES = 262_144
"""Structured output with more values is compared with nothing."""
MAX_LEVELS = 64
"""Of lists and objects in one another; how deep a machine's own stack is must not matter."""
TOLERANCE_UNIT = 10**9
_WORD = re.compile(r"[^ \t\r\n]+")

Path = tuple[str | int, ...]
Scalar = tuple[str, Any]
"""The kind of a JSON value that holds no other, and the value: so that 1 is not true, and {} not []."""


def text_similarity_bps(a: str, b: str) -> int:
    """The share of words that two texts have in common in the same order, of the longer one's; spaces do not count."""
    left, right = _WORD.findall(a), _WORD.findall(b)
    longest = max(len(left), len(right))
    if longest == 0:
        return BPS
    begin = _alike(left, right)
    end = _alike(left[begin:][::-1], right[begin:][::-1])
    left, right = left[begin : len(left) - end], right[begin : len(right) - end]
    return BPS * (begin + end + _common(left[:MAX_WORDS], right[:MAX_WORDS])) // longest


def structured_similarity_bps(a: bytes, b: bytes, *, atol_e9: int = 0, rtol_e9: int = 0) -> int:
    """The share of values that two JSON texts have in common, by their place, of the one's that has more of them.

    An empty list or object is a value. Numbers agree where |a - b| <= atol + rtol |b|, exactly.
    Args: b, the one that a is measured by; the tolerances in billionths.
    Returns: 0 also where one of them is not JSON as `read_json` takes it.
    Raises: ValueError for a tolerance below 0.
    """
    if atol_e9 < 0 or rtol_e9 < 0:
        raise ValueError("a tolerance is at least 0")
    try:
        ours, theirs = dict(_leaves(read_json(a))), dict(_leaves(read_json(b)))
    except ValueError:
        return 0
    if max(len(ours), len(theirs)) > MAX_LEAVES:
        return 0
    matched = sum(
        path in theirs and _agree(value, theirs[path], Fraction(atol_e9), Fraction(rtol_e9))
        for path, value in ours.items()
    )
    return BPS * matched // max(len(ours), len(theirs))


def read_json(raw: bytes) -> Any:
    """A JSON value as RFC 8785 knows it: every number a double.

    Raises: ValueError for what has no canonical form: a name that stands twice, NaN, a number that no double holds, a
    lone surrogate, too many levels.
    """
    try:
        value = json.loads(
            raw.decode(), object_pairs_hook=_once, parse_int=_double, parse_float=_double, parse_constant=_refuse
        )
        for path, (_, leaf) in _leaves(value):
            for text in (*path, leaf):
                if isinstance(text, str):
                    text.encode()
    except RecursionError as error:
        raise ValueError("too many levels") from error
    return value


def _alike(left: list[str], right: list[str]) -> int:
    """How many words agree from the beginning."""
    pairs = zip(left, right, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def _common(left: list[str], right: list[str]) -> int:
    """The length of the longest common subsequence: one row of bits for `left`, a step for each word of `right`.

    A bit of the row is 0 where the length grows. Source: Crochemore et al., A fast and practical bit-vector algorithm.
    """
    places: defaultdict[str, int] = defaultdict(int)
    for place, word in enumerate(left):
        places[word] |= 1 << place
    every = (1 << len(left)) - 1
    row = every
    for word in right:
        if found := places.get(word):
            at = row & found
            row = (row + at | row - at) & every
    return len(left) - row.bit_count()


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Scalar]]:
    if len(path) > MAX_LEVELS:
        raise ValueError("too many levels")
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, (*path, name))
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _leaves(item, (*path, place))
    else:
        yield path, (type(value).__name__, value)


def _agree(ours: Scalar, theirs: Scalar, atol: Fraction, rtol: Fraction) -> bool:
    (kind, a), (other, b) = ours, theirs
    if kind != other:
        return False
    if kind != "float":
        return bool(a == b)
    left, right = Fraction(a), Fraction(b)
    return abs(left - right) * TOLERANCE_UNIT <= atol + rtol * abs(right)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _double(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is larger than any double")
    return number


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
