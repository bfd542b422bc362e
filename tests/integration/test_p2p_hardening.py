"""Every repair of the library against the attack that it is there for.

Attacker, victim and an honest peer are hosts in one process. The attacker speaks raw yamux on a real connection.
"""

import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.stream_muxer.yamux import yamux
from multiaddr import Multiaddr

from p2p import connection_gate, hardening
from p2p.host import Host
from p2p.streams import FramedStream, StreamEnded
from p2p.transport import split_address
from protocol.errors import P2PError, RemoteProtocolError
from protocol.wire.ids import PeerId
from tests.fakes.loopback import open_hosts

pytestmark = pytest.mark.libp2p

ECHO = "/test/echo/1"
STUCK = "/test/stuck/1"
FRAME = 60_000


class Losses:
    """Lets a test wait until a host has lost a peer."""

    def __init__(self) -> None:
        self._lost: dict[PeerId, trio.Event] = {}

    def of(self, peer_id: PeerId) -> trio.Event:
        return self._lost.setdefault(peer_id, trio.Event())

    def on_connected(self, peer_id: PeerId, dialled: bool) -> None:
        return None

    def on_disconnected(self, peer_id: PeerId) -> None:
        self.of(peer_id).set()

    def on_fault(self, peer_id: PeerId, fault: RemoteProtocolError) -> None:
        return None


async def echo(stream: FramedStream) -> None:
    while True:
        try:
            body = await stream.read_frame(2**20, within_s=5)
        except StreamEnded:
            return
        await stream.write_frame(body, within_s=5)


@dataclass
class Scene:
    """An attacker connected to a victim, with the raw multiplexer of both ends."""

    victim: Host
    attacker: Host
    honest: Host
    losses: Losses
    wire: yamux.Yamux
    victim_end: yamux.Yamux

    async def write(self, kind: int, flags: int, stream_id: int, length: int, body: bytes = b"") -> None:
        """Send one yamux frame, whatever the rules say."""
        await self.wire._write_frame(struct.pack("!BBHII", 0, kind, flags, stream_id, length) + body)

    async def flood(self, frame: bytes, count: int) -> None:
        """Send a frame up to `count` times, until the connection is gone."""
        for _ in range(count):
            if self.wire.is_closed:
                return
            try:
                await self.wire._write_frame(frame)
            except Exception:
                return

    async def stuck_stream(self) -> int:
        """A stream that the victim holds open and never reads; returns its id."""
        stream = await self.attacker._host.new_stream(ID.from_base58(self.victim.peer_id), [STUCK])  # type: ignore[list-item]
        return int(stream.muxed_stream.stream_id)  # type: ignore[attr-defined]

    async def require_service(self) -> None:
        """The victim still answers an honest peer, at once."""
        with trio.fail_after(2):
            await self.honest.dial(self.victim.addresses[0])
            stream = await self.honest.open(self.victim.peer_id, ECHO)
            await stream.write_frame(b"still there?", within_s=1)
            assert await stream.read_frame(100, within_s=1) == b"still there?"
            await stream.close()


def muxer(host: Host, peer_id: PeerId) -> yamux.Yamux:
    (connection,) = host._swarm.get_connections(ID.from_base58(peer_id))
    assert isinstance(connection.muxed_conn, yamux.Yamux)
    return connection.muxed_conn


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    with trio.fail_after(20):
        async with open_hosts(3) as (victim, attacker, honest):

            async def stuck(stream: FramedStream) -> None:
                await trio.sleep_forever()

            losses = Losses()
            victim.watch(losses)
            victim.handle(ECHO, echo)
            victim.handle(STUCK, stuck)
            await attacker.dial(victim.addresses[0])
            await trio.testing.wait_all_tasks_blocked()
            yield Scene(
                victim,
                attacker,
                honest,
                losses,
                muxer(attacker, victim.peer_id),
                muxer(victim, attacker.peer_id),
            )


