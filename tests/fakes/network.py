"""A network in memory: transports for `p2p` that pass the same conformance suite as the libp2p host.

It runs in trio's time, so that a test with the autojump clock waits for nothing. `cut` and `heal` part the network;
`delay_s` is what every write takes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
from coincurve import PrivateKey

from p2p.streams import ByteStream, FramedStream
from p2p.transport import ConnectionWatcher, Handler, answer, split_address
from protocol.errors import P2PError, RemoteProtocolError
from protocol.wire.ids import PeerId, peer_id_of

WINDOW_BYTES = 256 * 1024


class _Pipe:
    """One direction of a stream: at most a window of bytes that are not read yet."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._bytes = bytearray()
        self._changed = trio.Event()
        self._closed = False
        self._broken = False

    async def write(self, data: bytes) -> None:
        await trio.sleep(self._delay_s)
        while data:
            if self._broken or self._closed:
                raise trio.BrokenResourceError
            room = WINDOW_BYTES - len(self._bytes)
            if room:
                self._bytes += data[:room]
                data = data[room:]
                self._tell()
            else:
                await self._changed.wait()

    async def read(self, n: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._bytes:
            if self._broken:
                raise trio.BrokenResourceError
            if self._closed:
                return b""
            await self._changed.wait()
        data = bytes(self._bytes[:n])
        del self._bytes[:n]
        self._tell()
        return data

    def close(self) -> None:
        self._closed = True
        self._tell()

    def break_off(self) -> None:
        self._broken = True
        self._bytes.clear()
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@dataclass
class MemoryStream:
    """One end of a stream."""

    incoming: _Pipe
    outgoing: _Pipe

    async def read(self, n: int | None = None) -> bytes:
        return await self.incoming.read(n or WINDOW_BYTES)

    async def write(self, data: bytes) -> None:
        await self.outgoing.write(data)

    async def close(self) -> None:
        self.outgoing.close()

    async def reset(self) -> None:
        self.incoming.break_off()
        self.outgoing.break_off()


def stream_pair(delay_s: float = 0.0) -> tuple[MemoryStream, MemoryStream]:
    """Two ends of one stream."""
    there, back = _Pipe(delay_s), _Pipe(delay_s)
    return MemoryStream(back, there), MemoryStream(there, back)


@dataclass
class MemoryNetwork:
    """The peers, and the pairs that cannot reach each other."""

    delay_s: float = 0.0
    hosts: dict[PeerId, "MemoryHost"] = field(default_factory=dict)
    _cuts: set[frozenset[PeerId]] = field(default_factory=set)

    @asynccontextmanager
    async def open_host(self, secret: bytes) -> AsyncIterator["MemoryHost"]:
        """A host as long as the block lasts."""
        async with trio.open_nursery() as nursery:
            host = MemoryHost(self, PrivateKey(secret), nursery)
            self.hosts[host.peer_id] = host
            try:
                yield host
            finally:
                del self.hosts[host.peer_id]
                for peer_id in host.connected():
                    host.part(peer_id)
                nursery.cancel_scope.cancel()

    def cut(self, one: PeerId, two: PeerId) -> None:
        """Part two hosts: their connection is gone, and dials fail."""
        self._cuts.add(frozenset((one, two)))
        if one in self.hosts:
            self.hosts[one].part(two)

    def heal(self, one: PeerId, two: PeerId) -> None:
        """Let them dial each other again."""
        self._cuts.discard(frozenset((one, two)))

    def find(self, seeker: PeerId, peer_id: PeerId) -> "MemoryHost | None":
        """The host of this id, if the seeker can reach it."""
        return None if frozenset((seeker, peer_id)) in self._cuts else self.hosts.get(peer_id)


class MemoryHost:
    """A `Transport` in memory."""

    def __init__(self, network: MemoryNetwork, key: PrivateKey, nursery: trio.Nursery) -> None:
        self._network = network
        self._nursery = nursery
        self._peer_id = peer_id_of(key.public_key.format())
        self._port = 1 + len(network.hosts)
        self._handlers: dict[str, Handler] = {}
        self._watchers: list[ConnectionWatcher] = []
        self._streams: dict[PeerId, list[MemoryStream]] = {}

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        return (f"/ip4/127.0.0.1/tcp/{self._port}/p2p/{self._peer_id}",)

    def watch(self, watcher: ConnectionWatcher) -> None:
        self._watchers.append(watcher)

    def handle(self, protocol: str, handler: Handler) -> None:
        self._handlers[protocol] = handler

    def connected(self) -> frozenset[PeerId]:
        return frozenset(self._streams)

    def report(self, peer_id: PeerId, fault: RemoteProtocolError) -> None:
        for watcher in self._watchers:
            watcher.on_fault(peer_id, fault)

    async def dial(self, address: str) -> PeerId:
        peer_id, _ = split_address(address)
        await trio.sleep(self._network.delay_s)
        if peer_id == self._peer_id:
            raise P2PError("a node does not dial itself")
        if peer_id not in self._streams:
            other = self._network.find(self._peer_id, peer_id)
            if other is None or address not in other.addresses:
                raise P2PError(f"no connection to {address}", transient=True)
            self._meet(peer_id, dialled=True)
            other._meet(self._peer_id, dialled=False)
        return peer_id

    async def open(self, peer_id: PeerId, protocol: str) -> FramedStream:
        await trio.sleep(self._network.delay_s)
        other = self._network.find(self._peer_id, peer_id)
        if peer_id not in self._streams or other is None:
            raise P2PError(f"not connected to {peer_id}", transient=True)
        handler = other._handlers.get(protocol)
        if handler is None:
            raise P2PError(f"{peer_id} did not open {protocol}", transient=True)
        ours, theirs = stream_pair(self._network.delay_s)
        self._streams[peer_id].append(ours)
        other._nursery.start_soon(answer, FramedStream(theirs, self._peer_id), handler, other.report)
        return FramedStream(ours, peer_id)

    async def disconnect(self, peer_id: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        self.part(peer_id)

    async def ban(self, peer_id: PeerId) -> None:
        await self.disconnect(peer_id)

    def part(self, peer_id: PeerId) -> None:
        """Lose the connection to a peer, on both sides."""
        for side, other in ((self, peer_id), (self._network.hosts.get(peer_id), self._peer_id)):
            if side is not None and other in side._streams:
                for stream in side._streams.pop(other):
                    stream.incoming.break_off()
                    stream.outgoing.break_off()
                for watcher in side._watchers:
                    watcher.on_disconnected(other)

    def _meet(self, peer_id: PeerId, *, dialled: bool) -> None:
        self._streams[peer_id] = []
        for watcher in self._watchers:
            watcher.on_connected(peer_id, dialled)


_: type[ByteStream] = MemoryStream
