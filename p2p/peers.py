"""Finding peers: bootnodes from the configuration, a cache on disk, and dialling on demand."""

import json
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import trio

from p2p.dials import Dials
from p2p.transport import Transport, split_address
from protocol.errors import ConfigError, P2PError
from protocol.network.peers import ANCHORS, PeerBook, PeerStanding, group_of
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import Address, PeerId

log = logging.getLogger(__name__)

WANTED_CONNECTIONS = 8
MOST_DIALLED = 32
"""To find neighbours a node goes on dialling beyond the connections wanted, up to so many."""
DIALLED_LOW = 4
"""So many connections at least are of our own making; those who come to us may all be one person."""
PARALLEL_DIALS = 8
LOOK_S = 1.0
CONTENT_LOOK_S = 5.0
"""How often a node looks that has all the connections it wants, while none ends."""
SAVE_S = 60.0
MAX_NAMED = 4_096
"""Addresses in requests of which it is remembered whose request it was."""
MAX_CACHE_BYTES = 1024 * 1024


@dataclass(eq=False, repr=False)
class Dialler:
    """Keeps a node connected, and connects it to a given peer on demand.

    is_short: whether the connected peers leave us without enough neighbours. staked: the peers that we stay connected
    to, however many others there are.
    """

    transport: Transport
    book: PeerBook
    now_ms: Callable[[], int]
    _: KW_ONLY
    dials: Dials
    is_short: Callable[[], bool] = lambda: False
    staked: Callable[[], Collection[PeerId]] = tuple

    def __post_init__(self) -> None:
        self._clients: OrderedDict[str, Address] = OrderedDict()
        self._dialled: dict[PeerId, None] = {}
        self._slots = trio.CapacityLimiter(PARALLEL_DIALS)
        self._dialling: set[PeerId] = set()
        self._is_content = False
        self._lost = trio.Event()

    async def reach(self, to: str) -> PeerId:
        """Be connected to a peer: one of our connections, or a dial.

        Args: to, a peer id, or a multiaddr that ends in one.
        Raises: P2PError if that is no address, the peer is banned, or it does not answer.
        """
        peer_id = split_address(to)[0] if to.startswith("/") else PeerId(to)
        if self.book.standing(peer_id, self.now_ms()) is PeerStanding.BANNED:
            raise P2PError(f"{peer_id} is banned", transient=False)
        if peer_id in self.transport.connected():
            return peer_id
        entry = self.book.entries.get(peer_id)
        addresses = (to,) if to.startswith("/") else entry.addresses if entry else ()
        failure = P2PError(f"no address of {peer_id} is known", transient=True)
        for address in addresses:
            try:
                await self.dials.dial(address, self._clients.get(address))
            except P2PError as error:
                failure = error
            else:
                self.book.learn(peer_id, (address,))
                return peer_id
        raise failure

    def note_request(self, address: str, client: Address) -> None:
        """A client's request names this address: dials to it are on that client's account."""
        keep_newest(self._clients, address, client, MAX_NAMED)

    def on_connected(self, peer_id: PeerId, dialled: bool) -> None:
        """A connection is open; whether it is of our own making."""
        if dialled:
            self._dialled[peer_id] = None

    def on_disconnected(self, peer_id: PeerId) -> None:
        """No connection to the peer is open any more."""
        self._dialled.pop(peer_id, None)
        self._lost.set()

    async def run(self) -> None:
        """Dial known peers whenever fewer are connected than wanted; until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                for peer_id, address in self._choose():
                    self._dialling.add(peer_id)
                    nursery.start_soon(self._dial, peer_id, address)
                # Never at once: a peer that takes our dials and hangs up would be dialled without a pause.
                await trio.sleep(LOOK_S)
                if self._is_content:
                    with trio.move_on_after(CONTENT_LOOK_S - LOOK_S):
                        await self._lost.wait()
                self._lost = trio.Event()

    def _choose(self) -> list[tuple[PeerId, str]]:
        connected = self.transport.connected()
        busy = connected | self._dialling
        self.book.anchors = tuple(self._dialled)[:ANCHORS]
        now_ms = self.now_ms()
        chosen = [
            (peer_id, entry.addresses[entry.failures % len(entry.addresses)])
            for peer_id in self.staked()
            if peer_id not in busy and (entry := self.book.entries.get(peer_id)) and entry.addresses
            if entry.retry_ms <= now_ms and self.book.standing(peer_id, now_ms) is not PeerStanding.BANNED
        ]
        ours = len(self._dialled) + len(self._dialling)
        missing = max(WANTED_CONNECTIONS - len(busy), DIALLED_LOW - ours)
        if missing <= 0 and ours < MOST_DIALLED and self.is_short():
            missing = 1
        self._is_content = missing <= 0 and not chosen
        dialled = (self.book.entries.get(peer_id) for peer_id in self._dialled)
        groups = [group_of(entry.addresses[0]) for entry in dialled if entry and entry.addresses]
        busy |= {peer_id for peer_id, _ in chosen}
        return [*chosen, *self.book.to_dial(busy, missing - len(chosen), now_ms, groups)]

    async def _dial(self, peer_id: PeerId, address: str) -> None:
        try:
            async with self._slots:
                await self.dials.dial(address)
        except P2PError as error:
            self.book.on_dial_failed(peer_id, self.now_ms())
            log.debug("dial failed", extra={"peer_id": peer_id, "reason": str(error)})
        finally:
            self._dialling.discard(peer_id)


def learn_bootnodes(book: PeerBook, bootnodes: Sequence[str]) -> None:
    """Put the configured addresses into the book.

    Raises: ConfigError for one that is no address of a node.
    """
    for address in bootnodes:
        try:
            peer_id, _ = split_address(address)
        except P2PError as error:
            raise ConfigError(
                f"bootnode {address!r} is no address of a node", "/ip4/ADDRESS/tcp/PORT/p2p/ID"
            ) from error
        book.learn(peer_id, (address,), bootnode=True)


class PeerCache:
    """The peer book's file: at most 200 peers, so that a node finds the network again without its bootnodes."""

    def __init__(self, path: Path, book: PeerBook, now_ms: Callable[[], int]) -> None:
        self._path = path
        self._book = book
        self._now_ms = now_ms

    async def load(self) -> int:
        """Read the file into the book. Returns how many peers it held: none if it is missing or spoilt."""
        try:
            saved = await trio.to_thread.run_sync(self._read)
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, RecursionError) as error:
            log.warning("the peer cache cannot be read", extra={"path": str(self._path), "reason": str(error)})
            return 0
        return self._book.load(saved, self._now_ms())

    async def run(self) -> None:
        """Save every minute and once more at the end; until cancelled."""
        try:
            while True:
                await trio.sleep(SAVE_S)
                await self.save()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 2):
                await self.save()

    async def save(self) -> None:
        """Write the book's peers to the file, whole or not at all."""
        data = json.dumps(self._book.save(), indent=1).encode()
        try:
            await trio.to_thread.run_sync(self._write, data)
        except OSError as error:
            log.warning("the peer cache cannot be written", extra={"path": str(self._path), "reason": str(error)})

    def _read(self) -> Any:
        with self._path.open("rb") as file:
            return json.loads(file.read(MAX_CACHE_BYTES))

    def _write(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
