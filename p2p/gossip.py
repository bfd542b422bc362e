"""Moves the gossip machine's batches: one long-lived stream a direction to each neighbour, on /vcoin/gossip/1.

A node opens its stream to a peer that it picks; the peer answers with a stream of its own, or resets. The end of
either stream ends both. `protocol.network.gossip` decides on content, `protocol.network.mesh` on neighbours.
"""

import logging
import math
from collections.abc import Callable, Collection
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

import trio

from p2p.streams import MAX_GOSSIP_BYTES, FramedStream, StreamEnded
from p2p.transport import Transport
from protocol.errors import P2PError, RemoteProtocolError
from protocol.network.budgets import Budgets, OverBudget, Rate
from protocol.network.frames import Content, Sign, Topic
from protocol.network.gossip import Gossip, Received
from protocol.network.mesh import Mesh
from protocol.network.neighbour import DIGEST_EVERY_MS
from protocol.network.peers import PeerBook, PeerStanding
from protocol.wire.ids import PeerId

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger(__name__)

PROTOCOL = "/vcoin/gossip/1"
FRAME_S = 30.0
SILENT_S = 3 * DIGEST_EVERY_MS / 1000
"""A neighbour that skipped two digests counts as gone, even if its connection is open."""
LOOK_S = 1.0
BALANCE_S = 5.0
"""Seconds between two checks of the mesh while no peer comes or goes."""
INVITATIONS = Rate(amount=1, period_ms=10_000, burst=6)
"""Gossip streams that a peer may open; a refused honest peer waits for a minute."""
MAX_INVITERS = 1_024


