"""Performs peer effects: takes an effect, returns its event, and reports the peers' messages as events."""

import functools
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, get_args

import trio

from p2p.blobs import Blobs, KeepRoom
from p2p.calls import LATER_PROTOCOL, PROTOCOL, Calls, NoAnswer, Reply
from p2p.dials import Dials
from p2p.gossip import GossipStreams
from p2p.peer_exchange import PeerExchangeStreams
from p2p.peers import Dialler, PeerCache, learn_bootnodes
from p2p.store import MODELS_LIMIT, ContentStore
from p2p.streams import MAX_CALL_BYTES
from p2p.transport import Transport
from protocol import events as ev
from protocol.effects import FetchBlob, FetchModel, PeerEffect, PublishHeartbeat, PublishRequest, Send
from protocol.errors import OutOfTurn, RemoteProtocolError
from protocol.messages import LaterMessage, Message
from protocol.network.frames import MAX_BODY_BYTES, Content, Sign, Topic
from protocol.network.gossip import TICK_MS, Admission, Gossip
from protocol.network.mesh import Mesh
from protocol.network.peer_exchange import PeerExchange
from protocol.network.peers import MAX_PEERS, PeerBook, PeerStanding
from protocol.network.stake_weighted_peers import StakeWeightedPeers
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import SignedRequest
from protocol.wire import codec
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import Address, Cid, PeerId, address_bytes, peer_id_of, public_key_of
from protocol.wire.names import by_name

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger(__name__)

MAX_WAITING = 1_024
"""Beats and requests that wait for the node's loop. Further ones are dropped; authors send them again."""
MAX_DELIVERIES = 256
"""Messages that wait for the journal at the same time. Further ones are answered with busy."""
MAX_AUTHORS = 16_384
"""Keys whose PeerIds are kept: base58 costs as much as reading a frame."""
CHOOSE_EVERY_S = 10.0
"""Seconds between two checks that the peers chosen by stake can still be reached."""

MAX_READ = 512
"""Decoded bodies that are cached."""

_MESSAGES = by_name(get_args(Message))


class Inbox(Protocol):
    """Takes events: the node's driver."""

    async def report(self, event: ev.Event) -> None:
        """Queue an event; waits while the queue is full."""

    async def deliver(self, event: ev.Event) -> None:
        """Take an event; returns once it is in the journal."""


class AdmissionRules(Protocol):
    """Decides by the node's view of the chain whose frames are passed on."""

    def admit(self, author: PeerId, content: Heartbeat | SignedRequest, now_ms: int) -> Admission:
        """Whether the holder of this key may gossip this now. No signature is checked yet, so it must be cheap."""

    def charge(self, content: Heartbeat | SignedRequest, now_ms: int) -> None:
        """Check the signature inside an admitted frame, and take it from the budget of its client.

        Raises: BadSignature.
        """

    def stake_of(self, peer_id: PeerId) -> int:
        """The stake of the node that this peer operates, in wei; 0 if it has none."""


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """How a node meets its peers.

    network: chain id and Settlement address, which name it. heartbeat_ms sets the budget of beats, tick_ms how long
    a beat waits at each hop. seed is chance that no other node has. private is whether addresses of private networks
    are dialled: on a local network alone. models_limit: bytes of all models in the store.
    """

    chain_id: int
    settlement: Address
    heartbeat_ms: int
    bootnodes: tuple[str, ...] = ()
    cache: Path | None = None
    tick_ms: int = TICK_MS
    seed: bytes = b""
    private: bool = False
    models_limit: int = MODELS_LIMIT


