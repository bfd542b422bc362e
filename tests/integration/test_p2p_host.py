"""The libp2p host as it is used: identity, streams, addresses, and an end that leaves nothing behind."""

import contextlib
import resource
import socket

import pytest
import trio
import trio.testing
from coincurve import PrivateKey
from libp2p.peer.id import ID

from p2p.host import open_host, raise_file_limit
from p2p.streams import FramedStream, StreamEnded
from p2p.transport import split_address
from protocol.errors import ConfigError, P2PError, RemoteProtocolError, TooLarge
from protocol.wire.ids import PeerId, peer_id_of
from tests.fakes.loopback import ANY_PORT, open_hosts
from tests.fakes.nodes import secret

pytestmark = pytest.mark.libp2p

ECHO = "/test/echo/1"


class Notices:
    """Keeps what a host tells its watchers; `arrived` is set anew for each."""

    def __init__(self) -> None:
        self.connected: list[tuple[PeerId, bool]] = []
        self.faults: list[tuple[PeerId, RemoteProtocolError]] = []
        self.disconnected: list[PeerId] = []
        self._arrived = trio.Event()

    def on_connected(self, peer_id: PeerId, dialled: bool) -> None:
        self.connected.append((peer_id, dialled))
        self._tell()

    def on_disconnected(self, peer_id: PeerId) -> None:
        self.disconnected.append(peer_id)
        self._tell()

    def on_fault(self, peer_id: PeerId, fault: RemoteProtocolError) -> None:
        self.faults.append((peer_id, fault))
        self._tell()

    async def next(self) -> None:
        await self._arrived.wait()

    def _tell(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()


async def echo(stream: FramedStream) -> None:
    while True:
        try:
            body = await stream.read_frame(1000, within_s=5)
        except StreamEnded:
            return
        await stream.write_frame(body, within_s=5)


async def test_the_operator_key_is_the_identity() -> None:
    async with open_host(secret(0), ANY_PORT) as host:
        assert host.peer_id == peer_id_of(PrivateKey(secret(0)).public_key.format())
        (address,) = host.addresses
        assert split_address(address)[0] == host.peer_id


async def test_frames_travel_both_ways_and_both_sides_learn_of_the_connection() -> None:
    with trio.fail_after(10):
        async with open_hosts(2) as (one, two):
            notices = Notices()
            one.watch(notices)
            one.handle(ECHO, echo)
            assert await two.dial(one.addresses[0]) == one.peer_id
            assert await two.dial(one.addresses[0]) == one.peer_id
            stream = await two.open(one.peer_id, ECHO)
            for body in (b"", b"a", b"b" * 1000):
                await stream.write_frame(body, within_s=5)
                assert await stream.read_frame(1000, within_s=5) == body
            await stream.close()
            assert notices.connected == [(two.peer_id, False)]
            assert one.connected() == {two.peer_id}
            await two.disconnect(one.peer_id)
            while not notices.disconnected:
                await notices.next()
            assert one.connected() == frozenset()


async def test_a_fault_of_the_peer_resets_its_stream_and_is_reported() -> None:
    with trio.fail_after(10):
        async with open_hosts(2) as (one, two):
            notices = Notices()
            one.watch(notices)
            one.handle(ECHO, echo)
            await two.dial(one.addresses[0])
            stream = await two.open(one.peer_id, ECHO)
            await stream.write_frame(b"c" * 1001, within_s=5)
            with pytest.raises(P2PError):
                await stream.read_frame(1000, within_s=5)
            ((peer_id, fault),) = notices.faults
            assert peer_id == two.peer_id
            assert isinstance(fault, TooLarge)


async def test_announced_addresses_replace_the_one_listened_on() -> None:
    async with open_host(secret(0), ANY_PORT, announce=["/dns4/node.example/tcp/4001"]) as host:
        assert host.addresses == (f"/dns4/node.example/tcp/4001/p2p/{host.peer_id}",)


async def test_an_announced_address_that_is_none_is_the_operators_mistake() -> None:
    with pytest.raises(ConfigError, match=r"announced address .* is none") as raised:
        async with open_host(secret(0), ANY_PORT, announce=["/ip4/192.0.2.1"]):
            pass
    assert "/tcp/PORT" in raised.value.hint


async def test_a_host_on_every_interface_names_one_that_can_be_dialled() -> None:
    with trio.fail_after(10):
        async with open_host(secret(0), "/ip4/0.0.0.0/tcp/0") as host, open_host(secret(1), ANY_PORT) as other:
            (address,) = host.addresses
            assert "/0.0.0.0/" not in address
            assert await other.dial(address) == host.peer_id


async def test_a_taken_port_is_one_clear_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        with pytest.raises(P2PError, match=f"cannot listen on {address}: Address already in use"):
            async with open_host(secret(0), address):
                pass


async def test_two_hosts_cannot_share_a_port() -> None:
    async with open_host(secret(0), ANY_PORT) as first:
        address = split_address(first.addresses[0])[1]
        with pytest.raises(P2PError, match="Address already in use"):
            async with open_host(secret(1), address):
                pass


async def test_no_other_process_can_share_the_port() -> None:
    async with open_host(secret(0), ANY_PORT) as host:
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="Address already in use"):
                thief.bind(("127.0.0.1", int(host.addresses[0].split("/")[4])))


