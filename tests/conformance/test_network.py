"""The promises of every network to a node, whether it is libp2p on loopback or in memory."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2p.calls import MAX_IN_FLIGHT
from p2p.gossip import PROTOCOL as GOSSIP
from p2p.host import open_host
from p2p.transport import Transport
from protocol.effects import FetchBlob, FetchModel, PublishHeartbeat, PublishRequest, Send
from protocol.errors import BadSignature, LocalProtocolError, Malformed, P2PError
from protocol.events import (
    BlobFetched,
    HeartbeatPublished,
    HeartbeatReceived,
    MessageReceived,
    MessageSent,
    ModelAdded,
    RequestPublished,
    RequestReceived,
)
from protocol.network.gossip import Admission
from protocol.network.peers import PeerStanding
from protocol.stages.commitment import TokenFrame
from protocol.wire.ids import cid_of
from tests.fakes.loopback import ANY_PORT
from tests.fakes.network import MemoryNetwork
from tests.fakes.nodes import Node, View, heartbeat, request, run_node, secret, until

OpenTransport = Callable[[int], AbstractAsyncContextManager[Transport]]


@pytest.fixture(params=["memory", pytest.param("libp2p", marks=pytest.mark.libp2p)])
def open_transport(request: pytest.FixtureRequest) -> OpenTransport:
    """Opens the n-th node's transport in the network under test."""
    if request.param == "libp2p":
        return lambda index: open_host(secret(index), ANY_PORT)
    network = MemoryNetwork()
    return lambda index: network.open_host(secret(index))


@asynccontextmanager
async def nodes(open_transport: OpenTransport, count: int, folder: Path) -> AsyncIterator[list[Node]]:
    """So many nodes, the first of which is the bootnode of the others; they stop together after twenty seconds."""
    with trio.fail_after(20):
        async with AsyncExitStack() as stack:
            running: list[Node] = []
            for index in range(count):
                transport = await stack.enter_async_context(open_transport(index))
                bootnodes = (running[0].address,) if running else ()
                running.append(await stack.enter_async_context(run_node(transport, index, folder, bootnodes=bootnodes)))
            yield running


async def neighbours(*running: Node) -> None:
    """Wait until each has a neighbour."""
    await until(lambda: all(node.adapter.neighbours for node in running))


def token_frame(seq: int, size: int = 1) -> TokenFrame:
    return TokenFrame(job_id=bytes(32), seq=seq, sealed=bytes(size))


async def test_a_heartbeat_reaches_everybody_under_its_authors_name(
    open_transport: OpenTransport, tmp_path: Path
) -> None:
    async with nodes(open_transport, 4, tmp_path) as running:
        await neighbours(*running)
        beat = heartbeat(7)
        assert await running[1].adapter.perform(PublishHeartbeat(beat)) == HeartbeatPublished(7)
        for node in (running[0], *running[2:]):
            heard = await node.inbox.next(HeartbeatReceived)
            assert heard == HeartbeatReceived(running[1].transport.peer_id, beat)
        assert running[1].inbox.events == []


async def test_a_request_reaches_everybody_fast(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 4, tmp_path) as running:
        await neighbours(*running)
        signed = request(1)
        before = time.perf_counter()
        assert await running[3].adapter.perform(PublishRequest(signed)) == RequestPublished(signed.request)
        for node in running[:3]:
            assert await node.inbox.next(RequestReceived) == RequestReceived(signed)
        assert time.perf_counter() - before < 1


async def test_a_message_is_delivered_and_acknowledged(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 2, tmp_path) as (one, two):
        sent = await two.adapter.perform(Send(one.address, token_frame(3, 16_384)))
        assert isinstance(sent, MessageSent)
        assert sent.peer_id == one.transport.peer_id
        assert sent.round_trip_ms < 1_000
        assert one.inbox.events == [MessageReceived(two.transport.peer_id, token_frame(3, 16_384))]
        # The way back needs no address: they are connected.
        await one.adapter.perform(Send(two.transport.peer_id, token_frame(4)))
        assert two.inbox.events == [MessageReceived(one.transport.peer_id, token_frame(4))]


async def test_a_message_is_acknowledged_only_when_it_cannot_be_lost(
    open_transport: OpenTransport, tmp_path: Path
) -> None:
    async with nodes(open_transport, 2, tmp_path) as (one, two):
        one.inbox.open = trio.Event()
        acknowledged = False

        async def send() -> None:
            nonlocal acknowledged
            await two.adapter.perform(Send(one.address, token_frame(1)))
            acknowledged = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            with trio.move_on_after(0.2):
                await one.inbox.next(MessageReceived)
            assert not acknowledged
            one.inbox.open.set()
        assert acknowledged


async def test_many_messages_at_once_all_arrive(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 2, tmp_path) as (one, two):
        async with trio.open_nursery() as nursery:
            for seq in range(3 * MAX_IN_FLIGHT):
                nursery.start_soon(two.adapter.perform, Send(one.address, token_frame(seq)))
        received = [event.message for event in one.inbox.events if isinstance(event, MessageReceived)]
        assert {message.seq for message in received if isinstance(message, TokenFrame)} == set(range(192))
        assert two.adapter.book.score(one.transport.peer_id, 0) >= 0


