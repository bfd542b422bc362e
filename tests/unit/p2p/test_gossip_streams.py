"""The driver of gossip: who becomes a neighbour, and how that ends. In memory; time is trio's own."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from coincurve import PrivateKey
from trio.testing import MockClock

from p2p.gossip import INVITATIONS, PROTOCOL, SILENT_S, GossipStreams
from p2p.streams import FramedStream
from protocol.errors import Malformed, P2PError, RemoteProtocolError, TooLarge
from protocol.network.budgets import OverBudget
from protocol.network.frames import Content, Topic
from protocol.network.gossip import Admission, Gossip
from protocol.network.mesh import DEGREE_HIGH, REFUSED_MS, Mesh
from protocol.network.peers import PeerBook
from protocol.wire.ids import PeerId
from tests.fakes.network import MemoryHost, MemoryNetwork
from tests.fakes.nodes import secret


def now_ms() -> int:
    return 1_700_000_000_000 + round(1000 * trio.current_time())


@dataclass
class Member:
    """A host that gossips, and what it heard."""

    host: MemoryHost
    key: PrivateKey
    book: PeerBook
    streams: GossipStreams
    heard: list[bytes] = field(default_factory=list)
    faults: list[tuple[PeerId, type[RemoteProtocolError]]] = field(default_factory=list)

    def publish(self, body: bytes, topic: Topic = Topic.REQUEST) -> None:
        self.streams.publish(topic, body, self.key.sign)

    def on_connected(self, peer_id: PeerId, dialled: bool) -> None:
        self.streams.on_connected(peer_id)

    def on_disconnected(self, peer_id: PeerId) -> None:
        self.streams.rebalance()

    def on_fault(self, peer_id: PeerId, fault: RemoteProtocolError) -> None:
        self.faults.append((peer_id, type(fault)))
        self.book.punish(peer_id, fault.penalty, now_ms())
        self.streams.rebalance()


@asynccontextmanager
async def member(
    network: MemoryNetwork, index: int, admit: Callable[[Content], Admission] = lambda content: Admission.ADMIT
) -> AsyncIterator[Member]:
    key = PrivateKey(secret(index))
    seed = bytes([index])
    async with network.open_host(secret(index)) as host, trio.open_nursery() as nursery:
        gossip = Gossip(
            chain_id=1,
            settlement=bytes(20),
            author=key.public_key.format(),
            admit=lambda content, now_ms: admit(content),
            charge=lambda content, now_ms: None,
            heartbeat_ms=30_000,
            seed=seed,
        )
        heard: list[bytes] = []

        def deliver(content: Content) -> None:
            heard.append(content.body)

        book = PeerBook(host.peer_id, seed)
        streams = GossipStreams(host, gossip, Mesh(seed), book, now_ms=now_ms, deliver=deliver)
        made = Member(host, key, book, streams, heard)
        host.watch(made)
        await nursery.start(streams.run)
        yield made
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def members(count: int, delay_s: float = 0.01) -> AsyncIterator[tuple[MemoryNetwork, list[Member]]]:
    """So many members, none connected."""
    network = MemoryNetwork(delay_s)
    async with AsyncExitStack() as stack:
        yield network, [await stack.enter_async_context(member(network, index)) for index in range(count)]


async def test_two_connected_nodes_become_neighbours_of_each_other(autojump_clock: MockClock) -> None:
    async with members(2) as (_, (one, two)):
        await one.host.dial(two.host.addresses[0])
        await trio.sleep(1)
        assert one.streams.neighbours == {two.host.peer_id}
        assert two.streams.neighbours == {one.host.peer_id}
        one.publish(b"hello")
        await trio.sleep(0.5)
        assert (one.heard, two.heard) == ([], [b"hello"])


async def test_requests_cross_eight_hops_in_under_a_second(autojump_clock: MockClock) -> None:
    async with members(9) as (_, line):
        for one, two in itertools.pairwise(line):
            await one.host.dial(two.host.addresses[0])
        await trio.sleep(2)
        line[0].publish(b"far")
        await trio.sleep(1)
        assert [node.heard for node in line[1:]] == [[b"far"]] * 8


async def test_a_full_mesh_refuses_and_is_asked_again_after_a_minute(autojump_clock: MockClock) -> None:
    async with members(DEGREE_HIGH + 2) as (_, (full, late, *others)):
        for other in others:
            await other.host.dial(full.host.addresses[0])
        await trio.sleep(3)
        assert len(full.streams.neighbours) == DEGREE_HIGH
        asked: list[float] = []
        open_stream = late.host.open

        async def counted(peer_id: PeerId, protocol: str) -> FramedStream:
            asked.append(trio.current_time())
            return await open_stream(peer_id, protocol)

        late.host.open = counted  # type: ignore[method-assign]
        await late.host.dial(full.host.addresses[0])
        await trio.sleep(2.5 * REFUSED_MS / 1000)
        assert len(asked) == 3
        assert (late.streams.neighbours, len(full.streams.neighbours)) == (frozenset(), DEGREE_HIGH)


async def test_losing_the_connection_ends_the_neighbourhood_and_meeting_again_renews_it(
    autojump_clock: MockClock,
) -> None:
    async with members(2) as (_, (one, two)):
        await one.host.dial(two.host.addresses[0])
        await trio.sleep(1)
        await one.host.disconnect(two.host.peer_id)
        await trio.sleep(0.1)
        assert (one.streams.neighbours, two.streams.neighbours) == (frozenset(), frozenset())
        assert one.streams.gossip.neighbours == frozenset()
        one.publish(b"meanwhile")
        await one.host.dial(two.host.addresses[0])
        await trio.sleep(3)
        assert two.heard == [b"meanwhile"]


async def test_a_parted_network_catches_up_when_it_is_whole_again(autojump_clock: MockClock) -> None:
    async with members(4) as (_, (one, two, three, four)):
        await one.host.dial(two.host.addresses[0])
        await three.host.dial(four.host.addresses[0])
        await trio.sleep(1)
        one.publish(b"left")
        four.publish(b"right")
        await trio.sleep(5)
        await two.host.dial(three.host.addresses[0])
        await trio.sleep(5)
        assert [sorted(node.heard) for node in (one, two, three, four)] == [
            [b"right"],
            [b"left", b"right"],
            [b"left", b"right"],
            [b"left"],
        ]


async def test_a_peer_in_bad_standing_is_left_and_not_let_in(autojump_clock: MockClock) -> None:
    async with members(1) as (network, (one,)), network.open_host(secret(9)) as other:

        async def take(stream: FramedStream) -> None:
            while True:
                await stream.read_frame(2**20, within_s=1_000)

        other.handle(PROTOCOL, take)
        await one.host.dial(other.addresses[0])
        await trio.sleep(1)
        assert one.streams.neighbours == {other.peer_id}
        one.on_fault(other.peer_id, Malformed("for a test"))
        await trio.sleep(0.1)
        assert one.streams.neighbours == frozenset()
        stream = await other.open(one.host.peer_id, PROTOCOL)
        with pytest.raises(P2PError, match="broke"):
            await stream.read_frame(10, within_s=0.1)


async def test_a_neighbour_that_falls_silent_is_given_up(autojump_clock: MockClock) -> None:
    async with members(1) as (network, (one,)), network.open_host(secret(9)) as mute:

        async def say_nothing(stream: FramedStream) -> None:
            back = await mute.open(one.host.peer_id, PROTOCOL)
            while True:
                await stream.read_frame(2**20, within_s=1_000)
                assert back.peer_id == one.host.peer_id

        mute.handle(PROTOCOL, say_nothing)
        await one.host.dial(mute.addresses[0])
        await trio.sleep(1)
        assert one.streams.neighbours == {mute.peer_id}
        await trio.sleep(SILENT_S + 1)
        assert one.streams.neighbours == frozenset()


async def test_a_second_stream_of_a_neighbour_takes_the_place_of_the_first(autojump_clock: MockClock) -> None:
    async with members(1) as (network, (one,)), network.open_host(secret(9)) as other:
        answered = 0

        async def take(stream: FramedStream) -> None:
            nonlocal answered
            answered += 1
            while True:
                await stream.read_frame(2**20, within_s=1_000)

        other.handle(PROTOCOL, take)
        await other.dial(one.host.addresses[0])
        first = await other.open(one.host.peer_id, PROTOCOL)
        await trio.sleep(0.5)
        await other.open(one.host.peer_id, PROTOCOL)
        await trio.sleep(0.5)
        with pytest.raises(P2PError, match="broke"):
            await first.read_frame(10, within_s=1)
        assert one.streams.neighbours == {other.peer_id}
        assert answered == 1


async def test_who_refused_is_asked_again_at_once_over_a_new_connection(autojump_clock: MockClock) -> None:
    async with members(1) as (network, (one,)), network.open_host(secret(9)) as other:
        asked = 0

        async def refuse(stream: FramedStream) -> None:
            nonlocal asked
            asked += 1
            raise P2PError("not now")

        other.handle(PROTOCOL, refuse)
        for _ in range(3):
            await one.host.dial(other.addresses[0])
            await trio.sleep(5)
            await one.host.disconnect(other.peer_id)
        assert asked == 3


async def test_a_neighbour_that_ends_our_stream_is_not_listened_to_any_more(autojump_clock: MockClock) -> None:
    async with members(1) as (network, (one,)), network.open_host(secret(9)) as other:
        back: list[FramedStream] = []

        async def answer_and_end(stream: FramedStream) -> None:
            back.append(await other.open(one.host.peer_id, PROTOCOL))
            await trio.sleep(1)
            raise P2PError("enough")

        other.handle(PROTOCOL, answer_and_end)
        await one.host.dial(other.addresses[0])
        await trio.sleep(2)
        with pytest.raises(P2PError, match="broke"):
            await back[0].read_frame(10, within_s=1)


async def test_a_frame_of_an_author_who_becomes_known_is_delivered_later(autojump_clock: MockClock) -> None:
    known = False
    network = MemoryNetwork()
    async with (
        member(network, 0) as one,
        member(network, 1, lambda content: Admission.ADMIT if known else Admission.UNKNOWN) as other,
    ):
        await one.host.dial(other.host.addresses[0])
        await trio.sleep(1)
        one.publish(b"early")
        await trio.sleep(5)
        assert other.heard == []
        known = True
        await trio.sleep(5)
        assert other.heard == [b"early"]


async def test_a_neighbour_that_speaks_on_the_wrong_stream_is_at_fault(autojump_clock: MockClock) -> None:
    async with members(1) as (network, (one,)), network.open_host(secret(9)) as other:

        async def speak(stream: FramedStream) -> None:
            await stream.write_frame(b"hello", within_s=1)
            await trio.sleep_forever()

        other.handle(PROTOCOL, speak)
        await other.dial(one.host.addresses[0])
        await trio.sleep(1)
        assert one.faults == [(other.peer_id, TooLarge)]
        assert one.streams.neighbours == frozenset()


async def test_faults_in_batches_reach_the_book(autojump_clock: MockClock) -> None:
    async with members(1) as (network, (one,)), network.open_host(secret(9)) as other:

        async def take(stream: FramedStream) -> None:
            while True:
                await stream.read_frame(2**20, within_s=1_000)

        other.handle(PROTOCOL, take)
        await other.dial(one.host.addresses[0])
        stream = await other.open(one.host.peer_id, PROTOCOL)
        await stream.write_frame(b"junk", within_s=1)
        await trio.sleep(1)
        assert one.faults == [(other.peer_id, Malformed)]
        assert one.streams.neighbours == frozenset()


async def test_news_of_nodes_earn_a_neighbour_points_and_requests_earn_none(autojump_clock: MockClock) -> None:
    async with members(2) as (_, (one, two)):
        await one.host.dial(two.host.addresses[0])
        await trio.sleep(1)
        one.publish(b"request")
        await trio.sleep(1)
        assert two.heard == [b"request"]
        assert two.book.score(one.host.peer_id, now_ms()) == 0
        one.publish(b"news", Topic.HEARTBEAT)
        await trio.sleep(5)
        assert two.heard == [b"request", b"news"]
        assert two.book.score(one.host.peer_id, now_ms()) > 0


async def test_twenty_nodes_all_hear_every_beat(autojump_clock: MockClock) -> None:
    async with members(20, delay_s=0.002) as (_, nodes):
        for index, node in enumerate(nodes[1:], start=1):
            await node.host.dial(nodes[0].host.addresses[0])
            await node.host.dial(nodes[index // 2].host.addresses[0]) if index > 1 else None
        await trio.sleep(5)
        for index, node in enumerate(nodes):
            node.publish(b"beat%d" % index, Topic.HEARTBEAT)
        await trio.sleep(10)
        for index, node in enumerate(nodes):
            assert sorted(node.heard) == sorted(b"beat%d" % other for other in range(20) if other != index)
            assert node.faults == []


async def test_who_asks_again_and_again_to_be_a_neighbour_pays(autojump_clock: MockClock) -> None:
    async with members(1) as (network, (one,)), network.open_host(secret(9)) as other:
        await other.dial(one.host.addresses[0])
        for _ in range(int(INVITATIONS.burst) + 3):
            await other.open(one.host.peer_id, PROTOCOL)
            await trio.sleep(0.1)
        assert one.faults == [(other.peer_id, OverBudget)] * 3
