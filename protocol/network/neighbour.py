"""The queues of one gossip neighbour, and when each may be sent.

Requests and notices go at once, then with a gap. Heartbeats wait for the tick: the newest replaces older ones, and a
frame that the neighbour sends meanwhile is not sent back.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from protocol.network.budgets import Bucket, Rate
from protocol.network.frames import MAX_IDS, Content, FrameId, Signed, Topic

EVENT_GAP_MS = 50
DIGEST_EVERY_MS = 30_000
MAX_PENDING = 2_048
SHARE_BYTES = 180 * 1024
"""Bytes of one kind of frames in one batch, at most."""
REPAIR_FRAMES = 48
"""The most that a Want of a neighbour is answered with on one tick: 60 KiB of the longest frames."""
RECEIVED_BYTES = Rate(amount=1024 * 1024, period_ms=1_000, burst=4 * 1024 * 1024)
STRANGERS = Rate(amount=10, period_ms=60_000, burst=10)
"""Frames of authors that this node does not know; honest neighbours pass on none."""


@dataclass(slots=True)
class Neighbour:
    """One neighbour's queues. `phase_ms` spreads the ticks of different neighbours over the interval."""

    tick_ms: int
    phase_ms: int
    joined_ms: int
    events: OrderedDict[FrameId, Signed] = field(default_factory=OrderedDict)
    beats: OrderedDict[FrameId, tuple[bytes, Signed]] = field(default_factory=OrderedDict)
    repairs: OrderedDict[FrameId, None] = field(default_factory=OrderedDict)
    """Frames that the neighbour asked for by a Want [IWANT]."""
    wanted: list[FrameId] = field(default_factory=list)
    """Frames that the next Want asks it for."""
    received: Bucket = field(init=False)
    strangers: Bucket = field(init=False)
    _beat_of: dict[bytes, FrameId] = field(default_factory=dict)
    _events_at_ms: int = 0
    _tick_at_ms: int | None = None
    _digest_at_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self.received = Bucket(RECEIVED_BYTES, RECEIVED_BYTES.burst, self.joined_ms)
        self.strangers = Bucket(STRANGERS, STRANGERS.burst, self.joined_ms)
        self._digest_at_ms = self.joined_ms

    def add(self, frame_id: FrameId, content: Content, signed: Signed, now_ms: int) -> None:
        """Queue a frame; over the cap the oldest heartbeat goes, or the oldest event where there is none."""
        if content.topic is Topic.HEARTBEAT:
            older = self._beat_of.get(content.author)
            if older is not None:
                del self.beats[older]
            self.beats[frame_id] = (content.author, signed)
            self._beat_of[content.author] = frame_id
            self._await_tick(now_ms)
        else:
            self.events[frame_id] = signed
        if len(self.events) + len(self.beats) > MAX_PENDING:
            self.drop(next(iter(self.beats or self.events)))

    def drop(self, frame_id: FrameId) -> None:
        """Forget a frame: the neighbour has it."""
        self.events.pop(frame_id, None)
        author, _ = self.beats.pop(frame_id, (b"", None))
        if author:
            del self._beat_of[author]

    def queue_repairs(self, frame_ids: tuple[FrameId, ...], now_ms: int) -> None:
        """Queue what the neighbour asked for."""
        for frame_id in frame_ids:
            if len(self.repairs) < MAX_IDS:
                self.repairs[frame_id] = None
        if self.repairs:
            self._await_tick(now_ms)

    def due_ms(self) -> int:
        """When something may go next; a moment in the past means now."""
        if self.wanted:
            return 0
        due_ms = self._digest_at_ms
        if self.events and self._events_at_ms < due_ms:
            due_ms = self._events_at_ms
        if self._tick_at_ms is not None and self._tick_at_ms < due_ms:
            due_ms = self._tick_at_ms
        return due_ms

    def take_wanted(self) -> tuple[FrameId, ...]:
        """The ids to ask the neighbour for."""
        taken, self.wanted = tuple(self.wanted[:MAX_IDS]), self.wanted[MAX_IDS:]
        return taken

    def take_digest(self, now_ms: int) -> bool:
        """Whether a digest is due; the next one is half a minute later."""
        if now_ms < self._digest_at_ms:
            return False
        self._digest_at_ms = now_ms + DIGEST_EVERY_MS + self.phase_ms
        return True

    def take_events(self, now_ms: int) -> tuple[Signed, ...]:
        """The events that may go now."""
        if not self.events or now_ms < self._events_at_ms:
            return ()
        self._events_at_ms = now_ms + EVENT_GAP_MS
        return self._take(self.events.items())

    def take_tick(self, now_ms: int) -> tuple[tuple[Signed, ...], tuple[FrameId, ...]]:
        """The heartbeats and the ids of the frames asked for that may go now, if the tick has come."""
        if self._tick_at_ms is None or now_ms < self._tick_at_ms:
            return (), ()
        self._tick_at_ms = None
        taken = self._take((frame_id, signed) for frame_id, (_, signed) in self.beats.items())
        repairs: list[FrameId] = []
        while self.repairs and len(repairs) < REPAIR_FRAMES:
            repairs.append(self.repairs.popitem(last=False)[0])
        if self.beats or self.repairs:
            self._await_tick(now_ms + 1)
        return taken, tuple(repairs)

    def _take(self, queued: Iterable[tuple[FrameId, Signed]]) -> tuple[Signed, ...]:
        """The oldest frames of a queue, as many as go into one batch."""
        taken: dict[FrameId, Signed] = {}
        room = SHARE_BYTES
        for frame_id, signed in queued:
            room -= signed.size
            if room < 0:
                break
            taken[frame_id] = signed
        for frame_id in taken:
            self.drop(frame_id)
        return tuple(taken.values())

    def _await_tick(self, now_ms: int) -> None:
        if self._tick_at_ms is None:
            self._tick_at_ms = now_ms + (self.phase_ms - now_ms) % self.tick_ms