async def test_nobody_there_is_a_transient_error() -> None:
    with trio.fail_after(10):
        async with open_hosts(2) as (one, two):
            with socket.socket() as closed:
                closed.bind(("127.0.0.1", 0))
                address = f"/ip4/127.0.0.1/tcp/{closed.getsockname()[1]}/p2p/{two.peer_id}"
                with pytest.raises(P2PError, match="no connection") as raised:
                    await one.dial(address)
            assert raised.value.transient
            # The library would refuse the same peer for a minute now.
            assert await one.dial(two.addresses[0]) == two.peer_id


async def test_a_dead_connection_is_given_up_so_that_the_peer_can_be_dialled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("p2p.host.OPEN_STREAM_S", 0.2)
    with trio.fail_after(10):
        async with open_hosts(2) as (one, two):
            two.handle(ECHO, echo)
            await one.dial(two.addresses[0])
            (connection,) = two._swarm.get_connections(ID.from_base58(one.peer_id))
            # As if the cable were pulled: the connection stands, and nothing is heard any more.
            deaf = trio.Event()
            connection.muxed_conn.secured_conn.read = lambda n=None: deaf.wait()  # type: ignore[attr-defined]
            # Bytes on their way may still be read.
            with contextlib.suppress(P2PError):
                await one.open(two.peer_id, ECHO)
            with pytest.raises(P2PError) as raised:
                await one.open(two.peer_id, ECHO)
            assert raised.value.transient
            assert one.connected() == frozenset()
            await one.dial(two.addresses[0])
            stream = await one.open(two.peer_id, ECHO)
            await stream.write_frame(b"again", within_s=1)
            assert await stream.read_frame(10, within_s=1) == b"again"


async def test_two_that_dial_each_other_at_once_are_told_of_one_connection_and_of_its_end() -> None:
    with trio.fail_after(10):
        async with open_hosts(2) as (one, two):
            notices = Notices()
            one.watch(notices)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.dial, two.addresses[0])
                nursery.start_soon(two.dial, one.addresses[0])
            await trio.testing.wait_all_tasks_blocked()
            connections = one._swarm.get_connections(ID.from_base58(two.peer_id))
            assert len(connections) == 2
            assert [peer_id for peer_id, _ in notices.connected] == [two.peer_id]
            await connections[0].close()
            assert notices.disconnected == []
            assert one.connected() == {two.peer_id}
            await one.disconnect(two.peer_id)
            assert notices.disconnected == [two.peer_id]


async def test_a_peer_that_reads_nothing_cannot_hold_us_up() -> None:
    with trio.fail_after(10):
        async with open_hosts(2) as (one, two):
            notices = Notices()
            one.watch(notices)
            await one.dial(two.addresses[0])
            (connection,) = one._swarm.get_connections(ID.from_base58(two.peer_id))
            muxer = connection.muxed_conn
            async with muxer._write_lock:  # type: ignore[attr-defined]
                before = trio.current_time()
                await one.disconnect(two.peer_id)
                assert trio.current_time() - before < 3
                assert one.connected() == frozenset()
                assert notices.disconnected == [two.peer_id]
                assert one._swarm.get_connections(ID.from_base58(two.peer_id)) == []


