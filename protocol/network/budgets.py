"""Budgets: how much of something a peer or an author may use, as a bucket that refills with time."""

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from protocol.errors import RemoteProtocolError
from protocol.wire.bounded import keep_newest

Key = TypeVar("Key", bound=Hashable)


class OverBudget(RemoteProtocolError):
    """More than a peer is given; it may be haste, so it costs little."""

    penalty = 2.0


@dataclass(frozen=True, slots=True)
class Rate:
    """`amount` every `period_ms`, and at most `burst` at once."""

    amount: float
    period_ms: int
    burst: float


@dataclass(slots=True)
class Bucket:
    """One budget. It starts full."""

    rate: Rate
    level: float
    updated_ms: int

    def has(self, amount: float, now_ms: int) -> bool:
        """Whether so much is left; takes nothing."""
        elapsed = max(now_ms - self.updated_ms, 0)
        self.level = min(self.rate.burst, self.level + elapsed * self.rate.amount / self.rate.period_ms)
        self.updated_ms = now_ms
        # The sum of many small refills may miss a whole unit by a rounding error.
        return self.level + 1e-9 >= amount

    def take(self, amount: float, now_ms: int) -> bool:
        """Take so much if it is left."""
        if not self.has(amount, now_ms):
            return False
        self.level -= amount
        return True


@dataclass(slots=True)
class Budgets(Generic[Key]):
    """A bucket of the same rate for each of many keys; the keys used longest ago are forgotten beyond `most`."""

    rate: Rate
    most: int
    _buckets: OrderedDict[Key, Bucket] = field(default_factory=OrderedDict)

    def has(self, key: Key, now_ms: int, amount: float = 1) -> bool:
        """Whether so much is left for `key`."""
        bucket = self._buckets.get(key)
        return bucket is None or bucket.has(amount, now_ms)

    def take(self, key: Key, now_ms: int, amount: float = 1) -> bool:
        """Take so much for `key` if it is left."""
        bucket = self._buckets.get(key) or Bucket(self.rate, self.rate.burst, now_ms)
        keep_newest(self._buckets, key, bucket, self.most)
        return bucket.take(amount, now_ms)

    def give_back(self, key: Key, amount: float = 1) -> None:
        """Undo a `take`."""
        if bucket := self._buckets.get(key):
            bucket.level = min(bucket.rate.burst, bucket.level + amount)


@dataclass(slots=True)
class Paces(Generic[Key]):
    """When the next of a row may go out so that a rate is kept, for each of at most `most` keys."""

    rate: Rate
    most: int
    _booked_ms: OrderedDict[Key, float] = field(default_factory=OrderedDict)

    def wait_ms(self, key: Key, now_ms: int) -> float:
        """Take the next turn of `key`; how long until it comes. Turns come in the order in which they were taken."""
        period_ms = self.rate.period_ms / self.rate.amount
        booked = max(self._booked_ms.get(key, -math.inf), now_ms - self.rate.burst * period_ms) + period_ms
        keep_newest(self._booked_ms, key, booked, self.most)
        return max(0.0, booked - now_ms)
