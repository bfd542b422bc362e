"""Eight real nodes on loopback: everything is heard everywhere, also while some leave and come."""

import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from coincurve import PrivateKey

from p2p.gossip import PROTOCOL
from p2p.host import open_host
from p2p.streams import MAX_GOSSIP_BYTES, FramedStream
from protocol.effects import FetchModel, PublishHeartbeat, PublishRequest, Send
from protocol.errors import P2PError
from protocol.events import HeartbeatReceived, MessageSent, ModelAdded, RequestReceived
from protocol.network.frames import Content, Frames, Topic, encode_batch, sign_content
from protocol.network.gossip import Admission
from protocol.network.peers import PeerStanding
from protocol.stages.commitment import TokenFrame
from protocol.wire import codec
from protocol.wire.ids import address_bytes
from tests.fakes.loopback import ANY_PORT
from tests.fakes.nodes import SETTLEMENT, Node, View, heartbeat, request, run_node, secret, until

if TYPE_CHECKING:
    from trio_typing import TaskStatus

pytestmark = pytest.mark.libp2p

COUNT = 8
WITHIN_S = 120


@asynccontextmanager
async def node(index: int, folder: Path, bootnodes: tuple[str, ...], **options: object) -> AsyncIterator[Node]:
    async with (
        open_host(secret(index), ANY_PORT) as host,
        run_node(host, index, folder, bootnodes=bootnodes, **options) as made,  # type: ignore[arg-type]
    ):
        yield made


@asynccontextmanager
async def network(folder: Path, count: int = COUNT) -> AsyncIterator[list[Node]]:
    """So many nodes that know the first two, each with a neighbour."""
    with trio.fail_after(WITHIN_S):
        async with AsyncExitStack() as stack:
            nodes: list[Node] = []
            for index in range(count):
                known = tuple(other.address for other in nodes[:2])
                nodes.append(await stack.enter_async_context(node(index, folder, known)))
            await until(lambda: all(made.adapter.neighbours for made in nodes))
            yield nodes


async def test_every_beat_and_every_request_reaches_everybody_once(tmp_path: Path) -> None:
    async with network(tmp_path) as nodes:
        for index, made in enumerate(nodes):
            await made.adapter.perform(PublishHeartbeat(heartbeat(1_000 + index)))
            await made.adapter.perform(PublishRequest(request(index)))
        for made in nodes:
            await until(lambda made=made: len(made.inbox.events) >= 2 * (COUNT - 1))  # type: ignore[misc]
        # Any double has come by now: a second beat has crossed the same ways.
        await nodes[0].adapter.perform(PublishHeartbeat(heartbeat(2_000)))
        for made in nodes[1:]:
            await made.inbox.next(HeartbeatReceived, lambda event: event.heartbeat.counter == 2_000)
        for index, made in enumerate(nodes):
            others = set(range(COUNT)) - {index}
            beats = [event for event in made.inbox.events if isinstance(event, HeartbeatReceived)]
            requests = [event for event in made.inbox.events if isinstance(event, RequestReceived)]
            assert sorted(event.signed.request.nonce for event in requests) == sorted(others)
            assert sorted(event.heartbeat.counter for event in beats if event.heartbeat.counter < 2_000) == [
                1_000 + other for other in sorted(others)
            ]
            assert made.adapter.dropped == 0


async def test_requests_cross_the_network_after_its_bootnodes_have_left(tmp_path: Path) -> None:
    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            known: list[str] = []
            leave = trio.Event()

            async def boot(index: int, task_status: "TaskStatus[None]") -> None:
                async with node(index, tmp_path, ()) as made:
                    known.append(made.address)
                    task_status.started()
                    await leave.wait()

            for index in range(2):
                await nursery.start(boot, index)
            others = [await stack.enter_async_context(node(index, tmp_path, tuple(known))) for index in range(2, 6)]
            await until(lambda: all(made.adapter.neighbours for made in others))
            # From their beats the others learn where everybody is.
            for made in others:
                await made.adapter.perform(PublishHeartbeat(heartbeat(1, made.transport.addresses)))
            for made in others:
                await until(lambda made=made: len(made.inbox.events) == len(others) - 1)  # type: ignore[misc]
            leave.set()
            remaining = {made.transport.peer_id for made in others}
            await until(lambda: all(made.adapter.neighbours and made.adapter.neighbours < remaining for made in others))
            await others[0].adapter.perform(PublishRequest(request(7)))
            for made in others[1:]:
                await made.inbox.next(RequestReceived)


async def test_a_node_finds_the_network_again_from_its_cache_alone(tmp_path: Path) -> None:
    with trio.fail_after(WITHIN_S):
        cache = tmp_path / "peers.json"
        async with node(0, tmp_path, ()) as boot:
            async with node(1, tmp_path, (boot.address,), cache=cache) as first:
                await until(lambda: bool(first.adapter.neighbours))
            async with node(1, tmp_path, (), cache=cache) as again:
                await until(lambda: bool(again.adapter.neighbours))
                assert again.adapter.neighbours == {boot.transport.peer_id}


async def test_a_network_of_another_settlement_is_not_listened_to(tmp_path: Path) -> None:
    async with network(tmp_path, 2) as (one, two):
        stranger = one.adapter._gossip.gossip
        stranger.chain_id, stranger.settlement = 1, bytes(20)
        one.adapter._gossip.publish(Topic.REQUEST, b"x", one.key.sign)
        await until(lambda: two.adapter.book.score(one.transport.peer_id, 0) <= -40)
        assert two.inbox.events == []


