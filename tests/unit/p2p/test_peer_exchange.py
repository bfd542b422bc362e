"""Peer exchange between nodes in memory. Time is trio's own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from coincurve import PrivateKey
from trio.testing import MockClock

from p2p.dials import is_dialable
from p2p.peer_exchange import ASK_AGAIN_S, EXCHANGE_S, PROTOCOL
from p2p.streams import FramedStream
from protocol.network.peer_exchange import MAX_EXCHANGE_BYTES, PeerExchange, PeerRecords, SignedPeerRecord
from protocol.network.peers import PeerStanding
from protocol.wire import codec
from protocol.wire.ids import address_bytes, peer_id_of, public_key_of
from tests.fakes.network import MemoryNetwork
from tests.fakes.nodes import SETTLEMENT, Node, run_node, secret
from tests.unit.protocol.network.nodes import key


def now_ms() -> int:
    return 1_700_000_000_000 + round(1000 * trio.current_time())


@asynccontextmanager
async def nodes(count: int, folder: Path) -> AsyncIterator[tuple[MemoryNetwork, list[Node]]]:
    """So many nodes of which each but the first knows only the first."""
    network = MemoryNetwork(delay_s=0.01)
    async with AsyncExitStack() as stack:
        made: list[Node] = []
        for index in range(count):
            host = await stack.enter_async_context(network.open_host(secret(index)))
            known = tuple(node.address for node in made[:1])
            node = run_node(host, index, folder, bootnodes=known, clock_ms=now_ms)
            made.append(await stack.enter_async_context(node))
        yield network, made


async def test_nodes_that_know_one_bootnode_find_each_other_without_a_beat(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with nodes(6, tmp_path) as (_, made):
        await trio.sleep(ASK_AGAIN_S + 60)
        ids = {node.transport.peer_id for node in made}
        for node in made:
            assert node.adapter.connected == ids - {node.transport.peer_id}
            assert all(node.adapter.book.score(peer, now_ms()) == 0 for peer in ids)


async def test_what_strangers_are_said_to_have_is_a_hint_until_they_are_met(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with nodes(1, tmp_path) as (network, (node,)), network.open_host(secret(9)) as liar:
        told = [f"/ip4/127.0.0.1/tcp/{port}" for port in (1, 2, 3)]

        async def tell(stream: FramedStream) -> None:
            await stream.read_frame(MAX_EXCHANGE_BYTES, within_s=1)
            await stream.write_frame(codec.encode(PeerRecords(tuple(map(invented, told, range(3))))), within_s=1)

        liar.handle(PROTOCOL, tell)
        await liar.dial(node.address)
        await trio.sleep(0.5 + 2)
        hints = {peer for peer, entry in node.adapter.book.entries.items() if entry.source == liar.peer_id}
        assert len(hints) == 3
        assert node.adapter.book.save()["peers"] == []
        await trio.sleep(60)
        assert not hints & node.adapter.book.entries.keys(), "no peer is there, so they are forgotten"


def invented(address: str, index: int) -> SignedPeerRecord:
    """The signed record of a node that does not exist."""
    author = key(1_000 + index)
    public = author.public_key.format()
    exchange = PeerExchange(31337, address_bytes(SETTLEMENT), public)
    question = exchange.ask((f"{address}/p2p/{peer_id_of(public)}",), now_ms(), author.sign)
    return codec.decode(PeerRecords, question, MAX_EXCHANGE_BYTES).records[0]


@pytest.mark.parametrize("answer", [b"junk", codec.encode(PeerRecords(())) + b"\x00"])
async def test_a_spoilt_answer_costs_who_gave_it(tmp_path: Path, autojump_clock: MockClock, answer: bytes) -> None:
    async with nodes(1, tmp_path) as (network, (node,)), network.open_host(secret(9)) as liar:

        async def tell(stream: FramedStream) -> None:
            await stream.read_frame(MAX_EXCHANGE_BYTES, within_s=1)
            await stream.write_frame(answer, within_s=1)

        liar.handle(PROTOCOL, tell)
        await liar.dial(node.address)
        await trio.sleep(3)
        assert node.adapter.book.score(liar.peer_id, now_ms()) <= -40


async def test_an_announced_answer_beyond_the_limit_is_refused_before_it_is_read(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with nodes(1, tmp_path) as (network, (node,)), network.open_host(secret(9)) as liar:

        async def tell(stream: FramedStream) -> None:
            await stream.read_frame(MAX_EXCHANGE_BYTES, within_s=1)
            await stream._raw.write((MAX_EXCHANGE_BYTES + 1).to_bytes(4, "big"))
            await trio.sleep_forever()

        liar.handle(PROTOCOL, tell)
        await liar.dial(node.address)
        await trio.sleep(3)
        assert node.adapter.book.score(liar.peer_id, now_ms()) <= -40


async def test_a_peer_that_never_answers_holds_up_nobody_else(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with nodes(2, tmp_path) as (network, (boot, node)), network.open_host(secret(9)) as mute:
        asked = trio.Event()

        async def say_nothing(stream: FramedStream) -> None:
            asked.set()
            await trio.sleep_forever()

        mute.handle(PROTOCOL, say_nothing)
        await mute.dial(node.address)
        await trio.sleep(3 * EXCHANGE_S)
        assert asked.is_set()
        assert boot.transport.peer_id in node.adapter.connected
        assert node.adapter.book.entries[boot.transport.peer_id].addresses


async def test_a_flood_of_questions_ends_in_a_ban(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with nodes(1, tmp_path) as (network, (node,)), network.open_host(secret(9)) as asker:
        exchange = PeerExchange(31337, address_bytes(SETTLEMENT), public_key_of(asker.peer_id))
        await asker.dial(node.address)
        for _ in range(60):
            if asker.peer_id not in node.adapter.connected:
                break
            stream = await asker.open(node.transport.peer_id, PROTOCOL)
            question = exchange.ask((), now_ms(), PrivateKey(secret(9)).sign)
            await stream.write_frame(question, within_s=1)
            await trio.sleep(0.05)
        assert asker.peer_id not in node.adapter.connected
        assert node.adapter.book.standing(asker.peer_id, now_ms()) is PeerStanding.BANNED


@pytest.mark.parametrize(
    ("where", "far", "near"),
    [
        ("/ip4/8.8.8.8/tcp/1", True, True),
        ("/dns/node.example/tcp/1", True, True),
        ("/ip4/10.1.2.3/tcp/1", False, True),
        ("/ip4/127.0.0.1/tcp/22", False, True),
        ("/ip4/169.254.169.254/tcp/80", False, True),
        ("/ip6/fd00::1/tcp/1", False, True),
        ("/ip6/2606:4700::1/tcp/1", True, True),
        ("/ip4/8.8.8.8/udp/1", False, False),
        ("nonsense", False, False),
    ],
)
def test_a_private_address_is_dialled_only_on_a_local_network(where: str, far: bool, near: bool) -> None:
    address = f"{where}/p2p/16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi"
    assert (is_dialable(address, False), is_dialable(address, True)) == (far, near)
