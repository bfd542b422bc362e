"""Peer exchange: where nodes are, in records that the nodes themselves have signed.

A node passes on its own record and those of peers that it has met. It never passes on the record of a stranger: the
signature proves the key and not the address, so the record is only a hint where to dial.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated

from protocol.errors import Malformed, OutOfTurn
from protocol.network.budgets import Budgets, OverBudget, Rate
from protocol.network.frames import MAX_SIGNATURE_BYTES, Sign, require_author
from protocol.params import MAX_CLOCK_SKEW_MS
from protocol.wire import codec
from protocol.wire.bounded import keep_newest
from protocol.wire.codec import U64, Size
from protocol.wire.ids import PeerId, peer_id_of

SIGNING_PREFIX = b"vcoin/record/1"
MAX_RECORDS = 32
MAX_EXCHANGE_BYTES = 32 * 1024
MAX_RECORD_BYTES = 896
"""So that the most records, with their signatures, fit into one answer."""
MAX_ADDRESSES = 4
MAX_ADDRESS_CHARS = 192
MAX_KEPT = 256
RECORD_LIFE_MS = 86_400_000
ASKED_RATE = Rate(amount=1, period_ms=60_000, burst=2)
"""How often one peer is answered."""
MAX_ASKERS = 4_096


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """A node's addresses. chain_id and settlement name its network, author is its compressed key; the newest counts."""

    chain_id: U64
    settlement: Annotated[bytes, Size(20, exact=True)]
    author: Annotated[bytes, Size(33, exact=True)]
    ts_ms: U64
    addresses: tuple[Annotated[str, Size(MAX_ADDRESS_CHARS)], ...]


@dataclass(frozen=True, slots=True)
class SignedPeerRecord:
    """An encoded PeerRecord, as its author sent it, and the DER signature over it."""

    record: Annotated[bytes, Size(MAX_RECORD_BYTES)]
    signature: Annotated[bytes, Size(MAX_SIGNATURE_BYTES)]


@dataclass(frozen=True, slots=True)
class PeerRecords:
    """Question and answer alike: the asker's own record, or at most 32 that the answerer knows."""

    records: tuple[SignedPeerRecord, ...]


@dataclass(frozen=True, slots=True)
class CheckedPeerRecord:
    """A record that was checked."""

    peer_id: PeerId
    addresses: tuple[str, ...]
    ts_ms: int


class PeerExchange:
    """Asks for and answers with peer records, for one node. Times in ms since 1970."""

    def __init__(self, chain_id: int, settlement: bytes, author: bytes, seed: bytes = b"") -> None:
        """Args: chain_id and settlement, 20 bytes, name the network; author, our compressed key; seed, our chance."""
        self._network = (chain_id, settlement)
        self._author = author
        self._seed = seed
        self._turn = 0
        self._own: tuple[tuple[str, ...], int, SignedPeerRecord] | None = None
        self._met: OrderedDict[PeerId, tuple[int, SignedPeerRecord]] = OrderedDict()
        self._askers = Budgets[PeerId](ASKED_RATE, MAX_ASKERS)

    def ask(self, addresses: Sequence[str], now_ms: int, sign: Sign) -> bytes:
        """A question: our own record, which the peer may pass on."""
        return codec.encode(PeerRecords((self._own_record(addresses, now_ms, sign),)))

    def answer(self, asker: PeerId, data: bytes, addresses: Sequence[str], now_ms: int, sign: Sign) -> bytes:
        """Answer a question with our record and those of peers that we have met, at random.

        Raises: RemoteProtocolError for a question that is none, or comes too often.
        """
        if not self._askers.take(asker, now_ms):
            raise OverBudget("asks for peers too often")
        for signed in _decode(data, 1):
            known = self._check(signed, now_ms)
            if known.peer_id != asker:
                raise OutOfTurn("asks for peers in another's name")
            self._keep(asker, known, signed)
        others = {peer: signed for peer, (ts, signed) in self._met.items() if ts > now_ms - RECORD_LIFE_MS}
        others.pop(asker, None)
        self._turn += 1
        salt = self._seed + self._turn.to_bytes(8, "big")
        drawn = sorted(others, key=lambda peer: hashlib.sha256(salt + peer.encode()).digest())[: MAX_RECORDS - 1]
        own = self._own_record(addresses, now_ms, sign)
        return codec.encode(PeerRecords((own, *(others[peer] for peer in drawn))))

    def read(self, source: PeerId, data: bytes, now_ms: int) -> tuple[CheckedPeerRecord, ...]:
        """The checked records of an answer; the source's own is kept to be passed on.

        Raises: RemoteProtocolError if any of it is not as its author made it: the source should have looked.
        """
        found = []
        for signed in _decode(data, MAX_RECORDS):
            known = self._check(signed, now_ms)
            if known.peer_id == source:
                self._keep(source, known, signed)
            if now_ms - known.ts_ms <= RECORD_LIFE_MS:
                found.append(known)
        return tuple(found)

    def _check(self, signed: SignedPeerRecord, now_ms: int) -> CheckedPeerRecord:
        record = codec.decode(PeerRecord, signed.record, MAX_RECORD_BYTES)
        if (record.chain_id, record.settlement) != self._network:
            raise Malformed("a record of another network")
        if len(record.addresses) > MAX_ADDRESSES:
            raise Malformed(f"a record of {len(record.addresses)} addresses, at most {MAX_ADDRESSES}")
        if record.ts_ms > now_ms + MAX_CLOCK_SKEW_MS:
            raise Malformed("a record from the future")
        require_author(record.author, signed.signature, SIGNING_PREFIX + signed.record, "a record")
        peer_id = peer_id_of(record.author)
        own = tuple(address for address in record.addresses if address.endswith(f"/p2p/{peer_id}"))
        return CheckedPeerRecord(peer_id, own, record.ts_ms)

    def _keep(self, peer_id: PeerId, known: CheckedPeerRecord, signed: SignedPeerRecord) -> None:
        newest = max((known.ts_ms, signed), self._met.get(peer_id, (-1, signed)), key=itemgetter(0))
        keep_newest(self._met, peer_id, newest, MAX_KEPT)

    def _own_record(self, addresses: Sequence[str], now_ms: int, sign: Sign) -> SignedPeerRecord:
        fitting = tuple(address for address in addresses if len(address) <= MAX_ADDRESS_CHARS)[:MAX_ADDRESSES]
        if self._own and self._own[0] == fitting and now_ms - self._own[1] < RECORD_LIFE_MS // 4:
            return self._own[2]
        encoded = codec.encode(PeerRecord(*self._network, self._author, now_ms, fitting))
        signed = SignedPeerRecord(encoded, sign(SIGNING_PREFIX + encoded))
        self._own = (fitting, now_ms, signed)
        return signed


def _decode(data: bytes, most: int) -> tuple[SignedPeerRecord, ...]:
    records = codec.decode(PeerRecords, data, MAX_EXCHANGE_BYTES).records
    if len(records) > most:
        raise Malformed(f"{len(records)} records, at most {most}")
    return records
