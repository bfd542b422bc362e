"""Repairs of py-libp2p 0.8.1, applied once when this module is imported, before any host exists.

Each repair closes a hole through which one peer can take memory, tasks or the accept loop of a node; each has its
attack in the tests of this name. A repair reaches into the library, so any other release is refused:
read its source again, run the attacks without the repair, and keep only what is still needed.
"""

import functools
import itertools
import logging
import struct
from typing import Any, NoReturn, cast

import libp2p
import libp2p.network.swarm as swarm
import libp2p.stream_muxer.yamux.yamux as yamux
import libp2p.transport.tcp.tcp as tcp
import trio
from libp2p.abc import IListener, IMuxedConn, IRawConnection
from libp2p.custom_types import THandler
from libp2p.exceptions import BaseLibp2pError, ParseError
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.io.utils import read_exactly
from libp2p.network.auto_connector import AutoConnector
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.secure_session import SecureSession
from multiaddr import Multiaddr

from p2p.connection_gate import ConnectionGate
from protocol.network.budgets import Bucket, Rate

if libp2p.__version__ != "0.8.1":
    raise ImportError(f"p2p.hardening repairs libp2p 0.8.1 and nothing else; this is {libp2p.__version__}")

MAX_INBOUND_STREAMS = 128
"""Streams that a peer may hold open towards us on one connection."""

MAX_DATA_FRAME_BYTES = yamux.DEFAULT_WINDOW_SIZE
"""Longest yamux data frame; the library itself sends 64 KiB and would read 16 MiB before it looks at the window."""

MAX_RECEIVE_WINDOW = 4 * 1024 * 1024
"""Bytes that one stream may buffer (library: 16 MiB); enough for 40 MB/s over 100 ms of round trip."""

MAX_COMMAND_BYTES = 1024
"""Longest line of a protocol negotiation, which also happens before a peer has proved who it is."""

WRITE_DEADLINE_S = 15.0
"""How long one frame of at most 64 KiB may wait for a peer that does not read; then the connection ends."""

MAX_PINGS = 20
PINGS_PER_S = 10.0
"""Each asks for an answer, and honest peers send one in half a minute."""

MAX_OPENINGS = 1_000
OPENINGS_PER_S = 200.0
"""Streams that a peer may open; agreeing on a protocol for one takes us two milliseconds."""

MAX_EMPTY_FRAMES = 4_000
EMPTY_FRAMES_PER_S = 2_000.0
"""Frames that carry nothing: credit, ends, openings."""

READ_AHEAD_BYTES = 16 * 1024
MAX_IN_A_ROW = 16
"""Pieces of what was read ahead that are taken without a turn for other tasks."""

# Debug lines cost CPU even when no handler takes them, and a peer's mistakes would fill the log as errors.
logging.getLogger("libp2p").setLevel(logging.CRITICAL)
logging.getLogger("libp2p").propagate = False


class PeerMisbehaved(trio.TooSlowError):
    """A peer broke the rules of the multiplexer; its connection ends.

    It is a TooSlowError because that is the one exception for which yamux's read loop closes the whole connection and
    wakes every reader; any other is logged and the loop reads on.
    """


def _accuse(session: Any, what: str) -> NoReturn:
    """End a connection whose peer broke a rule, and have its address pay for it.

    Raises: PeerMisbehaved.
    """
    session.misbehaved = True
    raise PeerMisbehaved(what)


class ConnectionEnded(Exception):
    """Tells the accept handler that its connection is over, so that its task and its slot are free again."""


# --- dialling -------------------------------------------------------------------------------------------------------

# The library waits a quarter second after every dial, even with one address and immediate success.
swarm._HAPPY_EYEBALLS_DELAY = 0.0


async def _stay(self: AutoConnector) -> None:
    """Do not dial: below its target, half of all connections, the library dials every peer that it ever heard of.

    Whom to dial is decided by our peer book alone; the library knows no bans.
    """


AutoConnector.maybe_connect = _stay  # type: ignore[method-assign]


def set_listen_flags(sock: trio.socket.SocketType) -> None:
    """Without SO_REUSEPORT: with it a second process of this user would share a taken port instead of being told."""
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)


tcp._set_reuse_flags = set_listen_flags


# --- flow control ---------------------------------------------------------------------------------------------------

yamux.MAX_WINDOW_SIZE = MAX_RECEIVE_WINDOW


class BoundedStream(yamux.YamuxStream):
    """A stream whose receive window is a limit, not a figure in a log line."""

    _window: int

    @property
    def recv_window(self) -> int:
        return self._window

    @recv_window.setter
    def recv_window(self, left: int) -> None:
        if left < 0:
            _accuse(self.conn.secured_conn, f"{-left} bytes beyond the receive window")
        self._window = left

    async def _auto_tune_and_send_window_update(self, *, bytes_read: int = 0) -> None:
        """Give credit back in halves of the window; the library sends up to two updates for every frame it reads."""
        self._pending_recv_release += max(bytes_read, 0)
        if self._pending_recv_release < self.target_recv_window // 2:
            return
        credit, self._pending_recv_release = self._pending_recv_release, 0
        self.recv_window += credit
        credit += self._apply_autotune_epoch(len(self.conn.stream_buffers.get(self.stream_id, b"")))
        await self.send_window_update(credit)

    async def reset(self) -> None:
        # A stream that we reset is read no more; left in place, its bytes would be kept for another minute.
        self.conn.stream_buffers.get(self.stream_id, bytearray()).clear()
        await super().reset()