async def test_a_restarted_host_has_its_port_again_at_once() -> None:
    with trio.fail_after(10):
        async with open_host(secret(1), ANY_PORT) as other:
            async with open_host(secret(0), ANY_PORT) as host:
                address = split_address(host.addresses[0])[1]
                await other.dial(host.addresses[0])
            async with open_host(secret(0), address) as again:
                assert await other.dial(again.addresses[0]) == again.peer_id


async def test_a_protocol_that_is_not_spoken_leaves_the_connection_alone() -> None:
    with trio.fail_after(10):
        async with open_hosts(2) as (one, two):
            await one.dial(two.addresses[0])
            for protocol in ("/test/none/1", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"):
                with pytest.raises(P2PError, match="did not open"):
                    await one.open(two.peer_id, protocol)
            assert one.connected() == {two.peer_id}


async def test_another_peer_at_the_address_is_refused() -> None:
    with trio.fail_after(10):
        async with open_hosts(2) as (one, two):
            wrong = peer_id_of(PrivateKey(secret(7)).public_key.format())
            with pytest.raises(P2PError, match="no connection"):
                await one.dial(f"{split_address(two.addresses[0])[1]}/p2p/{wrong}")
            assert one.connected() == frozenset()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/127.0.0.1/udp/1/quic-v1/p2p/16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi",
        "/ip4/127.0.0.1/tcp/1/ws/p2p/16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi",
        "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
        "/p2p/16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi",
    ],
)
def test_only_tcp_addresses_of_our_kind_of_key_are_addresses(address: str) -> None:
    with pytest.raises(P2PError, match="not the address of a node"):
        split_address(address)


async def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_host(secret(0), ANY_PORT):
            raise KeyError("mine")


async def test_cancelling_a_meshed_host_leaves_no_task_and_no_socket() -> None:
    """Sockets left open become ResourceWarnings, which are errors here."""
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            addresses: list[str] = []
            everyone_dialled = trio.Event()
            done = 0

            async def run(index: int) -> None:
                nonlocal done
                async with open_host(secret(index), ANY_PORT) as host:
                    host.handle(ECHO, echo)
                    known = tuple(addresses)
                    addresses.append(host.addresses[0])
                    for address in known:
                        peer_id = await host.dial(address)
                        stream = await host.open(peer_id, ECHO)
                        await stream.write_frame(b"hello", within_s=5)
                    done += 1
                    if done == 5:
                        everyone_dialled.set()
                    await trio.sleep_forever()

            for index in range(5):
                nursery.start_soon(run, index)
            await everyone_dialled.wait()
            nursery.cancel_scope.cancel()
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_peer_that_comes_back_while_it_is_being_closed_is_told_of_as_a_new_connection() -> None:
    with trio.fail_after(10):
        async with open_hosts(2) as (one, two), trio.open_nursery() as nursery:
            notices = Notices()
            one.watch(notices)
            await two.dial(one.addresses[0])
            (old,) = one._swarm.get_connections(ID.from_base58(two.peer_id))
            nursery.start_soon(one.disconnect, two.peer_id)
            while not old.is_closed or two.connected():
                await trio.testing.wait_all_tasks_blocked()
            assert notices.disconnected == [], "closing is not over"
            await two.dial(one.addresses[0])
            await trio.testing.wait_all_tasks_blocked(0.3)
            assert [peer_id for peer_id, _ in notices.connected] == [two.peer_id] * 2
            assert notices.disconnected == [two.peer_id]
            assert one.connected() == {two.peer_id}


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "warns"),
    [
        (1_024, 20_000, 8_192, False),
        (1_024, 4_096, 4_096, True),
        (10_000, 20_000, None, False),
        (256, -1, 8_192, False),
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    soft: int,
    hard: int,
    raised: int | None,
    warns: bool,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: asked.append(limits))
    raise_file_limit()
    assert asked == ([] if raised is None else [(raised, hard)])
    assert bool(caplog.records) == warns
