"""The libp2p host: the operator key as identity, TCP with noise and yamux, and nothing else."""

import functools
import logging
import resource
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from libp2p import new_host
from libp2p.abc import IHost, IListener, INetConn, INetStream, INetwork, INotifee
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost, _IdentifyNotifee
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.rcmgr import ResourceLimits, ResourceManager
from libp2p.rcmgr.connection_limits import ConnectionLimits
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from p2p import hardening
from p2p.connection_gate import ConnectionGate
from p2p.streams import FramedStream
from p2p.transport import ConnectionWatcher, Handler, answer, split_address
from protocol.errors import ConfigError, P2PError, RemoteProtocolError
from protocol.wire.ids import PeerId, public_key_of

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
KEPT_FOR_OUTBOUND = 64
"""Of these; peers that come to us can never take them all."""
MAX_CONNECTIONS_PER_PEER = 2
"""Two nodes that dial each other at once have two for a while."""
MAX_STREAMS = 4096
HANDSHAKE_S = 5.0
DIAL_S = 10.0
OPEN_STREAM_S = 4.0
NEGOTIATE_S = 5.0
"""The library's own, which must not come first: it does not tell a dead connection from a protocol not spoken."""
CLOSE_POLITELY_S = 2.0
CLOSE_S = 5.0
WANTED_FILES = 8_192
"""Open files: connections, and what the chain, the store and the containers need beside them."""


class Host:
    """A running libp2p host; `open_host` makes one."""

    def __init__(self, host: IHost, swarm: Swarm, announce: Sequence[str], gate: ConnectionGate) -> None:
        self._host = host
        self._swarm = swarm
        self._gate = gate
        self._announce = tuple(announce)
        self._own_ips = {ip: _own_ip(ip) for ip in ("0.0.0.0", "::")}  # noqa: S104
        self._watchers: list[ConnectionWatcher] = []
        self._dials: dict[PeerId, trio.Lock] = {}
        self._known: set[PeerId] = set()
        self._peer_id = PeerId(host.get_id().to_base58())
        swarm.register_notifee(_Notifee(self))

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """The multiaddrs under which peers reach this host, each with /p2p/ID at its end.

        A host that listens on every interface names the one towards the outside, unless others are announced.
        """
        if self._announce:
            return tuple(f"{address}/p2p/{self._peer_id}" for address in self._announce)
        found = []
        for address in map(str, self._host.get_addrs()):
            _, family, ip, rest = address.split("/", 3)
            found.append(f"/{family}/{self._own_ips.get(ip, ip)}/{rest}")
        return tuple(found)

    def watch(self, watcher: ConnectionWatcher) -> None:
        self._watchers.append(watcher)

    def handle(self, protocol: str, handler: Handler) -> None:
        """Answer streams of `protocol`, as `answer` does."""

        async def serve(raw: INetStream) -> None:
            await answer(FramedStream(raw, PeerId(raw.muxed_conn.peer_id.to_base58())), handler, self.report)

        self._host.set_stream_handler(TProtocol(protocol), serve)

    def report(self, peer_id: PeerId, fault: RemoteProtocolError) -> None:
        for watcher in self._watchers:
            watcher.on_fault(peer_id, fault)

    def connected(self) -> frozenset[PeerId]:
        live = (peer for peer, connections in self._swarm.connections.items() if _any_open(connections))
        return frozenset(map(_peer_id, live))

    async def dial(self, address: str) -> PeerId:
        """Connect to a multiaddr that ends in /p2p/ID.

        Raises: P2PError if the address is not one of a node, no peer answers, or another one does.
        """
        peer_id, where = split_address(address)
        if peer_id == self._peer_id:
            raise P2PError("a node does not dial itself")
        lock = self._dials.setdefault(peer_id, trio.Lock())
        try:
            async with lock:
                if not self._is_connected(peer_id):
                    with trio.fail_after(DIAL_S):
                        await self._swarm.dial_addr(Multiaddr(where), ID.from_base58(peer_id))
        except trio.TooSlowError as error:
            raise P2PError(f"no connection to {address}: no answer in {DIAL_S:g} s", transient=True) from error
        except Exception as error:
            # Only the library runs in here, and what it raises depends on what the other side sends.
            raise P2PError(f"no connection to {address}: {_reason(error)}", transient=True) from error
        finally:
            if not lock.locked():
                self._dials.pop(peer_id, None)
        return peer_id

    async def open(self, peer_id: PeerId, protocol: str) -> FramedStream:
        """A new stream to a connected peer.

        Raises: P2PError if there is no connection, or the peer does not speak `protocol`.
        """
        if not self._is_connected(peer_id):
            raise P2PError(f"not connected to {peer_id}", transient=True)
        try:
            with trio.fail_after(OPEN_STREAM_S):
                raw = await self._host.new_stream(ID.from_base58(peer_id), [TProtocol(protocol)])
        except trio.TooSlowError as error:
            # Not even a name in so long: the connection is dead, and only a new dial finds the peer again.
            await self.disconnect(peer_id)
            raise P2PError(f"{peer_id} did not open {protocol} in {OPEN_STREAM_S:g} s", transient=True) from error
        except Exception as error:
            raise P2PError(f"{peer_id} did not open {protocol}: {_reason(error)}", transient=True) from error
        return FramedStream(raw, peer_id)

    async def disconnect(self, peer_id: PeerId) -> None:
        """Close every connection to the peer."""
        connections = self._swarm.get_connections(ID.from_base58(peer_id))
        await _close_all(self._swarm, connections)
        for connection in connections:
            self._closed(connection)

    async def ban(self, peer_id: PeerId) -> None:
        """Close every connection to a banned peer, and count it against the address that it came from."""
        for connection in self._swarm.get_connections(ID.from_base58(peer_id)):
            if ip := hardening.inbound_ip(connection.muxed_conn):
                self._gate.blame(ip, peer_id, trio.current_time())
        await self.disconnect(peer_id)

    def _is_connected(self, peer_id: PeerId) -> bool:
        return _any_open(self._swarm.connections.get(ID.from_base58(peer_id), ()))

    def _opened(self, connection: INetConn, dialled: bool) -> None:
        peer_id = PeerId(connection.muxed_conn.peer_id.to_base58())
        others = [
            other for other in self._swarm.get_connections(connection.muxed_conn.peer_id) if other is not connection
        ]
        if not _any_open(others):
            # It came while the one before was being closed, which takes a while: to those who watch it is a new one.
            self._lost(peer_id)
        # It may have ended before the library came to tell of it.
        if peer_id not in self._known and self._is_connected(peer_id):
            self._known.add(peer_id)
            for watcher in self._watchers:
                watcher.on_connected(peer_id, dialled)

    def _closed(self, connection: INetConn) -> None:
        peer_id = PeerId(connection.muxed_conn.peer_id.to_base58())
        if not self._is_connected(peer_id):
            self._lost(peer_id)

    def _lost(self, peer_id: PeerId) -> None:
        if peer_id in self._known:
            self._known.discard(peer_id)
            for watcher in self._watchers:
                watcher.on_disconnected(peer_id)


