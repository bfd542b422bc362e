"""Batched neighbour gossip: every frame reaches every node, over few neighbours, in few batches.

A machine without clock or network: `receive` takes what a neighbour sent, `take` gives what is to be sent to one,
`due_ms` says when. A frame goes to every neighbour that has not sent it itself; what got lost is found again by
comparing digests of what both sides hold. The checks come cheapest first: size, seen before, age, the author's budget,
what the chain says of the author (`Admit`), and only then the signatures (`Charge` checks the one inside the body).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from protocol.errors import LocalProtocolError, Malformed, OutOfTurn, RemoteProtocolError
from protocol.network.budgets import Budgets, OverBudget, Rate
from protocol.network.frames import (
    MAX_BODY_BYTES,
    MAX_IDS,
    Content,
    Digest,
    FrameId,
    Frames,
    Sign,
    Signed,
    Topic,
    Want,
    decode_batch,
    encode_batch,
    frame_id,
    read_content,
    require_signed,
    sign_content,
    split_ids,
)
from protocol.network.neighbour import Neighbour
from protocol.network.peers import BAN_BELOW
from protocol.params import FAST_HEARTBEAT_INTERVAL_MS, HEARTBEAT_INTERVAL_MS, MAX_CLOCK_SKEW_MS
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import PeerId, peer_id_of

TICK_MS = HEARTBEAT_INTERVAL_MS // 10
"""Interval of heartbeat batches. A hop takes half of it on average; a shorter one costs every node more CPU."""
FAST_TICK_MS = FAST_HEARTBEAT_INTERVAL_MS // 10
SEEN_MS = 2 * MAX_CLOCK_SKEW_MS
"""How long ids are kept. A frame from a clock a minute ahead stays fresh for two minutes."""
MAX_SEEN = 65_536
MAX_AUTHORS = 65_536
MAX_HELD = 32_768
MAX_REFUSED = 1_024
"""Ids of refused frames: a memory of their own, which may overflow without making an accepted frame new again."""
MAX_UNKNOWN = 1_024
UNKNOWN_MS = 60_000
"""How long a frame of an unknown author waits, unrelayed, for the block that makes its author known."""
ASK_AGAIN_MS = 2_000
LEAST_BEAT_MS = 4_000
"""The shortest interval of beats that their budget counts with."""
BEATS_AT_ONCE = 2
REQUESTS = Rate(amount=2, period_ms=1_000, burst=10)
"""Relayed requests of one author, and of one client for each smallest deposit that it holds."""


class Admission(Enum):
    """The verdict on a frame before its signatures are checked."""

    ADMIT = auto()
    UNKNOWN = auto()
    """The chain does not know author, client or signer (yet): a block may be late."""
    EXCESS = auto()
    """The client's budget is used up. Relays count at other moments, so the neighbour is not at fault."""
    REFUSE = auto()
    """No honest node passes it on."""


Admit = Callable[[Content, int], Admission]
"""Judges a frame at a moment in ms, before any signature is checked; must be cheap."""
Charge = Callable[[Content, int], None]
"""Checks the signature inside an admitted frame's body, and takes the frame from the budget of the client that answers
for it. Raises: RemoteProtocolError for a signature by another key."""


@dataclass(frozen=True, slots=True)
class Received:
    """Result of a batch: contents of new, admitted frames, and the neighbour's faults."""

    delivered: tuple[Content, ...] = ()
    faults: tuple[RemoteProtocolError, ...] = ()


@dataclass(frozen=True, slots=True)
class _Held:
    content: Content
    signed: Signed


@dataclass(frozen=True, slots=True)
class _Waiting:
    held: _Held
    source: PeerId
    until_ms: int