@dataclass(eq=False, repr=False)
class PeerAdapter:
    """Gossip, messages and content of one node, over one transport.

    store: the folder of the content store. sign: the operator's DER signature over sha256 of a message. keep_room:
    entered for as long as a model is fetched, for a store with a quota.
    """

    transport: Transport
    settings: PeerSettings
    store: Path
    _: KW_ONLY
    sign: Sign
    gate: AdmissionRules
    inbox: Inbox
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    keep_room: KeepRoom | None = None

    def __post_init__(self) -> None:
        """Raises: ConfigError for a bootnode that is no address."""
        transport, settings, clock_ms = self.transport, self.settings, self.clock_ms
        self._operators: OrderedDict[PeerId, None] = OrderedDict()
        """Peers whose beats were admitted, the latest last."""
        self._delivering = 0
        self._waiting_send, self._waiting = trio.open_memory_channel[ev.Event](MAX_WAITING)
        self.dropped = 0
        """Beats and requests that the node was too busy for."""
        self.book = PeerBook(transport.peer_id, settings.seed)
        learn_bootnodes(self.book, settings.bootnodes)
        gossip = Gossip(
            chain_id=settings.chain_id,
            settlement=address_bytes(settings.settlement),
            author=public_key_of(transport.peer_id),
            admit=self._admit_content,
            charge=self._charge,
            heartbeat_ms=settings.heartbeat_ms,
            tick_ms=settings.tick_ms,
            seed=settings.seed,
        )
        mesh = Mesh(settings.seed)
        self._staked_peers = StakeWeightedPeers(settings.seed)
        self._chosen_at = -math.inf
        self._gossip = GossipStreams(
            transport,
            gossip,
            mesh,
            self.book,
            now_ms=clock_ms,
            deliver=self._deliver_content,
            preferred=lambda: self._staked_peers.chosen,
        )
        dials = Dials(transport.dial, clock_ms, private=settings.private, trusted=settings.bootnodes)
        self._dialler = Dialler(
            transport, self.book, clock_ms, dials=dials, is_short=lambda: mesh.is_short, staked=self._choose_staked
        )
        exchange = PeerExchange(
            settings.chain_id, address_bytes(settings.settlement), public_key_of(transport.peer_id), settings.seed
        )
        self._exchange = PeerExchangeStreams(
            transport, exchange, self.book, clock_ms, self.sign, private=settings.private
        )
        self._calls = Calls(transport, self._accept_message, self._dialler.reach)
        self.blobs = Blobs(
            transport, ContentStore(self.store, settings.models_limit), self._dialler.reach, self.keep_room
        )
        self._cache = PeerCache(settings.cache, self.book, clock_ms) if settings.cache else None
        self._nursery: trio.Nursery | None = None
        transport.watch(self)

    @property
    def connected(self) -> frozenset[PeerId]:
        """The peers that a connection is open to."""
        return self.transport.connected()

    @property
    def neighbours(self) -> frozenset[PeerId]:
        """The peers that we gossip with."""
        return self._gossip.neighbours

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Find peers, gossip and report until cancelled; started once peers are answered."""
        if self._cache:
            await self._cache.load()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await nursery.start(self._gossip.run)
                nursery.start_soon(self._dialler.run)
                nursery.start_soon(self._exchange.run)
                nursery.start_soon(self._report_waiting)
                if self._cache:
                    nursery.start_soon(self._cache.run)
                task_status.started()
        finally:
            self._nursery = None

    async def perform(self, effect: PeerEffect) -> ev.Event:
        """Perform one effect and return its event.

        Raises: P2PError if a peer refused or did not answer; LocalProtocolError for a message over its size limit.
        """
        match effect:
            case PublishHeartbeat(heartbeat):
                self._gossip.publish(Topic.HEARTBEAT, codec.encode(heartbeat), self.sign)
                return ev.HeartbeatPublished(heartbeat.counter)
            case PublishRequest(signed):
                self._gossip.publish(Topic.REQUEST, codec.encode(signed), self.sign)
                return ev.RequestPublished(signed.request)
            case Send(to, message):
                before = trio.current_time()
                try:
                    protocol = LATER_PROTOCOL if isinstance(message, LaterMessage) else PROTOCOL
                    peer_id = await self._calls.send(to, codec.encode_named(message), protocol)
                except NoAnswer as silence:
                    await self.inbox.report(ev.MessageUnanswered(silence.peer_id))
                    raise
                return ev.MessageSent(peer_id, round(1000 * (trio.current_time() - before)))
            case FetchBlob(cid, peers):
                await self.blobs.fetch(Cid(cid), peers)
                return ev.BlobFetched(cid)
            case FetchModel(manifest, peers):
                return ev.ModelAdded(await self.blobs.fetch_model(Cid(manifest), peers))

    def blame(self, peer_id: PeerId, fault: RemoteProtocolError) -> None:
        """Count a fault that a role has found in what the peer sent."""
        self.on_fault(peer_id, fault)

    def on_connected(self, peer_id: PeerId, dialled: bool) -> None:
        now_ms = self.clock_ms()
        if self.book.standing(peer_id, now_ms) is PeerStanding.BANNED:
            self._drop(peer_id)
            return
        self.book.on_connected(peer_id, now_ms)
        self._dialler.on_connected(peer_id, dialled)
        self._gossip.on_connected(peer_id)

    def on_disconnected(self, peer_id: PeerId) -> None:
        self._dialler.on_disconnected(peer_id)
        self._gossip.rebalance()

    def on_fault(self, peer_id: PeerId, fault: RemoteProtocolError) -> None:
        standing = self.book.punish(peer_id, fault.penalty, self.clock_ms())
        log.debug("fault of a peer", extra={"peer_id": peer_id, "kind": type(fault).__name__, "reason": str(fault)})
        if standing is PeerStanding.BANNED:
            log.info("peer banned", extra={"peer_id": peer_id, "kind": type(fault).__name__})
            self._drop(peer_id)
        if standing is not PeerStanding.GOOD:
            self._gossip.rebalance()

    def _drop(self, peer_id: PeerId) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self.transport.ban, peer_id)

    def _choose_staked(self) -> tuple[PeerId, ...]:
        """The registered nodes to stay connected to; a lost one is replaced."""
        now = trio.current_time()
        if now < self._chosen_at + CHOOSE_EVERY_S:
            return self._staked_peers.chosen
        self._chosen_at = now
        stakes = {
            peer_id: self.gate.stake_of(peer_id)
            for peer_id in self._operators
            if (entry := self.book.entries.get(peer_id)) and entry.addresses
        }
        now_ms = self.clock_ms()
        connected = self.transport.connected()
        gone = [
            peer_id
            for peer_id in stakes
            if self.book.standing(peer_id, now_ms) is not PeerStanding.GOOD
            or (peer_id not in connected and self.book.entries[peer_id].failures)
        ]
        return self._staked_peers.choose(stakes, gone)

    # --- gossip -----------------------------------------------------------------------------------------------------
    def _admit_content(self, content: Content, now_ms: int) -> Admission:
        try:
            body = _read_body(content)
        except RemoteProtocolError:
            return Admission.REFUSE
        return self.gate.admit(_peer_of(content.author), body, now_ms)

    def _charge(self, content: Content, now_ms: int) -> None:
        self.gate.charge(_read_body(content), now_ms)

    def _deliver_content(self, content: Content) -> None:
        peer_id, body = _peer_of(content.author), _read_body(content)
        if isinstance(body, Heartbeat):
            keep_newest(self._operators, peer_id, None, MAX_PEERS)
            # Only addresses of the author itself count: relays are not trusted with addresses.
            own = [address for address in body.addresses if address.endswith(f"/p2p/{peer_id}")]
            self.book.learn(peer_id, own)
            event: ev.Event = ev.HeartbeatReceived(peer_id, body)
        else:
            self._dialler.note_request(body.request.requester_peer, body.request.client)
            event = ev.RequestReceived(body)
        try:
            self._waiting_send.send_nowait(event)
        except trio.WouldBlock:
            self.dropped += 1

    async def _report_waiting(self) -> None:
        async for event in self._waiting:
            await self.inbox.report(event)

    # --- messages ---------------------------------------------------------------------------------------------------
    async def _accept_message(self, peer_id: PeerId, data: bytes) -> Reply:
        message: Message = codec.decode_named(_MESSAGES, data, MAX_CALL_BYTES)
        if self._nursery is None or self._delivering >= MAX_DELIVERIES:
            return Reply.BUSY
        self._delivering += 1
        try:
            await self.inbox.deliver(ev.MessageReceived(peer_id, message))
        finally:
            self._delivering -= 1
        return Reply.ACCEPTED


@functools.lru_cache(MAX_AUTHORS)
def _peer_of(author: bytes) -> PeerId:
    return peer_id_of(author)


# A body is read for admission and again for delivery, with at most one batch of other frames between.
@functools.lru_cache(MAX_READ)
def _read_body(content: Content) -> Heartbeat | SignedRequest:
    match content.topic:
        case Topic.HEARTBEAT:
            return codec.decode(Heartbeat, content.body, MAX_BODY_BYTES)
        case Topic.REQUEST:
            return codec.decode(SignedRequest, content.body, MAX_BODY_BYTES)
        case Topic.NOTICE:
            raise OutOfTurn("notices are not in use")