yamux.YamuxStream = BoundedStream  # type: ignore[misc]


class CappedStreams(dict[int, yamux.YamuxStream]):
    """The stream table of one connection; the peer's share of it is limited."""

    def __init__(self, session: object) -> None:
        super().__init__()
        self._session = session

    def __setitem__(self, stream_id: int, stream: yamux.YamuxStream) -> None:
        if not stream.is_initiator and sum(not held.is_initiator for held in self.values()) >= MAX_INBOUND_STREAMS:
            _accuse(self._session, f"more than {MAX_INBOUND_STREAMS} streams on one connection")
        super().__setitem__(stream_id, stream)


_yamux_init = yamux.Yamux.__init__


def _init_with_capped_streams(self: yamux.Yamux, *args: Any, **kwargs: Any) -> None:
    _yamux_init(self, *args, **kwargs)
    self.streams = CappedStreams(self.secured_conn)


async def _read_bounded_body(self: yamux.Yamux, length: int) -> bytes:
    if length > MAX_DATA_FRAME_BYTES:
        _accuse(self.secured_conn, f"a data frame of {length} bytes")
    session = cast(SecureSession, self.secured_conn)
    if session.high_watermark - session.low_watermark >= length:
        # It came with its head, as whole frames do: nothing to wait for.
        return await session.read(length)
    with trio.fail_after(yamux._yamux_data_read_timeout()):
        return await read_exactly(session, length)


async def _write_whole_frame(self: yamux.Yamux, data: bytes) -> None:
    """Write a frame entirely or end the connection.

    A cancelled write would leave half a noise record on the wire and spoil every other stream, so the writer is
    shielded; a peer that stops reading would then hold it without end, so it has a deadline.
    """
    async with self._write_lock:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + WRITE_DEADLINE_S) as scope:
            await self.secured_conn.write(data)
        if scope.cancelled_caught:
            self.event_shutting_down.set()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await self.secured_conn.close()
            raise ConnectionClosedError(f"peer read nothing for {WRITE_DEADLINE_S:.0f} s", transport="yamux")
    await trio.lowlevel.checkpoint()


class FrameBudget:
    """Frames of one connection that are work for us: pings, new streams, and frames without content."""

    def __init__(self, now: float) -> None:
        now_ms = round(1000 * now)
        self._pings = Bucket(Rate(PINGS_PER_S, 1_000, MAX_PINGS), MAX_PINGS, now_ms)
        self._empty = Bucket(Rate(EMPTY_FRAMES_PER_S, 1_000, MAX_EMPTY_FRAMES), MAX_EMPTY_FRAMES, now_ms)
        self._openings = Bucket(Rate(OPENINGS_PER_S, 1_000, MAX_OPENINGS), MAX_OPENINGS, now_ms)

    def take(self, kind: int, flags: int, length: int, now: float) -> bool:
        """Count a frame that begins at `now` (seconds); False when the budget is used up."""
        opens = kind != yamux.TYPE_PING and flags & yamux.FLAG_SYN
        if kind == yamux.TYPE_DATA and length and not opens:
            return True
        now_ms = round(1000 * now)
        if kind == yamux.TYPE_PING:
            return self._pings.take(1, now_ms)
        return self._empty.take(1, now_ms) and (not opens or self._openings.take(1, now_ms))


_HEADER = struct.Struct(yamux.YAMUX_HEADER_FORMAT)


async def _read_counted_header(connection: Any, size: int) -> bytes:
    """Read the head of a frame; what is raised in here ends the connection."""
    header = await read_exactly(connection, size)
    _, kind, flags, _, length = _HEADER.unpack(header)
    now = trio.current_time()
    budget: FrameBudget | None = getattr(connection, "frame_budget", None)
    if budget is None:
        budget = connection.frame_budget = FrameBudget(now)
    if not budget.take(kind, flags, length, now):
        _accuse(connection, "pings, streams or empty frames without end")
    return header


yamux.read_exactly = _read_counted_header  # type: ignore[attr-defined, assignment]
yamux.Yamux.__init__ = _init_with_capped_streams  # type: ignore[method-assign]
yamux.Yamux._read_data_body = _read_bounded_body  # type: ignore[method-assign]
yamux.Yamux._write_frame = _write_whole_frame  # type: ignore[method-assign]


# --- reading --------------------------------------------------------------------------------------------------------

_tcp_read = TrioTCPStream.read