async def test_data_beyond_the_receive_window_ends_the_connection() -> None:
    async with scene() as at:
        stream_id = await at.stuck_stream()
        most = 0
        for _ in range(200):
            if at.victim_end.is_closed:
                break
            await at.flood(struct.pack("!BBHII", 0, 0, 0, stream_id, FRAME) + bytes(FRAME), 1)
            most = max(most, sum(map(len, at.victim_end.stream_buffers.values())))
        await at.losses.of(at.attacker.peer_id).wait()
        assert most <= yamux.DEFAULT_WINDOW_SIZE + FRAME
        await at.require_service()


async def test_an_announced_giant_frame_ends_the_connection_before_it_is_read() -> None:
    async with scene() as at:
        stream_id = await at.stuck_stream()
        await at.write(yamux.TYPE_DATA, 0, stream_id, 4 * 1024 * 1024)
        await at.losses.of(at.attacker.peer_id).wait()
        await at.require_service()


async def test_a_flood_of_streams_ends_the_connection() -> None:
    async with scene() as at:
        for index in range(2_000):
            await at.flood(struct.pack("!BBHII", 0, yamux.TYPE_WINDOW_UPDATE, yamux.FLAG_SYN, 1001 + 2 * index, 0), 1)
            assert len(at.victim_end.streams) <= hardening.MAX_INBOUND_STREAMS
        await at.losses.of(at.attacker.peer_id).wait()
        await at.require_service()


async def test_the_streams_that_are_allowed_all_work() -> None:
    async with scene() as at:
        for _ in range(hardening.MAX_INBOUND_STREAMS - 1):
            await at.stuck_stream()
        stream = await at.attacker.open(at.victim.peer_id, ECHO)
        await stream.write_frame(b"last one", within_s=1)
        assert await stream.read_frame(100, within_s=1) == b"last one"


async def test_small_reads_do_not_cost_an_update_each(monkeypatch: pytest.MonkeyPatch) -> None:
    updates = 0
    send = yamux.YamuxStream.send_window_update

    async def counted(self: yamux.YamuxStream, increment: int, skip_lock: bool = False) -> None:
        nonlocal updates
        updates += 1
        await send(self, increment, skip_lock)

    monkeypatch.setattr(yamux.YamuxStream, "send_window_update", counted)
    async with scene() as at:
        stream = await at.attacker.open(at.victim.peer_id, ECHO)
        for _ in range(1_000):
            await stream.write_frame(bytes(1_000), within_s=5)
            await stream.read_frame(1_000, within_s=5)
        # Two megabytes and two windows of a quarter megabyte each, given back in halves.
        assert updates <= 20


async def test_bytes_of_a_refused_stream_are_dropped_at_once() -> None:
    async with scene() as at:
        refused = trio.Event()

        async def refuse(stream: FramedStream) -> None:
            await refused.wait()
            raise P2PError("no")

        at.victim.handle("/test/refuse/1", refuse)
        stream = await at.attacker.open(at.victim.peer_id, "/test/refuse/1")
        await stream.write_frame(bytes(100_000), within_s=5)
        while sum(map(len, at.victim_end.stream_buffers.values())) < 100_000:
            await trio.testing.wait_all_tasks_blocked()
        refused.set()
        with pytest.raises(P2PError):
            await stream.read_frame(10, within_s=5)
        assert sum(map(len, at.victim_end.stream_buffers.values())) == 0


async def test_a_peer_that_stops_reading_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardening, "WRITE_DEADLINE_S", 0.3)
    async with scene() as at:
        opened = trio.Event()

        async def pour(stream: FramedStream) -> None:
            opened.set()
            for _ in range(100):
                await stream.write_frame(bytes(2**20), within_s=10)

        at.victim.handle("/test/pour/1", pour)
        stream = await at.attacker._host.new_stream(ID.from_base58(at.victim.peer_id), ["/test/pour/1"])  # type: ignore[list-item]
        # More credit than the sockets hold, and then not one byte is taken from them.
        await at.write(yamux.TYPE_WINDOW_UPDATE, 0, stream.muxed_stream.stream_id, 2**30)  # type: ignore[attr-defined]
        await opened.wait()
        deaf = trio.Event()
        at.wire.secured_conn.read = lambda n=None: deaf.wait()  # type: ignore
        await at.losses.of(at.attacker.peer_id).wait()
        await at.require_service()


