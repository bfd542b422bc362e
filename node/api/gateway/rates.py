"""Limits of a key in time: requests a minute, and requests at the same time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from node.api.gateway.keys import GatewayKey
from node.api.gateway.refusals import GatewayRefusal

MAX_AT_ONCE = 128
"""Requests of one key at the same time: half of the gateway's connections stay free for other keys."""
BUSY_RETRY_S = 1


@dataclass(slots=True)
class TokenBucket:
    """Holds at most a minute's requests and is filled at their rate, so a quiet client may send a burst."""

    per_minute: int
    held: float
    filled_s: float

    def take(self, now_s: float) -> float:
        """Take one request's token. Returns: 0.0 if there was one, else the seconds until there is."""
        self.held = min(self.per_minute, self.held + max(now_s - self.filled_s, 0.0) * self.per_minute / 60)
        self.filled_s = max(now_s, self.filled_s)
        if self.held < 1:
            return (1 - self.held) * 60 / self.per_minute
        self.held -= 1
        return 0.0


class KeyRates:
    """The buckets and the running requests of all keys that were used since the start."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._buckets: dict[str, TokenBucket] = {}
        self._running: dict[str, int] = {}

    @contextmanager
    def admitted(self, key: GatewayKey) -> Iterator[None]:
        """A request of a key, from its admission to its end. Raises: GatewayRefusal 429, with the time to wait."""
        if self._running.get(key.id, 0) >= MAX_AT_ONCE:
            words = f"this key has {MAX_AT_ONCE} requests running: wait for one to end"
            raise _too_many(words, BUSY_RETRY_S)
        wait_s = self._bucket(key).take(self._clock_s()) if key.rate else 0.0
        if wait_s:
            raise _too_many(f"this key may send {key.rate} requests a minute", ceil(wait_s))
        self._running[key.id] = self._running.get(key.id, 0) + 1
        try:
            yield
        finally:
            self._running[key.id] -= 1
            if not self._running[key.id]:
                del self._running[key.id]

    def _bucket(self, key: GatewayKey) -> TokenBucket:
        bucket = self._buckets.get(key.id)
        if bucket is None:
            bucket = self._buckets[key.id] = TokenBucket(key.rate, float(key.rate), self._clock_s())
        return bucket


def _too_many(words: str, retry_after_s: int) -> GatewayRefusal:
    return GatewayRefusal(429, words, kind="rate_limit_error", code="rate_limit_exceeded", retry_after_s=retry_after_s)
