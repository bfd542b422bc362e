"""Delays: how long peers take to acknowledge this node's messages, and which of them are slow.

What is slow decides who is hired, so it changes with a deadline, which the journal keeps, and not with a round trip.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from protocol.effects import AwaitDeadline, Effect
from protocol.events import DeadlinePassed, Event, MessageSent, MessageUnanswered
from protocol.params import DELAY_ALERT_MS
from protocol.timers import LatencyTimer
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import PeerId, TimestampMs

DELAYS_KEPT = 20
SILENCE_MS = 2 * DELAY_ALERT_MS
"""The time that counts for an unanswered message: the mean of a peer that is silent half of the time is an alert."""
PEERS_KEPT = 4_096


@dataclass(slots=True)
class LatencyTracker:
    """The last round trips to each peer."""

    _last: OrderedDict[PeerId, deque[int]] = field(default_factory=OrderedDict)
    _slow: OrderedDict[PeerId, None] = field(default_factory=OrderedDict)

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Count a round trip, or take note of what counting them has found."""
        match event:
            case MessageSent(peer_id, round_trip_ms):
                return self._count(peer_id, round_trip_ms, now_ms)
            case MessageUnanswered(peer_id):
                return self._count(peer_id, SILENCE_MS, now_ms)
            case DeadlinePassed(LatencyTimer(peer_id, slow=True)):
                keep_newest(self._slow, peer_id, None, PEERS_KEPT)
            case DeadlinePassed(LatencyTimer(peer_id)):
                self._slow.pop(peer_id, None)
        return ()

    def mean_ms(self, peer_id: PeerId) -> int:
        """Mean of the last round trips to a peer since this node's start; 0 where there was none."""
        last = self._last.get(peer_id)
        return sum(last) // len(last) if last else 0

    def is_slow(self, peer_id: PeerId) -> bool:
        """Whether a peer is hired last."""
        return peer_id in self._slow

    def _count(self, peer_id: PeerId, delay_ms: int, now_ms: TimestampMs) -> tuple[Effect, ...]:
        last = self._last.get(peer_id, deque[int](maxlen=DELAYS_KEPT))
        last.append(delay_ms)
        keep_newest(self._last, peer_id, last, PEERS_KEPT)
        slow = self.mean_ms(peer_id) > DELAY_ALERT_MS
        if slow == self.is_slow(peer_id):
            return ()
        return (AwaitDeadline(LatencyTimer(peer_id, slow), now_ms),)