async def test_a_write_cancelled_inside_a_record_leaves_the_connection_whole() -> None:
    async with scene() as at:
        stream_id = await at.stuck_stream()
        # Credit for far more than the sockets hold, so that the write below is cancelled in the middle of a record.
        at.wire.streams[stream_id].send_window = at.victim_end.streams[stream_id].recv_window = 2**30
        reading = trio.Event()
        read = at.victim_end.secured_conn.read

        async def read_later(n: int | None = None) -> bytes:
            await reading.wait()
            return await read(n)

        at.victim_end.secured_conn.read = read_later  # type: ignore[method-assign]
        with trio.move_on_after(0.5) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(at.wire.streams[stream_id].write, bytes(64 * 2**20))
                await trio.testing.wait_all_tasks_blocked(0.1)
                nursery.cancel_scope.cancel()
                reading.set()
        assert not scope.cancelled_caught
        stream = await at.attacker.open(at.victim.peer_id, ECHO)
        await stream.write_frame(b"whole", within_s=1)
        assert await stream.read_frame(100, within_s=1) == b"whole"


async def test_a_connection_that_is_over_holds_no_task_and_no_slot() -> None:
    async with scene() as at:
        swarm = at.victim._swarm
        assert isinstance(swarm, Swarm)
        await at.attacker.disconnect(at.victim.peer_id)
        await at.losses.of(at.attacker.peer_id).wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        tasks = trio.lowlevel.current_statistics().tasks_living
        for _ in range(5):
            at.losses._lost.clear()
            await at.attacker.dial(at.victim.addresses[0])
            await at.attacker.disconnect(at.victim.peer_id)
            await at.losses.of(at.attacker.peer_id).wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert swarm._inbound_limiter.borrowed_tokens == 0
        assert trio.lowlevel.current_statistics().tasks_living <= tasks


async def test_the_library_dials_nobody_by_itself() -> None:
    async with scene() as at:
        await at.victim.dial(at.honest.addresses[0])
        swarm = at.victim._swarm
        swarm.peerstore.add_addrs(
            ID.from_base58(at.honest.peer_id), [Multiaddr(split_address(at.honest.addresses[0])[1])], 1_000
        )
        await at.victim.disconnect(at.honest.peer_id)
        await at.losses.of(at.honest.peer_id).wait()
        swarm.auto_connector.clear_all_cooldowns()
        await swarm.auto_connector.maybe_connect()
        assert at.honest.peer_id not in at.victim.connected()


@pytest.mark.parametrize(
    "command",
    [
        b"\x05\xff\xfe\xfd\xfc\n",
        b"\x00",
        b"\x01\n",
        b"\x03abc",
        b"\xff\xff\xff\xff\x0f" + bytes(100_000),
        b"\xff" * 200,
    ],
)
async def test_no_bytes_in_place_of_a_protocol_name_end_the_node(command: bytes) -> None:
    async with scene() as at:
        hello = b"\x13/multistream/1.0.0\n"
        for body in (command, hello + command):
            await at.write(yamux.TYPE_WINDOW_UPDATE, yamux.FLAG_SYN, 2001 + len(body), 0)
            await at.write(yamux.TYPE_DATA, 0, 2001 + len(body), len(body), body)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert sum(map(len, at.victim_end.stream_buffers.values())) == 0
        await at.require_service()


@pytest.mark.parametrize("flags", [yamux.FLAG_SYN, yamux.FLAG_ACK, 0])
async def test_a_flood_of_pings_ends_the_connection(flags: int) -> None:
    async with scene() as at:
        await at.flood(struct.pack("!BBHII", 0, yamux.TYPE_PING, flags, 0, 1), 2_000)
        await at.losses.of(at.attacker.peer_id).wait()
        await at.require_service()


async def test_a_flood_of_credit_for_no_stream_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardening, "MAX_EMPTY_FRAMES", 100)
    monkeypatch.setattr(hardening, "EMPTY_FRAMES_PER_S", 50)
    async with scene() as at:
        await at.flood(struct.pack("!BBHII", 0, yamux.TYPE_WINDOW_UPDATE, 0, 77, 1), 2_000)
        await at.losses.of(at.attacker.peer_id).wait()
        await at.require_service()