async def test_a_peer_nobody_knows_is_a_transient_failure(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 1, tmp_path) as (one,):
        stranger = "16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi"
        for to in (stranger, f"/ip4/127.0.0.1/tcp/1/p2p/{stranger}"):
            with pytest.raises(P2PError) as raised:
                await one.adapter.perform(Send(to, token_frame(1)))
            assert raised.value.transient


async def test_an_address_that_is_none_is_a_lasting_failure(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 1, tmp_path) as (one,):
        with pytest.raises(P2PError) as raised:
            await one.adapter.perform(Send("/ip4/127.0.0.1/tcp/1", token_frame(1)))
        assert not raised.value.transient


async def test_a_node_known_from_its_beat_is_dialled_by_its_id(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 3, tmp_path) as (boot, one, two):
        await neighbours(boot, one, two)
        await one.adapter.perform(PublishHeartbeat(heartbeat(1, one.transport.addresses)))
        await two.inbox.next(HeartbeatReceived)
        await two.transport.disconnect(one.transport.peer_id)
        sent = await two.adapter.perform(Send(one.transport.peer_id, token_frame(1)))
        assert isinstance(sent, MessageSent)


async def test_nobody_can_name_an_address_for_another(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 3, tmp_path) as (boot, one, two):
        await neighbours(boot, one, two)
        victim = "16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi"
        await one.adapter.perform(PublishHeartbeat(heartbeat(1, (f"/ip4/192.0.2.1/tcp/1/p2p/{victim}",))))
        await two.inbox.next(HeartbeatReceived)
        assert victim not in two.adapter.book.entries


async def test_a_blob_comes_from_whichever_peer_has_it(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 3, tmp_path) as (boot, one, two):
        await neighbours(boot, one, two)
        content = bytes(range(256)) * 20_000
        cid = one.put_blob(content)
        fetch = FetchBlob(cid, (boot.transport.peer_id, one.transport.peer_id))
        await two.transport.dial(one.address)
        assert await two.adapter.perform(fetch) == BlobFetched(cid)
        assert (two.store / "blobs" / cid.hex()).read_bytes() == content
        assert await two.adapter.perform(fetch) == BlobFetched(cid)
        assert list((two.store / "partial").iterdir()) == []


async def test_a_blob_that_nobody_has_is_a_transient_failure(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 2, tmp_path) as (one, two):
        await neighbours(one, two)
        for peers in ((), (one.transport.peer_id,)):
            with pytest.raises(P2PError) as raised:
                await two.adapter.perform(FetchBlob(cid_of(b"nowhere"), peers))
            assert raised.value.transient


async def test_a_model_comes_whole(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 2, tmp_path) as (one, two):
        await neighbours(one, two)
        files = {"tokenizer.json": b"{}", "weights/one.safetensors": bytes(3_000_000), "empty.txt": b""}
        manifest = one.put_model(files)
        fetch = FetchModel(manifest.cid, (one.transport.peer_id,))
        assert await two.adapter.perform(fetch) == ModelAdded(manifest)
        folder = two.store / "models" / manifest.cid.hex()
        assert {path: (folder / path).read_bytes() for path in files} == files
        assert (folder / "manifest.json").read_bytes() == manifest.encode()
        assert await two.adapter.perform(fetch) == ModelAdded(manifest)


async def test_a_description_comes_without_weights_and_is_passed_on(
    open_transport: OpenTransport, tmp_path: Path
) -> None:
    async with nodes(open_transport, 3, tmp_path) as (holder, thin, other):
        await neighbours(holder, thin, other)
        manifest = holder.put_model({"tokenizer.json": b"{}", "model.safetensors": bytes(3_000_000)})
        peers = (holder.transport.peer_id,)
        assert await thin.adapter.blobs.fetch_description(manifest.cid, peers) == manifest
        assert not (thin.store / "models").exists()
        await other.transport.dial(thin.address)
        peers = (thin.transport.peer_id,)
        assert await other.adapter.blobs.fetch_description(manifest.cid, peers) == manifest
        # A description is no whole model.
        with pytest.raises(P2PError) as refused:
            await other.adapter.perform(FetchModel(manifest.cid, peers))
        assert refused.value.transient
        assert (other.store / "descriptions" / manifest.cid.hex() / "tokenizer.json").read_bytes() == b"{}"


async def test_a_poisoned_tokenizer_is_blamed_and_taken_from_the_next_peer(
    open_transport: OpenTransport, tmp_path: Path
) -> None:
    async with nodes(open_transport, 3, tmp_path) as (liar, honest, two):
        await neighbours(liar, honest, two)
        await two.transport.dial(honest.address)
        files = {"tokenizer.json": b'{"right": 1}'}
        manifest = honest.put_model(files)
        liar.put_model(files)
        (liar.store / "models" / manifest.cid.hex() / "tokenizer.json").write_bytes(b'{"wrong": 1}')
        peers = (liar.transport.peer_id, honest.transport.peer_id)
        assert await two.adapter.blobs.fetch_description(manifest.cid, peers) == manifest
        folder = two.store / "descriptions" / manifest.cid.hex()
        assert (folder / "tokenizer.json").read_bytes() == files["tokenizer.json"]
        now_ms = time.time_ns() // 1_000_000
        standings = [two.adapter.book.standing(peer_id, now_ms) for peer_id in peers]
        assert standings == [PeerStanding.AVOIDED, PeerStanding.GOOD]


