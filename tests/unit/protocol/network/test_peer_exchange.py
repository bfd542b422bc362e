"""Peer exchange: what is passed on, how much of it, and what is refused."""

import dataclasses

import pytest
from coincurve import PrivateKey

from protocol.errors import BadSignature, Malformed, OutOfTurn, RemoteProtocolError, TooLarge
from protocol.network.budgets import OverBudget
from protocol.network.peer_exchange import (
    ASKED_RATE,
    MAX_ADDRESS_CHARS,
    MAX_ADDRESSES,
    MAX_EXCHANGE_BYTES,
    MAX_KEPT,
    MAX_RECORDS,
    RECORD_LIFE_MS,
    SIGNING_PREFIX,
    PeerExchange,
    PeerRecord,
    PeerRecords,
    SignedPeerRecord,
)
from protocol.params import MAX_CLOCK_SKEW_MS
from protocol.wire import codec
from protocol.wire.ids import PeerId, peer_id_of
from tests.unit.protocol.network.nodes import CHAIN_ID, SETTLEMENT, START_MS, key

NOW = START_MS


class Node:
    """A node that exchanges peers, under one address."""

    def __init__(self, index: int) -> None:
        self.key = key(index)
        self.peer_id = peer_id_of(self.key.public_key.format())
        self.addresses = (f"/ip4/192.0.2.{index % 256}/tcp/4701/p2p/{self.peer_id}",)
        self.exchange = PeerExchange(CHAIN_ID, SETTLEMENT, self.key.public_key.format(), bytes([index % 256]))

    def ask(self, now_ms: int = NOW) -> bytes:
        return self.exchange.ask(self.addresses, now_ms, self.key.sign)

    def answer(self, asker: PeerId, data: bytes, now_ms: int = NOW) -> bytes:
        return self.exchange.answer(asker, data, self.addresses, now_ms, self.key.sign)


def signed(author: PrivateKey, /, **changes: object) -> SignedPeerRecord:
    peer_id = peer_id_of(author.public_key.format())
    record = PeerRecord(CHAIN_ID, SETTLEMENT, author.public_key.format(), NOW, (f"/ip4/1.2.3.4/tcp/1/p2p/{peer_id}",))
    encoded = codec.encode(dataclasses.replace(record, **changes))  # type: ignore[arg-type]
    return SignedPeerRecord(encoded, author.sign(SIGNING_PREFIX + encoded))


def records(*items: SignedPeerRecord) -> bytes:
    return codec.encode(PeerRecords(items))


def test_who_asks_is_told_of_those_that_asked_before() -> None:
    boot, first, second = Node(0), Node(1), Node(2)
    boot.answer(first.peer_id, first.ask())
    answer = boot.answer(second.peer_id, second.ask())
    heard = {known.peer_id: known.addresses for known in second.exchange.read(boot.peer_id, answer, NOW)}
    assert heard == {boot.peer_id: boot.addresses, first.peer_id: first.addresses}


def test_what_is_heard_of_strangers_is_not_passed_on() -> None:
    boot, teller, asker = Node(0), Node(1), Node(2)
    teller.exchange.read(boot.peer_id, records(signed(boot.key), signed(key(7))), NOW)
    told = asker.exchange.read(teller.peer_id, teller.answer(asker.peer_id, asker.ask()), NOW)
    assert {known.peer_id for known in told} == {teller.peer_id, boot.peer_id}


def test_an_answer_holds_at_most_thirty_two_records_by_lot_and_fits() -> None:
    boot, asker = Node(0), Node(999)
    for index in range(1, MAX_KEPT + 20):
        node = Node(index)
        node.addresses = tuple(f"/dns/{'x' * 100}{number}/tcp/1/p2p/{node.peer_id}" for number in range(MAX_ADDRESSES))
        boot.answer(node.peer_id, node.ask())
    assert len(boot.exchange._met) == MAX_KEPT
    drawn = []
    for turn in range(2):
        answer = boot.answer(asker.peer_id, asker.ask(), NOW + turn)
        assert len(answer) <= MAX_EXCHANGE_BYTES
        drawn.append({known.peer_id for known in asker.exchange.read(boot.peer_id, answer, NOW)})
    assert [len(peers) for peers in drawn] == [MAX_RECORDS, MAX_RECORDS]
    assert drawn[0] != drawn[1]