async def test_pings_within_their_budget_are_answered() -> None:
    async with scene() as at:
        for index in range(hardening.MAX_PINGS // 2):
            at.wire._ping_event = trio.Event()
            await at.write(yamux.TYPE_PING, yamux.FLAG_SYN, 0, index)
            await at.wire._ping_event.wait()
        await at.require_service()


async def half_open(port: int, count: int, source: str) -> list[trio.SocketStream]:
    """Connections that begin a handshake and then say nothing more."""
    held = []
    for _ in range(count):
        stream = await trio.open_tcp_stream("127.0.0.1", port, local_address=source)
        await stream.send_all(b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff")
        held.append(stream)
    return held


@pytest.mark.parametrize("sources", [["127.0.0.2"], ["127.0.0.1"], [f"127.0.0.{host}" for host in range(2, 12)]])
async def test_slow_handshakes_leave_room_for_honest_dials(sources: list[str]) -> None:
    async with scene() as at:
        port = int(at.victim.addresses[0].split("/")[4])
        room = at.victim._gate
        held = [stream for source in sources for stream in await half_open(port, 100 // len(sources), source)]
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert 0 < room.pending <= connection_gate.MAX_PENDING
        await at.require_service()
        for stream in held:
            await trio.aclose_forcefully(stream)
        while room.pending:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_handshake_that_gave_way_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_gate, "PENDING_PER_LOOPBACK_IP", 2)
    async with scene() as at:
        swarm = at.victim._swarm
        taken = swarm._inbound_limiter.borrowed_tokens
        manager = swarm._resource_manager
        assert manager is not None
        counted = manager._current_connections
        held = await half_open(int(at.victim.addresses[0].split("/")[4]), 60, "127.0.0.2")
        while swarm._inbound_limiter.borrowed_tokens > taken + 2:
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert manager._current_connections <= counted + 2
        for stream in held:
            await trio.aclose_forcefully(stream)
        while swarm._inbound_limiter.borrowed_tokens > taken:
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert manager._current_connections == counted
        await at.require_service()


async def test_no_peer_holds_more_than_two_connections() -> None:
    async with scene() as at:
        peer = ID.from_base58(at.victim.peer_id)
        where = Multiaddr(split_address(at.victim.addresses[0])[1])
        for _ in range(4):
            with contextlib.suppress(Exception):
                await at.attacker._swarm.dial_addr(where, peer)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(at.victim._swarm.get_connections(ID.from_base58(at.attacker.peer_id))) == 2
        await at.require_service()


async def test_a_banned_peer_is_gone_and_its_address_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_gate, "is_loopback", lambda ip: False)
    async with scene() as at:
        monkeypatch.setattr(connection_gate, "BANS_PER_IP", 1)
        await at.victim.ban(at.attacker.peer_id)
        assert at.victim.connected() == frozenset()
        with pytest.raises(P2PError):
            await at.honest.dial(at.victim.addresses[0])


FAULTS: dict[str, Callable[[int, int], bytes]] = {
    "window": lambda stuck, _: struct.pack("!BBHII", 0, yamux.TYPE_DATA, 0, stuck, FRAME) + bytes(FRAME),
    "giant frame": lambda stuck, _: struct.pack("!BBHII", 0, yamux.TYPE_DATA, 0, stuck, 4 * 1024 * 1024),
    "pings": lambda _, index: struct.pack("!BBHII", 0, yamux.TYPE_PING, yamux.FLAG_SYN, 0, index),
    "streams": lambda _, index: struct.pack("!BBHII", 0, yamux.TYPE_WINDOW_UPDATE, yamux.FLAG_SYN, 1001 + 2 * index, 0),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_who_breaks_a_rule_of_the_multiplexer_pays_with_its_address(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(connection_gate, "is_loopback", lambda ip: False)
    async with scene() as at:
        monkeypatch.setattr(connection_gate, "BANS_PER_IP", 1)
        stuck = await at.stuck_stream()
        for index in range(1_000):
            await at.flood(FAULTS[fault](stuck, index), 1)
        await at.losses.of(at.attacker.peer_id).wait()
        await trio.testing.wait_all_tasks_blocked(0.05)
        with pytest.raises(P2PError):
            await at.honest.dial(at.victim.addresses[0])
