"""Dicts of a bounded size: the oldest entries make room for the newest, a count of nothing is not kept."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def shorten(kept: dict[Key, Value], most: int) -> None:
    """Forget the oldest entries beyond `most`."""
    while len(kept) > most:
        del kept[next(iter(kept))]


def keep_newest(kept: dict[Key, Value], key: Key, value: Value, most: int) -> None:
    """Put an entry last, and forget the oldest ones beyond `most`."""
    kept.pop(key, None)
    kept[key] = value
    shorten(kept, most)


@contextmanager
def counted(counts: Counter[Key], key: Key) -> Iterator[None]:
    """Count one more of a key as long as the block lasts."""
    counts[key] += 1
    try:
        yield
    finally:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