async def test_a_model_of_many_megabytes_comes_over_real_streams(tmp_path: Path) -> None:
    async with network(tmp_path, 3) as (boot, holder, asker):
        await asker.transport.dial(holder.address)
        weights = bytes(range(256)) * (48 * 4096)
        manifest = holder.put_model({"tokenizer.json": b"{}", "model.safetensors": weights})
        peers = (boot.transport.peer_id, holder.transport.peer_id)
        assert await asker.adapter.perform(FetchModel(manifest.cid, peers)) == ModelAdded(manifest)
        # While the weights come, messages still go.
        sent = await asker.adapter.perform(Send(holder.address, TokenFrame(bytes(32), 0, b"x")))
        assert isinstance(sent, MessageSent)


async def test_a_node_that_vanishes_is_missed_and_its_messages_fail(tmp_path: Path) -> None:
    with trio.fail_after(WITHIN_S):
        async with node(0, tmp_path, ()) as one:
            async with node(1, tmp_path, (one.address,)) as two:
                await until(lambda: bool(one.adapter.neighbours))
                gone = two.address
            await until(lambda: not one.adapter.neighbours and not one.adapter.connected)
            with pytest.raises(P2PError) as raised:
                await one.adapter.perform(Send(gone, TokenFrame(bytes(32), 0, b"x")))
            assert raised.value.transient


@pytest.mark.parametrize("alive", range(3))
async def test_a_node_joins_by_any_one_of_three_bootnodes(tmp_path: Path, alive: int) -> None:
    with trio.fail_after(WITHIN_S):
        known: list[str] = []
        for index in range(3):
            async with open_host(secret(index), ANY_PORT) as host:
                known += host.addresses
        # Two of them stay dead: nothing listens on their ports any more.
        async with (
            open_host(secret(alive), known[alive].rpartition("/p2p/")[0]) as host,
            run_node(host, alive, tmp_path) as boot,
            node(5, tmp_path, tuple(known)) as made,
        ):
            await until(lambda: bool(made.adapter.neighbours))
            assert made.adapter.neighbours == {boot.transport.peer_id}
            await boot.adapter.perform(PublishHeartbeat(heartbeat(1)))
            await made.inbox.next(HeartbeatReceived)


async def test_two_registered_nodes_are_drawn_by_stake_and_stay_neighbours(tmp_path: Path) -> None:
    async with network(tmp_path, 6) as nodes:
        staked = {nodes[index].transport.peer_id: 10**21 for index in (1, 3)}
        async with node(9, tmp_path, (nodes[0].address,), view=View(stakes=staked)) as made:
            await until(lambda: bool(made.adapter.neighbours))
            for other in nodes:
                await other.adapter.perform(PublishHeartbeat(heartbeat(1, other.transport.addresses)))
            drawn = {nodes[index].transport.peer_id for index in (1, 3)}
            await until(lambda: drawn <= made.adapter.connected and drawn <= made.adapter.neighbours)


@pytest.mark.parametrize("forged", [True, False])
@pytest.mark.parametrize("at_once", [1, 30])
async def test_forged_and_unwanted_frames_cost_their_forwarder_its_connection(
    tmp_path: Path, forged: bool, at_once: int
) -> None:
    """Bad signatures, and frames that their author may not send, however they are packed."""
    async with (
        open_host(secret(0), ANY_PORT) as host,
        run_node(host, 0, tmp_path, view=View(Admission.ADMIT if forged else Admission.REFUSE)) as victim,
        open_host(secret(1), ANY_PORT) as attacker,
    ):
        attacker.handle(PROTOCOL, listen)
        with trio.fail_after(20):
            await attacker.dial(victim.address)
            batches = (frames_of(seq, at_once, forged) for seq in range(0, 100_000, at_once))
            while attacker.peer_id in victim.adapter.connected or not victim.adapter.book.bans:
                with contextlib.suppress(P2PError):
                    stream = await attacker.open(victim.transport.peer_id, PROTOCOL)
                    for batch in batches:
                        await stream.write_frame(batch, within_s=5)
                await trio.testing.wait_all_tasks_blocked(0.005)
            assert victim.adapter.book.standing(attacker.peer_id, time.time_ns() // 1_000_000) is PeerStanding.BANNED
            assert victim.inbox.events == []
            # It may dial again, and is dropped at once.
            await attacker.dial(victim.address)
            await until(lambda: victim.adapter.connected == frozenset())


async def listen(stream: FramedStream) -> None:
    """Take whatever a neighbour sends."""
    while True:
        await stream.read_frame(MAX_GOSSIP_BYTES, within_s=60)


def frames_of(first: int, count: int, forged: bool) -> bytes:
    """A batch of requests, each by a key of its own."""
    ts_ms = time.time_ns() // 1_000_000
    frames = []
    for seq in range(first, first + count):
        author = PrivateKey(secret(1_000 + seq))
        body = codec.encode(request(seq))
        network_of = (31337, address_bytes(SETTLEMENT))
        content = Content(*network_of, Topic.REQUEST, author.public_key.format(), ts_ms + seq, ts_ms, body)
        frames.append(sign_content(content, PrivateKey(secret(999)).sign if forged else author.sign))
    return encode_batch(Frames(tuple(frames)))
