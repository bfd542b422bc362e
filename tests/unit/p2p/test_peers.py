"""Bootnodes, redialling and the cache on disk. Time is trio's own."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from p2p.dials import Dials
from p2p.peers import DIALLED_LOW, MOST_DIALLED, WANTED_CONNECTIONS, Dialler, PeerCache, learn_bootnodes
from protocol.errors import ConfigError, P2PError
from protocol.network.peers import PeerBook
from protocol.wire.ids import PeerId
from tests.fakes.network import MemoryHost, MemoryNetwork
from tests.fakes.nodes import secret

STRANGER = PeerId("16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi")


def now_ms() -> int:
    return 1_700_000_000_000 + round(1000 * trio.current_time())


def local(host: MemoryHost) -> Dials:
    """Dials on a local network, where every address is dialled."""
    return Dials(lambda address: host.dial(address), now_ms, private=True)


@asynccontextmanager
async def dialler(network: MemoryNetwork, **options: Any) -> AsyncIterator[tuple[MemoryHost, PeerBook, Dialler]]:
    async with network.open_host(secret(0)) as host, trio.open_nursery() as nursery:
        book = PeerBook(host.peer_id, b"seed")
        made = Dialler(host, book, now_ms, dials=local(host), **options)
        host.watch(made)
        nursery.start_soon(made.run)
        yield host, book, made
        nursery.cancel_scope.cancel()


async def test_known_peers_are_dialled_up_to_the_wanted_number(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(delay_s=0.01)
    async with dialler(network) as (host, book, _), trio.open_nursery() as nursery:
        for index in range(1, 2 * WANTED_CONNECTIONS):

            async def run(index: int) -> None:
                async with network.open_host(secret(index)) as other:
                    book.learn(other.peer_id, other.addresses)
                    await trio.sleep_forever()

            nursery.start_soon(run, index)
        await trio.sleep(5)
        assert len(host.connected()) == WANTED_CONNECTIONS
        nursery.cancel_scope.cancel()


async def test_a_peer_that_is_away_is_tried_again_until_it_is_back(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with dialler(network) as (host, book, _):
        async with network.open_host(secret(1)) as other:
            book.learn(other.peer_id, other.addresses, bootnode=True)
            await trio.sleep(2)
            assert host.connected() == {other.peer_id}
        await trio.sleep(3_600)
        failures = book.entries[other.peer_id].failures
        assert 15 <= failures <= 30, "about every five minutes in the end"
        async with network.open_host(secret(1)):
            await trio.sleep(400)
            assert host.connected() == {other.peer_id}


async def test_a_peer_is_not_dialled_again_while_it_is_being_dialled(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(delay_s=5)
    async with dialler(network) as (host, book, _), network.open_host(secret(1)) as other:
        dials = 0
        dial = host.dial

        async def counted(address: str) -> PeerId:
            nonlocal dials
            dials += 1
            return await dial(address)

        host.dial = counted  # type: ignore[method-assign]
        book.learn(other.peer_id, other.addresses)
        await trio.sleep(20)
        assert host.connected() == {other.peer_id}
        assert dials == 1


async def test_reaching_a_peer_tries_its_addresses_in_turn_and_keeps_the_one_that_worked(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    async with network.open_host(secret(0)) as host, network.open_host(secret(1)) as other:
        book = PeerBook(host.peer_id)
        made = Dialler(host, book, now_ms, dials=local(host))
        book.learn(other.peer_id, (f"/ip4/192.0.2.1/tcp/1/p2p/{other.peer_id}", other.addresses[0]))
        assert await made.reach(other.peer_id) == other.peer_id
        assert book.entries[other.peer_id].addresses[0] == other.addresses[0]


async def test_a_banned_peer_is_not_reached_even_if_it_is_connected(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with network.open_host(secret(0)) as host, network.open_host(secret(1)) as other:
        book = PeerBook(host.peer_id)
        await host.dial(other.addresses[0])
        book.punish(other.peer_id, 101, now_ms())
        with pytest.raises(P2PError, match="banned"):
            await Dialler(host, book, now_ms, dials=local(host)).reach(other.addresses[0])


def test_a_bootnode_that_is_no_address_is_said_with_the_form_it_should_have() -> None:
    with pytest.raises(ConfigError, match="no address of a node") as raised:
        learn_bootnodes(PeerBook(PeerId("own")), ["/ip4/127.0.0.1/tcp/1"])
    assert "/p2p/ID" in raised.value.hint


def test_bootnodes_are_never_forgotten() -> None:
    book = PeerBook(PeerId("own"))
    learn_bootnodes(book, [f"/ip4/192.0.2.1/tcp/1/p2p/{STRANGER}"])
    assert book.entries[STRANGER].bootnode


def known_book() -> PeerBook:
    book = PeerBook(PeerId("own"))
    book.learn(STRANGER, (f"/ip4/192.0.2.1/tcp/1/p2p/{STRANGER}",))
    book.on_connected(STRANGER, now_ms())
    return book


async def test_the_cache_is_saved_every_minute_and_at_the_end(tmp_path: Path, autojump_clock: MockClock) -> None:
    path = tmp_path / "deep" / "peers.json"
    book = known_book()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(PeerCache(path, book, now_ms).run)
        await trio.testing.wait_all_tasks_blocked()
        assert not path.exists()
        nursery.cancel_scope.cancel()
    again = PeerBook(PeerId("own"))
    assert await PeerCache(path, again, now_ms).load() == 1
    assert again.entries[STRANGER].addresses == book.entries[STRANGER].addresses
    assert [entry.name for entry in path.parent.iterdir()] == ["peers.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"peers": 5}'])
async def test_a_spoilt_cache_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "peers.json"
    path.write_bytes(content)
    book = PeerBook(PeerId("own"))
    assert await PeerCache(path, book, now_ms).load() == 0
    assert book.entries == {}


async def test_no_cache_is_an_empty_one_and_nothing_to_warn_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert await PeerCache(tmp_path / "peers.json", PeerBook(PeerId("own")), now_ms).load() == 0
    assert caplog.records == []


async def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    await PeerCache(tmp_path / "file" / "peers.json", known_book(), now_ms).save()
    assert json.dumps(known_book().save())


# --- against being surrounded ---------------------------------------------------------------------------------------
@asynccontextmanager
async def crowd(network: MemoryNetwork, first: int, count: int) -> AsyncIterator[list[MemoryHost]]:
    """So many hosts that do nothing."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(network.open_host(secret(index))) for index in range(first, first + count)
        ]