class _Notifee(INotifee):
    """Turns the library's notices into ours."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        try:
            public_key_of(PeerId(conn.muxed_conn.peer_id.to_base58()))
        except ValueError:
            # An identity of another kind of key has no address on chain: nothing here can be said to it.
            await conn.close()
            return
        self._host._opened(conn, dialled=conn.muxed_conn.is_initiator)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        self._host._closed(conn)

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None: ...
    async def closed_stream(self, network: INetwork, stream: INetStream) -> None: ...
    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None: ...
    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None: ...


@asynccontextmanager
async def open_host(secret: bytes, listen: str, announce: Sequence[str] = ()) -> AsyncIterator[Host]:
    """Run a host as long as the block lasts.

    Args: secret, the 32 bytes of the operator key; listen, a multiaddr /ip4/A/tcp/N or /ip6/A/tcp/N, N = 0 for any
        free port; announce, the addresses to name instead of the one listened on, as behind a router.
    Raises: P2PError if the address cannot be listened on; ConfigError for an announced address that is none.
    """
    host, swarm = _build(secret)
    for address in announce:
        try:
            split_address(f"{address}/p2p/{host.get_id().to_base58()}")
        except P2PError as error:
            hint = "write it as /ip4/ADDRESS/tcp/PORT or /dns/NAME/tcp/PORT"
            raise ConfigError(f"the announced address {address!r} is none", hint) from error
    where = await _require_free(listen)
    raise_file_limit()
    failure: BaseException | None = None
    async with host.run([where]):
        listeners: list[IListener] = list(swarm.listeners.values())
        if not listeners:
            failure = P2PError(f"cannot listen on {listen}")
        else:
            try:
                yield Host(host, swarm, announce, hardening.gate_of(listeners[0]))
            except BaseException as error:
                # Carried around the library's nurseries, which would wrap it into a group.
                failure = error
        await _shut(host, swarm)
    if failure is not None:
        raise failure


def raise_file_limit() -> None:
    """Let this process open as many files as connections need; where the system forbids it, say so in the log."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    if enough < WANTED_FILES:
        log.warning(
            "few open files are allowed; raise the hard limit (ulimit -Hn) before the node starts",
            extra={"limit": enough, "wanted": WANTED_FILES},
        )