@dataclass(slots=True)
class _Feed:
    """The task that sends to one neighbour: its scope, and when it will look again."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    wake: trio.Event = field(default_factory=trio.Event)
    wakes_ms: float = -math.inf


@dataclass(eq=False, repr=False)
class GossipStreams:
    """Drives one gossip machine over a transport.

    deliver: called with every new admitted frame; it must not block. preferred: the peers that shall be neighbours if
    they are connected.
    """

    transport: Transport
    gossip: Gossip
    mesh: Mesh
    book: PeerBook
    _: KW_ONLY
    now_ms: Callable[[], int]
    deliver: Callable[[Content], None]
    preferred: Callable[[], Collection[PeerId]] = tuple

    def __post_init__(self) -> None:
        self._invitations = Budgets[PeerId](INVITATIONS, MAX_INVITERS)
        self._feeds: dict[PeerId, _Feed] = {}
        self._inbound: dict[PeerId, trio.CancelScope] = {}
        self._rebalance = trio.Event()
        self._nursery: trio.Nursery | None = None

    @property
    def neighbours(self) -> frozenset[PeerId]:
        """The peers that we gossip with."""
        return frozenset(self._feeds)

    def publish(self, topic: Topic, body: bytes, sign: Sign) -> None:
        """Sign a frame of ours and send it on its way.

        Raises: LocalProtocolError if the body is too large.
        """
        self.gossip.publish(topic, body, self.now_ms(), sign)
        self._nudge()

    def on_connected(self, peer_id: PeerId) -> None:
        """A peer is connected: it may become a neighbour at once, though it was lost a moment ago."""
        self.mesh.met(peer_id)
        self.rebalance()

    def rebalance(self) -> None:
        """Look at the mesh now: a connection or the standing of a peer has changed."""
        self._rebalance.set()

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Gossip until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self.transport.handle(PROTOCOL, self._serve)
                task_status.started()
                balance_at = -math.inf
                while True:
                    now = trio.current_time()
                    if self._rebalance.is_set() or self.mesh.is_short or now >= balance_at:
                        self._rebalance = trio.Event()
                        self._balance()
                        balance_at = now + BALANCE_S
                    self._take_in(None, self.gossip.tick(self.now_ms()))
                    with trio.move_on_after(LOOK_S):
                        await self._rebalance.wait()
        finally:
            # The transport outlives us, and its peers go on opening streams.
            self._nursery = None

    def _balance(self) -> None:
        now_ms = self.now_ms()
        good = {peer for peer in self.transport.connected() if self.book.standing(peer, now_ms) is PeerStanding.GOOD}
        changes = self.mesh.balance(good, now_ms, self.preferred())
        for peer_id in changes.invite:
            self._start_feed(peer_id)
        for peer_id in changes.leave:
            self._end(peer_id)

    def _start_feed(self, peer_id: PeerId) -> None:
        assert self._nursery is not None
        self.gossip.join(peer_id, self.now_ms())
        feed = self._feeds[peer_id] = _Feed()
        self._nursery.start_soon(self._feed, peer_id, feed)

    def _end(self, peer_id: PeerId) -> None:
        """End both streams with a peer; the feed's own end does the rest."""
        if feed := self._feeds.get(peer_id):
            feed.scope.cancel()
        if inbound := self._inbound.get(peer_id):
            inbound.cancel()

    async def _feed(self, peer_id: PeerId, feed: _Feed) -> None:
        """Send to one neighbour until either side ends the stream."""
        try:
            with feed.scope:
                stream = await self.transport.open(peer_id, PROTOCOL)
                try:
                    await self._send(stream, feed)
                finally:
                    await stream.abort()
        except P2PError as error:
            log.debug("no stream to a neighbour", extra={"peer_id": peer_id, "reason": str(error)})
        finally:
            del self._feeds[peer_id]
            self.gossip.leave(peer_id)
            self.mesh.left_by(peer_id, self.now_ms())
            self._end(peer_id)

    async def _send(self, stream: FramedStream, feed: _Feed) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_closed, stream, feed.scope)
            try:
                await self._send_batches(stream, feed)
            except P2PError as error:
                log.debug("neighbour lost", extra={"peer_id": stream.peer_id, "reason": str(error)})
                feed.scope.cancel()

    async def _send_batches(self, stream: FramedStream, feed: _Feed) -> None:
        while True:
            for batch in self.gossip.take(stream.peer_id, self.now_ms()):
                await stream.write_frame(batch, within_s=FRAME_S)
            feed.wake = trio.Event()
            feed.wakes_ms = self.gossip.due_ms(stream.peer_id)
            with trio.move_on_after(max(feed.wakes_ms - self.now_ms(), 0) / 1000):
                await feed.wake.wait()
            feed.wakes_ms = -math.inf

    async def _until_closed(self, stream: FramedStream, scope: trio.CancelScope) -> None:
        """Wait for the end of our stream: the neighbour refuses or leaves, and never writes on it."""
        try:
            await stream.read_frame(0, within_s=FRAME_S, idle_s=math.inf)
        except P2PError:
            scope.cancel()
        except RemoteProtocolError as fault:
            self.transport.report(stream.peer_id, fault)
            scope.cancel()

    async def _serve(self, stream: FramedStream) -> None:
        """Receive from one neighbour."""
        peer_id = stream.peer_id
        if not self._invitations.take(peer_id, self.now_ms()):
            raise OverBudget("wants to be a neighbour again and again")
        if self._nursery is None or self.book.standing(peer_id, self.now_ms()) is not PeerStanding.GOOD:
            raise P2PError("no neighbour of ours")
        if not self.mesh.invited_by(peer_id):
            raise P2PError("no room in the mesh")
        if peer_id not in self._feeds:
            self._start_feed(peer_id)
        if older := self._inbound.get(peer_id):
            older.cancel()
        with trio.CancelScope() as scope:
            self._inbound[peer_id] = scope
            try:
                await self._receive(stream)
            finally:
                if self._inbound.get(peer_id) is scope:
                    del self._inbound[peer_id]
                    self._end(peer_id)
        raise P2PError("no longer a neighbour")

    async def _receive(self, stream: FramedStream) -> None:
        while True:
            try:
                data = await stream.read_frame(MAX_GOSSIP_BYTES, within_s=FRAME_S, idle_s=SILENT_S)
            except StreamEnded:
                return
            if stream.peer_id not in self._feeds:
                return
            self._take_in(stream.peer_id, self.gossip.receive(stream.peer_id, data, self.now_ms()))

    def _take_in(self, peer_id: PeerId | None, received: Received) -> None:
        for content in received.delivered:
            self.deliver(content)
        if peer_id is not None:
            # Only beats earn points: their number is bounded by registered nodes, that of requests by nothing.
            beats = sum(content.topic is Topic.HEARTBEAT for content in received.delivered)
            if beats:
                self.book.reward(peer_id, beats, self.now_ms())
            for fault in received.faults:
                self.transport.report(peer_id, fault)
        if received.delivered:
            self._nudge()
        elif peer_id is not None and (feed := self._feeds.get(peer_id)):
            self._nudge_one(peer_id, feed)

    def _nudge(self) -> None:
        """Wake the feeds that have something to send earlier than they would look."""
        for peer_id, feed in self._feeds.items():
            self._nudge_one(peer_id, feed)

    def _nudge_one(self, peer_id: PeerId, feed: _Feed) -> None:
        if self.gossip.due_ms(peer_id) < feed.wakes_ms:
            feed.wake.set()