async def test_whoever_comes_to_us_we_dial_four_of_our_own(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with (
        crowd(network, 10, 12) as attackers,
        crowd(network, 30, 6) as others,
        dialler(network) as (host, book, _),
    ):
        for attacker in attackers:
            await attacker.dial(host.addresses[0])
        await trio.sleep(3)
        for other in others:
            book.learn(other.peer_id, other.addresses)
        await trio.sleep(5)
        ours = {other.peer_id for other in others} & host.connected()
        assert len(ours) == DIALLED_LOW
        assert set(book.anchors) <= ours
        assert len(book.anchors) == 2


async def test_without_enough_neighbours_more_peers_are_dialled(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    short = True
    async with crowd(network, 10, 60) as others, dialler(network, is_short=lambda: short) as (host, book, _):
        for other in others:
            book.learn(other.peer_id, other.addresses)
        await trio.sleep(10)
        assert WANTED_CONNECTIONS < len(host.connected()) < MOST_DIALLED
        await trio.sleep(100)
        assert len(host.connected()) == MOST_DIALLED


async def test_drawn_peers_are_dialled_though_there_are_connections_enough(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    drawn: list[PeerId] = []
    async with crowd(network, 10, 20) as others, dialler(network, staked=lambda: drawn) as (host, book, _):
        for other in others:
            book.learn(other.peer_id, other.addresses)
        await trio.sleep(10)
        drawn += [other.peer_id for other in others if other.peer_id not in host.connected()][:2]
        book.punish(drawn[1], 1_000, now_ms())
        await trio.sleep(5)
        assert drawn[0] in host.connected()
        assert drawn[1] not in host.connected()


@pytest.mark.parametrize("alive", range(3))
async def test_of_three_bootnodes_any_two_may_be_dead(autojump_clock: MockClock, alive: int) -> None:
    network = MemoryNetwork()
    async with crowd(network, 10, 3) as boots, dialler(network) as (host, book, _):
        learn_bootnodes(book, [boot.addresses[0] for boot in boots])
        dial = host.dial

        async def dial_or_hang(address: str) -> PeerId:
            """A dead machine answers nothing at all."""
            if address == boots[alive].addresses[0]:
                return await dial(address)
            await trio.sleep(10)
            raise P2PError("no answer in 10 s", transient=True)

        host.dial = dial_or_hang  # type: ignore[method-assign]
        await trio.sleep(2)
        assert host.connected() == {boots[alive].peer_id}