def _build(secret: bytes) -> tuple[BasicHost, Swarm]:
    keys = create_new_key_pair(secret)
    limits = ConnectionConfig(
        max_connections=MAX_CONNECTIONS,
        high_watermark=MAX_CONNECTIONS,
        min_connections=KEPT_FOR_OUTBOUND,
        low_watermark=KEPT_FOR_OUTBOUND,
        inbound_upgrade_timeout=HANDSHAKE_S,
        outbound_upgrade_timeout=HANDSHAKE_S,
        inbound_stream_protocol_negotiation_timeout=NEGOTIATE_S,
        outbound_stream_protocol_negotiation_timeout=NEGOTIATE_S,
    )
    resources = ResourceManager(
        limits=ResourceLimits(max_connections=MAX_CONNECTIONS, max_streams=MAX_STREAMS),
        connection_limits=ConnectionLimits(
            max_established_per_peer=MAX_CONNECTIONS_PER_PEER, max_established_total=MAX_CONNECTIONS
        ),
        enable_memory_limits=False,
        enable_circuit_breaker=False,
        enable_graceful_degradation=False,
    )
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE: NoiseTransport(keys, noise_privkey=create_noise_key_pair().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
        transports=[TCP()],
        connection_config=limits,
        resource_manager=resources,
        disable_identify_address_discovery=True,
    )
    swarm = host.get_network()
    assert isinstance(host, BasicHost)
    assert isinstance(swarm, Swarm)
    # Nothing but our own protocols: what identify brings unsigned and unbounded, heartbeats bring signed and bounded.
    for protocol in tuple(host.get_mux().get_protocols()):
        host.remove_stream_handler(TProtocol(protocol or ""))
    swarm.notifees = [notifee for notifee in swarm.notifees if not isinstance(notifee, _IdentifyNotifee)]
    # Our peer book decides when a peer is dialled again.
    swarm.retry_config = RetryConfig(max_retries=0)
    return host, swarm


def _own_ip(unspecified: str) -> str:
    """This machine's address towards the outside, of the same family; loopback where there is no outside."""
    outside, loopback = ("2001:db8::1", "::1") if ":" in unspecified else ("192.0.2.1", "127.0.0.1")
    try:
        with socket.socket(socket.AF_INET6 if ":" in unspecified else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: connecting a datagram socket only chooses the route.
            probe.connect((outside, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return loopback


async def _require_free(listen: str) -> Multiaddr:
    """Bind the address once, because the library only logs why it could not.

    Raises: P2PError that names the address and the reason.
    """
    try:
        where = Multiaddr(listen)
        family, port = [protocol.name for protocol in where.protocols()]
        ip = where.value_for_protocol(family)
        number = int(where.value_for_protocol("tcp") or "")
    except (MultiaddrError, ValueError, LookupError) as error:
        raise P2PError(f"cannot listen on {listen}: not of the form /ip4/ADDRESS/tcp/PORT") from error
    if family not in ("ip4", "ip6") or port != "tcp":
        raise P2PError(f"cannot listen on {listen}: not of the form /ip4/ADDRESS/tcp/PORT")
    with trio.socket.socket(trio.socket.AF_INET6 if family == "ip6" else trio.socket.AF_INET) as probe:
        hardening.set_listen_flags(probe)
        try:
            await probe.bind((str(ip), number))
            probe.listen(1)
        except OSError as error:
            raise P2PError(f"cannot listen on {listen}: {error.strerror or error}") from error
    return where


async def _shut(host: BasicHost, swarm: Swarm) -> None:
    """Close everything before the library's own services end, else sockets are left open; never for long."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
        await _close_all(swarm, swarm.get_connections())
        await host.close()


@functools.lru_cache(maxsize=4 * MAX_CONNECTIONS)
def _peer_id(peer: ID) -> PeerId:
    """Base58 costs more than anything else that is done for each connection each second."""
    return PeerId(peer.to_base58())


def _any_open(connections: Sequence[INetConn]) -> bool:
    return any(not connection.is_closed for connection in connections)


async def _close_all(swarm: Swarm, connections: Sequence[INetConn]) -> None:
    """Close connections side by side: the library takes a fifth of a second for each."""
    async with trio.open_nursery() as nursery:
        for connection in connections:
            nursery.start_soon(_close, swarm, connection)


async def _close(swarm: Swarm, connection: INetConn) -> None:
    """Close a connection whatever its peer does: one that reads nothing holds the lock that the polite way needs."""
    assert isinstance(connection, SwarmConn)
    assert isinstance(connection.muxed_conn, Yamux)
    with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_POLITELY_S):
        await connection.close()
    with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_POLITELY_S):
        await connection.muxed_conn.secured_conn.close()
    swarm.remove_conn(connection)


def _reason(error: BaseException) -> str:
    """The last word of a chain of errors, where the library keeps the cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
