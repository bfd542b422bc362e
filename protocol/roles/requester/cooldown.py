"""Misses: which nodes failed this requester, and until when it does without them."""

from dataclasses import dataclass, field

from protocol.params import MISS_LONGEST_MS, MISS_MS
from protocol.wire.ids import Address, TimestampMs

NODES_KEPT = 4_096


@dataclass(slots=True)
class ProviderCooldown:
    """A requester's own experience; no peer's word counts, so no peer can talk a node down."""

    _counts: dict[Address, int] = field(default_factory=dict)
    _until_ms: dict[Address, TimestampMs] = field(default_factory=dict)

    def add(self, node: Address, now_ms: TimestampMs) -> None:
        """A node did not do what it had offered."""
        count = self._counts.pop(node, 0) + 1
        while len(self._counts) >= NODES_KEPT:
            self.forgive(next(iter(self._counts)))
        self._counts[node] = count
        # The shift is bounded, so that no number of misses makes a number of unbounded size.
        self._until_ms[node] = TimestampMs(now_ms + min(MISS_LONGEST_MS, MISS_MS << min(count - 1, 16)))

    def forgive(self, node: Address) -> None:
        """A node did a job, and it was paid."""
        self._counts.pop(node, None)
        self._until_ms.pop(node, None)

    def bars(self, node: Address, now_ms: TimestampMs) -> bool:
        """Whether a node is not hired now, as long as another one can be."""
        return self.until_ms(node) > now_ms

    def until_ms(self, node: Address) -> TimestampMs:
        """Until when a node is barred, in ms since 1970; 0 for one that failed no requester."""
        return self._until_ms.get(node, TimestampMs(0))