def test_the_largest_records_fit_into_one_answer() -> None:
    node = Node(0)
    node.addresses = tuple("/dns/" + "x" * (MAX_ADDRESS_CHARS - 5) for _ in range(MAX_ADDRESSES))
    (only,) = codec.decode(PeerRecords, node.ask(), MAX_EXCHANGE_BYTES).records
    assert len(codec.encode(PeerRecords((only,) * MAX_RECORDS))) <= MAX_EXCHANGE_BYTES


def test_who_asks_too_often_pays() -> None:
    boot, asker = Node(0), Node(1)
    for _ in range(int(ASKED_RATE.burst)):
        boot.answer(asker.peer_id, asker.ask())
    with pytest.raises(OverBudget):
        boot.answer(asker.peer_id, asker.ask())
    boot.answer(asker.peer_id, asker.ask(), NOW + ASKED_RATE.period_ms)


def test_a_newer_record_replaces_an_older_and_not_the_reverse() -> None:
    boot, node, asker = Node(0), Node(1), Node(2)
    old = node.ask(NOW - 5)
    node.addresses = (f"/ip4/192.0.2.77/tcp/1/p2p/{node.peer_id}",)
    boot.answer(node.peer_id, node.ask(NOW))
    boot.answer(node.peer_id, old)
    told = asker.exchange.read(boot.peer_id, boot.answer(asker.peer_id, asker.ask()), NOW)
    assert {known.addresses for known in told if known.peer_id == node.peer_id} == {node.addresses}


def test_old_records_are_neither_told_nor_believed() -> None:
    boot, node, asker = Node(0), Node(1), Node(2)
    boot.answer(node.peer_id, node.ask())
    later = NOW + RECORD_LIFE_MS + 1
    told = asker.exchange.read(boot.peer_id, boot.answer(asker.peer_id, asker.ask(later), later), later)
    assert [known.peer_id for known in told] == [boot.peer_id]
    assert asker.exchange.read(boot.peer_id, records(signed(key(7))), later) == ()


def test_addresses_of_another_peer_are_left_out() -> None:
    other = Node(5).addresses[0]
    (known,) = Node(1).exchange.read(Node(0).peer_id, records(signed(key(7), addresses=(other,))), NOW)
    assert known.addresses == ()


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", Malformed),
        (b"\xff" * 50, Malformed),
        (bytes(MAX_EXCHANGE_BYTES + 1), TooLarge),
        (records(*[signed(key(7))] * (MAX_RECORDS + 1)), Malformed),
        (records(signed(key(7), chain_id=1)), Malformed),
        (records(signed(key(7), settlement=bytes(20))), Malformed),
        (records(signed(key(7), ts_ms=NOW + MAX_CLOCK_SKEW_MS + 1)), Malformed),
        (records(signed(key(7), addresses=("a",) * (MAX_ADDRESSES + 1))), Malformed),
        (records(signed(key(7), addresses=("a" * (MAX_ADDRESS_CHARS + 1),))), Malformed),
        (records(signed(key(7), author=bytes(33))), BadSignature),
        (records(signed(key(7), author=key(8).public_key.format())), BadSignature),
        (records(dataclasses.replace(signed(key(7)), signature=b"junk")), BadSignature),
    ],
)
def test_an_answer_that_is_wrong_anywhere_is_the_fault_of_who_gave_it(
    data: bytes, fault: type[RemoteProtocolError]
) -> None:
    with pytest.raises(fault):
        Node(1).exchange.read(Node(0).peer_id, data, NOW)


def test_a_question_in_anothers_name_or_with_more_than_one_record_is_refused() -> None:
    with pytest.raises(OutOfTurn):
        Node(0).answer(Node(1).peer_id, Node(2).ask())
    with pytest.raises(Malformed):
        Node(0).answer(Node(1).peer_id, records(signed(key(1)), signed(key(1))))