@dataclass(eq=False, repr=False, kw_only=True)
class Gossip:
    """The gossip of one node. Times in ms since 1970.

    settlement, 20 bytes, and chain_id name the network. author: our compressed key. heartbeat_ms: the interval that
    the budget of heartbeats follows. seed: chance for spreading ticks.
    """

    chain_id: int
    settlement: bytes
    author: bytes
    admit: Admit
    charge: Charge
    heartbeat_ms: int
    tick_ms: int = TICK_MS
    seed: bytes = b""

    def __post_init__(self) -> None:
        self._seq = 0
        self._neighbours: dict[PeerId, Neighbour] = {}
        self._seen: OrderedDict[FrameId, int] = OrderedDict()
        self._refused: OrderedDict[FrameId, None] = OrderedDict()
        self._held: OrderedDict[FrameId, _Held] = OrderedDict()
        self._newest: OrderedDict[bytes, tuple[int, FrameId]] = OrderedDict()
        self._unknown: OrderedDict[FrameId, _Waiting] = OrderedDict()
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._ask_again_ms = 0
        rates = {
            Topic.HEARTBEAT: Rate(amount=1, period_ms=max(self.heartbeat_ms, LEAST_BEAT_MS) // 2, burst=BEATS_AT_ONCE),
            Topic.REQUEST: REQUESTS,
            Topic.NOTICE: Rate(amount=1, period_ms=1_000, burst=10),
        }
        self._budgets = {topic: Budgets[bytes](rate, MAX_AUTHORS) for topic, rate in rates.items()}

    @property
    def neighbours(self) -> frozenset[PeerId]:
        return frozenset(self._neighbours)

    def join(self, peer_id: PeerId, now_ms: int) -> None:
        """Make a peer a neighbour; a digest is due to it at once, so that it catches up."""
        if peer_id not in self._neighbours:
            phase = int.from_bytes(hashlib.sha256(self.seed + peer_id.encode()).digest()[:8], "big") % self.tick_ms
            self._neighbours[peer_id] = Neighbour(self.tick_ms, phase, now_ms)

    def leave(self, peer_id: PeerId) -> None:
        """Forget a neighbour and all that waits for it."""
        self._neighbours.pop(peer_id, None)

    def publish(self, topic: Topic, body: bytes, now_ms: int, sign: Sign) -> Content:
        """Sign a frame of ours and queue it for every neighbour.

        Raises: LocalProtocolError if the body is too large.
        """
        if len(body) > MAX_BODY_BYTES:
            raise LocalProtocolError(f"a {topic} of {len(body)} bytes, at most {MAX_BODY_BYTES}")
        # The clock as the counter: it goes on rising over a restart.
        self._seq = max(self._seq + 1, now_ms)
        content = Content(self.chain_id, self.settlement, topic, self.author, self._seq, now_ms, body)
        signed = sign_content(content, sign)
        self._accept(frame_id(signed.content), _Held(content, signed), None, now_ms)
        return content

    def receive(self, peer_id: PeerId, data: bytes, now_ms: int) -> Received:
        """Take what a neighbour sent."""
        neighbour = self._neighbours[peer_id]
        if not neighbour.received.take(len(data), now_ms):
            return Received(faults=(OverBudget("gossip faster than a mebibyte a second"),))
        try:
            batch = decode_batch(data)
        except RemoteProtocolError as fault:
            return Received(faults=(fault,))
        match batch:
            case Frames(frames):
                return self._receive_frames(peer_id, neighbour, frames, now_ms)
            case Digest(ids):
                self._compare(neighbour, split_ids(ids))
            case Want(ids):
                neighbour.queue_repairs(split_ids(ids), now_ms)
        return Received()

    def due_ms(self, peer_id: PeerId) -> int:
        """When `take` has something for this neighbour, at the latest; a past moment means now."""
        return self._neighbours[peer_id].due_ms()

    def take(self, peer_id: PeerId, now_ms: int) -> tuple[bytes, ...]:
        """The batches to send to this neighbour now."""
        neighbour = self._neighbours[peer_id]
        batches: list[bytes] = []
        if missing := neighbour.take_wanted():
            batches.append(encode_batch(Want(b"".join(missing))))
        if neighbour.take_digest(now_ms):
            # An empty digest is sent, too: it is the sign of life of a quiet neighbour.
            batches.append(encode_batch(Digest(b"".join(self._fresh_ids(now_ms)))))
        if events := neighbour.take_events(now_ms):
            batches.append(encode_batch(Frames(events)))
        beats, asked_for = neighbour.take_tick(now_ms)
        repairs = tuple(self._held[known_as].signed for known_as in asked_for if known_as in self._held)
        if beats or repairs:
            batches.append(encode_batch(Frames(beats + repairs)))
        return tuple(batches)

    def tick(self, now_ms: int) -> Received:
        """Forget what is old and ask again about authors that were unknown; call it every second or so."""
        while self._seen and next(iter(self._seen.values())) <= now_ms:
            self._seen.popitem(last=False)
        while self._held and not self._is_fresh(next(iter(self._held.values())).content, now_ms):
            self._held.popitem(last=False)
        if now_ms < self._ask_again_ms:
            return Received()
        self._ask_again_ms = now_ms + ASK_AGAIN_MS
        delivered: list[Content] = []
        for known_as, waiting in list(self._unknown.items()):
            content = waiting.held.content
            verdict = Admission.REFUSE if now_ms >= waiting.until_ms else self.admit(content, now_ms)
            if verdict is Admission.UNKNOWN:
                continue
            del self._unknown[known_as]
            if verdict is Admission.ADMIT and not self._is_superseded(content):
                try:
                    self.charge(content, now_ms)
                except RemoteProtocolError:
                    continue
                self._accept(known_as, waiting.held, waiting.source, now_ms)
                delivered.append(content)
        return Received(tuple(delivered))

    def _receive_frames(
        self, peer_id: PeerId, neighbour: Neighbour, frames: tuple[Signed, ...], now_ms: int
    ) -> Received:
        delivered: list[Content] = []
        faults: list[RemoteProtocolError] = []
        for signed in frames:
            try:
                content = self._receive_frame(peer_id, neighbour, signed, now_ms)
            except RemoteProtocolError as fault:
                faults.append(fault)
                if sum(found.penalty for found in faults) > -BAN_BELOW:
                    # Enough to be banned for: the rest of a liar's batch is not worth the work.
                    break
            else:
                if content is not None:
                    delivered.append(content)
        return Received(tuple(delivered), tuple(faults))

    def _receive_frame(self, peer_id: PeerId, neighbour: Neighbour, signed: Signed, now_ms: int) -> Content | None:
        """The content if it is new and admitted, else None.

        Raises: RemoteProtocolError for what no honest neighbour sends.
        """
        known_as = frame_id(signed.content)
        neighbour.drop(known_as)
        if known_as in self._seen or known_as in self._unknown or known_as in self._refused:
            return None
        content = read_content(signed)
        if (content.chain_id, content.settlement) != (self.chain_id, self.settlement):
            raise Malformed("a frame of another network")
        if not self._is_fresh(content, now_ms) or self._is_superseded(content):
            return None
        is_stranger = content.author not in self._known
        if is_stranger and not neighbour.strangers.has(1, now_ms):
            # Unknown authors cost nothing to invent: the neighbour's budget bounds how many are judged.
            return None
        budget = self._budgets[content.topic]
        if not budget.has(content.author, now_ms):
            # An honest neighbour may relay the haste of others; only its own is its fault.
            if peer_id_of(content.author) == peer_id:
                raise OverBudget(f"too many frames of {content.topic}")
            return None
        verdict = self.admit(content, now_ms)
        if verdict is Admission.REFUSE:
            keep_newest(self._refused, known_as, None, MAX_REFUSED)
            raise OutOfTurn(f"a frame of {content.topic} that its author may not send")
        if verdict is Admission.EXCESS:
            if is_stranger:
                neighbour.strangers.take(1, now_ms)
            return None
        require_signed(signed, content.author)
        if verdict is Admission.ADMIT:
            self.charge(content, now_ms)
        # Taken after the signature: else forged frames would use up the author's budget.
        budget.take(content.author, now_ms)
        held = _Held(content, signed)
        if verdict is Admission.UNKNOWN:
            if neighbour.strangers.take(1, now_ms) and len(self._unknown) < MAX_UNKNOWN:
                self._unknown[known_as] = _Waiting(held, peer_id, now_ms + UNKNOWN_MS)
            return None
        self._accept(known_as, held, peer_id, now_ms)
        return content

    def _accept(self, known_as: FrameId, held: _Held, source: PeerId | None, now_ms: int) -> None:
        keep_newest(self._known, held.content.author, None, MAX_AUTHORS)
        keep_newest(self._seen, known_as, now_ms + SEEN_MS, MAX_SEEN)
        keep_newest(self._held, known_as, held, MAX_HELD)
        if held.content.topic is Topic.HEARTBEAT:
            _, older = self._newest.pop(held.content.author, (0, b""))
            self._held.pop(older, None)
            keep_newest(self._newest, held.content.author, (held.content.seq, known_as), MAX_AUTHORS)
        for peer_id, neighbour in self._neighbours.items():
            if peer_id != source:
                neighbour.add(known_as, held.content, held.signed, now_ms)

    def _compare(self, neighbour: Neighbour, theirs: tuple[FrameId, ...]) -> None:
        for known_as in theirs:
            neighbour.drop(known_as)
        missing = [known_as for known_as in theirs if known_as not in self._seen and known_as not in self._unknown]
        neighbour.wanted = missing[:MAX_IDS]

    def _fresh_ids(self, now_ms: int) -> tuple[FrameId, ...]:
        """Ids of frames that a neighbour would still accept, the newest first, at most MAX_IDS."""
        oldest, newest = now_ms - MAX_CLOCK_SKEW_MS, now_ms + MAX_CLOCK_SKEW_MS
        held = reversed(self._held.items())
        fresh = [known_as for known_as, frame in held if oldest <= frame.content.ts_ms <= newest]
        return tuple(fresh[:MAX_IDS])

    def _is_fresh(self, content: Content, now_ms: int) -> bool:
        return abs(now_ms - content.ts_ms) <= MAX_CLOCK_SKEW_MS

    def _is_superseded(self, content: Content) -> bool:
        if content.topic is not Topic.HEARTBEAT:
            return False
        seq, _ = self._newest.get(content.author, (-1, b""))
        return content.seq <= seq