async def test_a_poisoned_blob_is_refused_and_blamed_and_the_next_peer_asked(
    open_transport: OpenTransport, tmp_path: Path
) -> None:
    async with nodes(open_transport, 3, tmp_path) as (liar, honest, two):
        await neighbours(liar, honest, two)
        await two.transport.dial(honest.address)
        content = b"the right bytes" * 1_000
        cid = honest.put_blob(content)
        (liar.store / "blobs").mkdir(exist_ok=True)
        (liar.store / "blobs" / cid.hex()).write_bytes(b"the wrong bytes" * 1_000)
        peers = (liar.transport.peer_id, honest.transport.peer_id)
        await two.adapter.perform(FetchBlob(cid, peers))
        assert (two.store / "blobs" / cid.hex()).read_bytes() == content
        now_ms = time.time_ns() // 1_000_000
        assert two.adapter.book.standing(peers[0], now_ms) is PeerStanding.AVOIDED
        assert two.adapter.book.standing(peers[1], now_ms) is PeerStanding.GOOD


async def test_bytes_that_are_no_message_end_in_a_ban(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 2, tmp_path) as (one, two):
        await neighbours(one, two)
        calls = two.adapter._calls
        for _ in range(3):
            with pytest.raises(P2PError):
                await calls.send(one.address, b"\xffnonsense")
        await until(lambda: not one.transport.connected())
        assert one.inbox.events == []
        with pytest.raises(P2PError, match="banned"):
            await one.adapter.perform(Send(two.address, token_frame(1)))


async def test_blame_from_outside_costs_a_peer_its_place(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 2, tmp_path) as (one, two):
        await neighbours(one, two)
        for _ in range(3):
            one.adapter.blame(two.transport.peer_id, BadSignature("seen by a role"))
        await until(lambda: not one.adapter.neighbours)
        assert one.adapter.connected == {two.transport.peer_id}
        for _ in range(2):
            one.adapter.blame(two.transport.peer_id, Malformed("seen by a role"))
        await until(lambda: not one.adapter.connected)


async def test_a_node_on_its_way_out_takes_nothing_more(open_transport: OpenTransport, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_transport(0) as one, open_transport(1) as two, run_node(two, 1, tmp_path) as other:
            async with run_node(one, 0, tmp_path, bootnodes=two.addresses) as leaving:
                await neighbours(leaving, other)
            # The adapter has ended, its transport has not.
            with pytest.raises(P2PError, match="busy"):
                await other.adapter.perform(Send(one.addresses[0], token_frame(1)))
            stream = await two.open(one.peer_id, GOSSIP)
            # A reset may come out as an end.
            with pytest.raises(P2PError, match=r"broke|closed"):
                await stream.read_frame(1, within_s=2)
            assert leaving.inbox.events == []


async def test_a_lost_bootnode_is_dialled_again(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 2, tmp_path) as (one, two):
        await neighbours(one, two)
        await one.transport.disconnect(two.transport.peer_id)
        await until(lambda: not two.adapter.connected)
        await neighbours(one, two)
        await two.adapter.perform(PublishHeartbeat(heartbeat(1)))
        await one.inbox.next(HeartbeatReceived)


async def test_a_frame_that_the_chain_does_not_back_goes_nowhere(open_transport: OpenTransport, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with AsyncExitStack() as stack:
            transports = [await stack.enter_async_context(open_transport(index)) for index in range(3)]
            one, two, three = [
                await stack.enter_async_context(
                    run_node(
                        transport,
                        index,
                        tmp_path,
                        bootnodes=(transports[1].addresses[0],) if index != 1 else (),
                        # The one in the middle knows no author.
                        view=View(Admission.UNKNOWN if index == 1 else Admission.ADMIT),
                    )
                )
                for index, transport in enumerate(transports)
            ]
            await neighbours(one, two, three)
            await one.adapter.perform(PublishHeartbeat(heartbeat(1)))
            await one.adapter.perform(Send(two.transport.peer_id, token_frame(1)))
            with trio.move_on_after(1):
                await three.inbox.next(HeartbeatReceived)
            assert not any(isinstance(event, HeartbeatReceived) for event in two.inbox.events + three.inbox.events)


async def test_what_is_too_large_is_our_own_fault(open_transport: OpenTransport, tmp_path: Path) -> None:
    async with nodes(open_transport, 1, tmp_path) as (one,):
        with pytest.raises(LocalProtocolError):
            await one.adapter.perform(PublishHeartbeat(heartbeat(1, ("x" * 500,) * 4)))
