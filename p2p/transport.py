"""A network as the protocols of this folder need it; `p2p.host` has the real one."""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from p2p.streams import FramedStream
from protocol.errors import P2PError, RemoteProtocolError
from protocol.wire.ids import PeerId, public_key_of

log = logging.getLogger(__name__)

Handler = Callable[[FramedStream], Awaitable[None]]


class ConnectionWatcher(Protocol):
    """Is told of connections and of what peers did wrong; called in the event loop, so it must not block."""

    def on_connected(self, peer_id: PeerId, dialled: bool) -> None: ...
    def on_disconnected(self, peer_id: PeerId) -> None: ...
    def on_fault(self, peer_id: PeerId, fault: RemoteProtocolError) -> None: ...


class Transport(Protocol):
    """A network as the protocols of this folder need it; `Host` is the real one.

    dial: connect to a multiaddr that ends in /p2p/ID, or find the connection that is open already.
    open: a new stream to a connected peer.
    report: tell the watchers what a peer did wrong.
    ban: disconnect a peer for what it did; its address is refused, too, if others of it were banned before.
    """

    @property
    def peer_id(self) -> PeerId: ...
    @property
    def addresses(self) -> tuple[str, ...]: ...
    def watch(self, watcher: ConnectionWatcher) -> None: ...
    def handle(self, protocol: str, handler: Handler) -> None: ...
    def connected(self) -> frozenset[PeerId]: ...
    def report(self, peer_id: PeerId, fault: RemoteProtocolError) -> None: ...
    async def dial(self, address: str) -> PeerId: ...
    async def open(self, peer_id: PeerId, protocol: str) -> FramedStream: ...
    async def disconnect(self, peer_id: PeerId) -> None: ...
    async def ban(self, peer_id: PeerId) -> None: ...


async def answer(stream: FramedStream, handler: Handler, report: Callable[[PeerId, RemoteProtocolError], None]) -> None:
    """Run a handler on a peer's stream. A fault of the peer ends the stream; any other error is a bug of ours."""
    polite = False
    try:
        await handler(stream)
        polite = True
    except RemoteProtocolError as fault:
        report(stream.peer_id, fault)
    except P2PError as error:
        log.debug("stream ended early", extra={"peer_id": stream.peer_id, "reason": str(error)})
    finally:
        await (stream.close() if polite else stream.abort())


def split_address(address: str) -> tuple[PeerId, str]:
    """The peer id at the end of a multiaddr, and the part before it.

    Raises: P2PError if it is not /ip4, /ip6 or /dns with /tcp and the /p2p id of a secp256k1 key.
    """
    try:
        names = [protocol.name for protocol in Multiaddr(address).protocols()]
        where, _, name = address.rpartition("/p2p/")
        public_key_of(PeerId(name))
    except (MultiaddrError, ValueError) as error:
        raise P2PError(f"not the address of a node: {address[:200]!r}") from error
    if len(names) != 3 or names[0] not in ("ip4", "ip6", "dns", "dns4", "dns6") or names[1:] != ["tcp", "p2p"]:
        raise P2PError(f"not the address of a node: {address[:200]!r}")
    return PeerId(name), where