async def _read_ahead(self: TrioTCPStream, n: int | None = None) -> bytes:
    """Read what has come, not only what is asked for: every record is asked for in two pieces, its length first.

    Each piece costs the library a call of the system and several turns of all tasks.
    """
    ahead: bytearray = self.ahead  # type: ignore[attr-defined]
    if ahead:
        data = bytes(ahead[:n])
        del ahead[:n]
        self.taken_in_a_row += 1  # type: ignore[attr-defined]
        if self.taken_in_a_row == MAX_IN_A_ROW:  # type: ignore[attr-defined]
            # A peer that sends many small pieces at once must leave the others their turn.
            self.taken_in_a_row = 0  # type: ignore[attr-defined]
            await trio.lowlevel.checkpoint()
        return data
    if not n or n >= READ_AHEAD_BYTES:
        return await _tcp_read(self, n)
    data = await _tcp_read(self, READ_AHEAD_BYTES)
    ahead += data[n:]
    return data[:n]


_tcp_init = TrioTCPStream.__init__


def _init_with_ahead(self: TrioTCPStream, stream: trio.SocketStream) -> None:
    _tcp_init(self, stream)
    self.ahead = bytearray()  # type: ignore[attr-defined]
    self.taken_in_a_row = 0  # type: ignore[attr-defined]


TrioTCPStream.__init__ = _init_with_ahead  # type: ignore[method-assign]
TrioTCPStream.read = _read_ahead  # type: ignore[method-assign]


# --- agreeing on a protocol -----------------------------------------------------------------------------------------


async def _read_command(self: MultiselectCommunicator) -> str:
    """Read one line of the negotiation.

    The library reads as many bytes as a peer announces, and lets bytes that are no UTF-8 end the whole node.
    """
    try:
        length, shift, last = 0, 0, 0x80
        while last >= 0x80:
            if shift > 14:
                raise ParseError("a length of more than three bytes")
            (last,) = await read_exactly(self.read_writer, 1)
            length |= (last & 0x7F) << shift
            shift += 7
        if not 0 < length <= MAX_COMMAND_BYTES:
            raise ParseError(f"a line of {length} bytes")
        line = await read_exactly(self.read_writer, length)
        if not line.endswith(b"\n"):
            raise ParseError("a line without an end")
        return line[:-1].decode()
    except (BaseLibp2pError, UnicodeDecodeError) as error:
        raise MultiselectCommunicatorError("no protocol name came") from error


MultiselectCommunicator.read = _read_command  # type: ignore[method-assign]


# --- accepting ------------------------------------------------------------------------------------------------------


_listener_init = tcp.TCPListener.__init__


def _init_with_gate(self: tcp.TCPListener, handler_function: THandler) -> None:
    gate = ConnectionGate()
    self.gate = gate  # type: ignore[attr-defined]

    async def admit_and_handle(connection: ReadWriteCloser) -> None:
        assert isinstance(connection, TrioTCPStream)
        try:
            # Not get_remote_address(): it knows no IPv6.
            ip = connection.stream.socket.getpeername()[0]
        except OSError:
            ip = ""
        # To be shut is to lose the socket: cancelled in a handshake, the library would lose count of what it holds.
        inbound = gate.enter(ip, connection.stream.socket.close, trio.current_time()) if ip else None
        if inbound is None:
            await trio.aclose_forcefully(connection.stream)
            return
        connection.settle = functools.partial(gate.settle, inbound)  # type: ignore[attr-defined]
        connection.blame = functools.partial(gate.blame, ip)  # type: ignore[attr-defined]
        connection.ip = ip  # type: ignore[attr-defined]
        try:
            await handler_function(connection)
        finally:
            gate.leave(inbound)

    _listener_init(self, admit_and_handle)


def gate_of(listener: IListener) -> ConnectionGate:
    """The gate that a listener asks."""
    gate: ConnectionGate = listener.gate  # type: ignore[attr-defined]
    return gate


def inbound_ip(connection: IMuxedConn) -> str | None:
    """The source of a connection; None if we dialled it."""
    ip: str | None = getattr(connection, "inbound_ip", None)
    return ip


_numbers = itertools.count()
_upgrade_inbound = swarm.Swarm.upgrade_inbound_raw_conn


async def _serve_until_closed(self: swarm.Swarm, raw_conn: IRawConnection, maddr: Multiaddr) -> NoReturn:
    """Hold the accept handler as long as the connection lives, and no longer.

    The library holds it until the node stops: a task, its memory and one of the inbound slots for every connection
    that ever was; after 250 of them no peer can connect any more.
    """
    connection: IMuxedConn = await _upgrade_inbound(self, raw_conn, maddr)
    assert isinstance(connection, yamux.Yamux)
    raw: Any = raw_conn.stream  # type: ignore[attr-defined]
    raw.settle()
    connection.inbound_ip = raw.ip  # type: ignore[attr-defined]
    await connection.event_closed.wait()
    if getattr(connection.secured_conn, "misbehaved", False):
        # Identities are free, so each such connection counts.
        raw.blame(f"connection {next(_numbers)}", trio.current_time())
    raise ConnectionEnded


tcp.TCPListener.__init__ = _init_with_gate  # type: ignore[method-assign]
swarm.Swarm.upgrade_inbound_raw_conn = _serve_until_closed  # type: ignore[method-assign]
