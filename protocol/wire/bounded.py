"""Dicts of a bounded size: the oldest entries make room for the newest, a count of nothing is not kept."""

from collections import Counter
from dataclasses import dataclass
from typing import Generic, TypeVar

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


@dataclass(frozen=True, slots=True)
class Counted(Generic[Key]):
    """Counts one more of a key as long as a block lasts."""

    counts: Counter[Key]
    key: Key

    def __enter__(self) -> None:
        self.counts[self.key] += 1

    def __exit__(self, *_: object) -> None:
        self.counts[self.key] -= 1
        if not self.counts[self.key]:
            del self.counts[self.key]
