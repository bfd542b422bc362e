"""Peer exchange on /vcoin/px/1: a stream for each question, one frame there and one back.

A node asks the peers that it is connected to while it knows few others. Addresses that peers name for strangers
is dialled only after everybody else.
"""

import itertools
import logging
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import trio

from p2p.dials import is_dialable
from p2p.streams import FramedStream
from p2p.transport import Transport
from protocol.errors import P2PError, RemoteProtocolError
from protocol.network.frames import Sign
from protocol.network.peer_exchange import MAX_EXCHANGE_BYTES, PeerExchange
from protocol.network.peers import PeerBook, PeerStanding
from protocol.wire.ids import PeerId

log = logging.getLogger(__name__)

PROTOCOL = "/vcoin/px/1"
EXCHANGE_S = 10.0
ASK_EVERY_S = 2.0
ASK_AGAIN_S = 600.0
WANTED_PEERS = 32
"""With addresses of so many a node asks no more: beats bring the others."""


@dataclass(eq=False, repr=False)
class PeerExchangeStreams:
    """Asks peers where others are, and answers them.

    sign: the operator's DER signature over sha256 of a message. private: whether addresses of private networks are of
    use to this node.
    """

    transport: Transport
    exchange: PeerExchange
    book: PeerBook
    now_ms: Callable[[], int]
    sign: Sign
    _: KW_ONLY
    private: bool

    def __post_init__(self) -> None:
        self._asked: dict[PeerId, float] = {}
        self.transport.handle(PROTOCOL, self._serve)

    async def run(self) -> None:
        """Ask one peer after the other while few are known; until cancelled."""
        while True:
            now = trio.current_time()
            self._asked = {peer: at for peer, at in self._asked.items() if at > now - ASK_AGAIN_S}
            if peer_id := self._next():
                self._asked[peer_id] = now
                await self._ask(peer_id)
            await trio.sleep(ASK_EVERY_S)

    def _next(self) -> PeerId | None:
        met = (peer_id for peer_id, entry in self.book.entries.items() if entry.addresses)
        if len(list(itertools.islice(met, WANTED_PEERS))) == WANTED_PEERS:
            return None
        now_ms = self.now_ms()
        others = self.transport.connected() - self._asked.keys()
        fit = (peer for peer in others if self.book.standing(peer, now_ms) is PeerStanding.GOOD)
        return min(fit, default=None)

    async def _ask(self, peer_id: PeerId) -> None:
        try:
            stream = await self.transport.open(peer_id, PROTOCOL)
            try:
                question = self.exchange.ask(self.transport.addresses, self.now_ms(), self.sign)
                await stream.write_frame(question, within_s=EXCHANGE_S)
                answer = await stream.read_frame(MAX_EXCHANGE_BYTES, within_s=EXCHANGE_S)
            finally:
                await stream.abort()
            self._learn(peer_id, answer)
        except RemoteProtocolError as fault:
            self.transport.report(peer_id, fault)
        except P2PError as error:
            log.debug("a peer told of no others", extra={"peer_id": peer_id, "reason": str(error)})

    def _learn(self, source: PeerId, answer: bytes) -> None:
        for known in self.exchange.read(source, answer, self.now_ms()):
            addresses = [address for address in known.addresses if is_dialable(address, self.private)]
            if known.peer_id == source:
                self.book.learn(source, addresses)
            else:
                self.book.hint(known.peer_id, addresses, source)

    async def _serve(self, stream: FramedStream) -> None:
        question = await stream.read_frame(MAX_EXCHANGE_BYTES, within_s=EXCHANGE_S)
        answer = self.exchange.answer(stream.peer_id, question, self.transport.addresses, self.now_ms(), self.sign)
        await stream.write_frame(answer, within_s=EXCHANGE_S)
