"""Floods of requests by keys that cost nothing, against the shipped gate and adapters. Time is trio's own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trio
from coincurve import PrivateKey
from trio.testing import MockClock

from chain.tx.wallet import Key
from node.daemon.gossip_admission import GossipAdmission
from p2p.gossip import PROTOCOL
from p2p.streams import MAX_GOSSIP_BYTES, FramedStream
from protocol.errors import P2PError
from protocol.events import AccountSeen, RequestReceived
from protocol.network.frames import Content, Frames, Signed, Topic, encode_batch, sign_content
from protocol.network.gossip import REQUESTS
from protocol.network.neighbour import STRANGERS
from protocol.params import VCN
from protocol.roles.identity import Identity, Settings
from protocol.roles.machine import Machine
from protocol.stages.assignment import Account
from protocol.stages.request import SignedRequest
from protocol.wire import codec
from protocol.wire.ids import PeerId, TimestampMs, Wei, address_bytes, address_of, peer_id_of
from tests.fakes.network import MemoryNetwork
from tests.fakes.nodes import SETTLEMENT, Node, request, run_node, secret
from tests.simulation.scene import DOMAIN, RULES

CLIENT = Key(b"\7" * 32)
CROOK = Key(b"\x08" * 32)
REQUESTER = PrivateKey(secret(500))
FRAMES = 2_000
AT_ONCE = 100
LOOK_S = 2.0


def now_ms() -> int:
    return 1_700_000_000_000 + round(1000 * trio.current_time())


def free_keys() -> Iterator[PrivateKey]:
    """Keys that no node has seen, for the asking."""
    return (PrivateKey(secret(10_000 + number)) for number in range(FRAMES))


def peer_of(key: PrivateKey) -> PeerId:
    return peer_id_of(key.public_key.format())


def asked(author: PrivateKey, nonce: int, client: Key = CLIENT, signer: Key = CLIENT) -> SignedRequest:
    """A request that its signer has signed and that names the peer of `author`."""
    made = replace(
        request(nonce).request,
        client=client.address,
        signer=signer.address,
        requester_peer=f"/ip4/192.0.2.1/tcp/4701/p2p/{peer_of(author)}",
    )
    return SignedRequest(made, signer.sign(made, DOMAIN))


def framed(author: PrivateKey, signed: SignedRequest) -> Signed:
    """A frame of a request as its author makes it."""
    content = Content(
        chain_id=31337,
        settlement=address_bytes(SETTLEMENT),
        topic=Topic.REQUEST,
        author=author.public_key.format(),
        seq=now_ms(),
        ts_ms=now_ms(),
        body=codec.encode(signed),
    )
    return sign_content(content, author.sign)


async def listen(stream: FramedStream) -> None:
    """Take whatever a neighbour sends."""
    while True:
        await stream.read_frame(MAX_GOSSIP_BYTES, within_s=60)


@dataclass
class Scene:
    """A victim that strangers reach, and another node behind it that hears only what the victim passes on."""

    network: MemoryNetwork
    victim: Node
    behind: Node
    attackers: int = 0

    def heard(self) -> tuple[int, int]:
        """How many requests came through to the loops of both nodes."""
        nodes = (self.victim, self.behind)
        return tuple(sum(isinstance(event, RequestReceived) for event in node.inbox.events) for node in nodes)  # type: ignore[return-value]

    async def send(self, *frames: Signed) -> None:
        """Send the victim frames, a hundred at a time under a new name each."""
        for at in range(0, len(frames), AT_ONCE):
            self.attackers += 1
            async with self.network.open_host(secret(1_000 + self.attackers)) as host:
                host.handle(PROTOCOL, listen)
                try:
                    await host.dial(self.victim.address)
                    stream = await host.open(self.victim.transport.peer_id, PROTOCOL)
                    await stream.write_frame(encode_batch(Frames(frames[at : at + AT_ONCE])), within_s=5)
                except P2PError:
                    continue
                await trio.sleep(0.1)
        await trio.sleep(LOOK_S)


def gate(index: int) -> GossipAdmission:
    """The shipped gate of a node that knows of two clients: an honest one, and one with the smallest deposit."""
    key = PrivateKey(secret(index))
    identity = Identity(address_of(key.public_key.format()), peer_of(key), DOMAIN, ())
    machine = Machine(identity, RULES, Settings(bytes(32)))
    for client, amount in ((CLIENT, 1_000 * VCN), (CROOK, RULES.min_deposit)):
        machine.handle(AccountSeen(Account(client.address, Wei(amount))), TimestampMs(0))
    return GossipAdmission(machine)


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    network = MemoryNetwork()
    async with (
        network.open_host(secret(1)) as one,
        network.open_host(secret(2)) as two,
        run_node(one, 1, folder, view=gate(1), clock_ms=now_ms) as victim,
        run_node(two, 2, folder, view=gate(2), clock_ms=now_ms, bootnodes=(victim.address,)) as behind,
    ):
        await trio.sleep(5)
        assert behind.adapter.neighbours == {one.peer_id}
        yield Scene(network, victim, behind)


async def test_the_requesters_own_frame_is_passed_on(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.send(framed(REQUESTER, asked(REQUESTER, 1)))
        assert at.heard() == (1, 1)


async def test_one_request_under_two_thousand_keys_reaches_nobody(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        seen = asked(REQUESTER, 1)
        await at.send(*(framed(author, seen) for author in free_keys()))
        assert at.heard() == (0, 0)
        # The request itself still comes through.
        await at.send(framed(REQUESTER, seen))
        assert at.heard() == (1, 1)


async def test_requests_by_invented_signers_in_a_clients_name_reach_nobody(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with scene(tmp_path) as at:
        await at.send(*(framed(key, asked(key, 1, signer=Key(key.secret))) for key in free_keys()))
        assert at.heard() == (0, 0)
        waiting = len(at.victim.adapter._gossip.gossip._unknown)
        assert waiting <= at.attackers * STRANGERS.burst


async def test_a_deposit_buys_its_own_budget_under_any_number_of_keys(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with scene(tmp_path) as at:
        started = trio.current_time()
        await at.send(*(framed(key, asked(key, nonce, CROOK, CROOK)) for nonce, key in enumerate(free_keys())))
        budget = REQUESTS.burst + REQUESTS.amount * (trio.current_time() - started)
        assert 0 < at.heard()[1] <= at.heard()[0] <= budget
        assert all(entry.points <= 0 for entry in at.victim.adapter.book.entries.values())
        # It is the budget of that client alone.
        before = at.heard()
        await at.send(framed(REQUESTER, asked(REQUESTER, 1)))
        assert at.heard() == (before[0] + 1, before[1] + 1)
