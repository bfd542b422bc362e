"""Repairs of py-libp2p 0.8.1, applied once when this module is imported, before any host exists.

Each repair closes a hole through which one peer can take memory, tasks or the accept loop of a node; each has its
attack in the tests of this name. A repair reaches into the library, so any other release is refused:
read its source again, run the attacks without the repair, and keep only what is still needed.
"""

import logging
from collections import OrderedDict, deque
from typing import Any, NoReturn

import libp2p
import libp2p.network.swarm as swarm
import libp2p.stream_muxer.yamux.yamux as yamux
import libp2p.transport.tcp.tcp as tcp
import trio
from libp2p.abc import IMuxedConn, IRawConnection
from libp2p.custom_types import THandler
from libp2p.exceptions import BaseLibp2pError, ParseError
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.io.utils import read_exactly
from libp2p.network.auto_connector import AutoConnector
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from multiaddr import Multiaddr

if libp2p.__version__ != "0.8.1":
    raise ImportError(f"p2p.hardening repairs libp2p 0.8.1 and nothing else; this is {libp2p.__version__}")

MAX_INBOUND_STREAMS = 128
"""Streams that a peer may hold open towards us on one connection."""

MAX_DATA_FRAME_BYTES = yamux.DEFAULT_WINDOW_SIZE
"""Longest yamux data frame; the library itself sends 64 KiB and would read 16 MiB before it looks at the window."""

MAX_RECEIVE_WINDOW = 4 * 1024 * 1024
"""What one stream may grow to buffer (library: 16 MiB); enough for 40 MB/s over 100 ms of round trip."""

MAX_COMMAND_BYTES = 1024
"""Longest line of a protocol negotiation, which also happens before a peer has proved who it is."""

WRITE_DEADLINE_S = 15.0
"""How long one frame of at most 64 KiB may wait for a peer that does not read; then the connection ends."""

ACCEPT_WINDOW_S = 10.0
ACCEPTS_PER_IP = 20
ACCEPTS_PER_LOOPBACK_IP = 128
"""Connections that one address may open per window. Loopback stands for every process of this machine at once."""

MAX_TRACKED_IPS = 4096

# Debug lines cost CPU even when nobody reads them, and a peer's mistakes would fill the log as errors.
logging.getLogger("libp2p").setLevel(logging.CRITICAL)
logging.getLogger("libp2p").propagate = False


class PeerMisbehaved(trio.TooSlowError):
    """A peer broke the rules of the multiplexer; its connection ends.

    It is a TooSlowError because that is the one exception for which yamux's read loop closes the whole connection and
    wakes every reader; any other is logged and the loop reads on.
    """


class ConnectionEnded(Exception):
    """Tells the accept handler that its connection is over, so that its task and its slot are free again."""


# --- dialling -------------------------------------------------------------------------------------------------------

# The library waits a quarter second after every dial, even with one address and immediate success.
swarm._HAPPY_EYEBALLS_DELAY = 0.0


async def _stay(self: AutoConnector) -> None:
    """Do not dial: below its target, half of all connections, the library dials whoever it ever heard of.

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
            raise PeerMisbehaved(f"{-left} bytes beyond the receive window")
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
        # Nobody reads a stream that we reset; left in place, its bytes would be kept for another minute.
        self.conn.stream_buffers.get(self.stream_id, bytearray()).clear()
        await super().reset()


yamux.YamuxStream = BoundedStream  # type: ignore[misc]


class CappedStreams(dict[int, yamux.YamuxStream]):
    """The stream table of one connection; the peer's share of it is limited."""

    def __setitem__(self, stream_id: int, stream: yamux.YamuxStream) -> None:
        if not stream.is_initiator and sum(not held.is_initiator for held in self.values()) >= MAX_INBOUND_STREAMS:
            raise PeerMisbehaved(f"more than {MAX_INBOUND_STREAMS} streams on one connection")
        super().__setitem__(stream_id, stream)


_yamux_init = yamux.Yamux.__init__


def _init_with_capped_streams(self: yamux.Yamux, *args: Any, **kwargs: Any) -> None:
    _yamux_init(self, *args, **kwargs)
    self.streams = CappedStreams()


async def _read_bounded_body(self: yamux.Yamux, length: int) -> bytes:
    if length > MAX_DATA_FRAME_BYTES:
        raise PeerMisbehaved(f"a data frame of {length} bytes")
    with trio.fail_after(yamux._yamux_data_read_timeout()):
        return await read_exactly(self.secured_conn, length)


async def _write_whole_frame(self: yamux.Yamux, data: bytes) -> None:
    """Write a frame entirely or end the connection.

    A cancelled write would leave half a noise record on the wire and spoil every other stream, so the writer is
    shielded; a peer that stops reading would then hold it for ever, so it has a deadline.
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


yamux.Yamux.__init__ = _init_with_capped_streams  # type: ignore[method-assign]
yamux.Yamux._read_data_body = _read_bounded_body  # type: ignore[method-assign]
yamux.Yamux._write_frame = _write_whole_frame  # type: ignore[method-assign]


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


class AcceptBudget:
    """Counts the connections of each address in a sliding window; one noisy address leaves the others their slots."""

    def __init__(self) -> None:
        self._accepted: OrderedDict[str, deque[float]] = OrderedDict()

    def admit(self, ip: str, now: float) -> bool:
        """Count a connection from `ip` at `now` (seconds); False if the address has used up its window."""
        times = self._accepted.setdefault(ip, deque())
        self._accepted.move_to_end(ip)
        if len(self._accepted) > MAX_TRACKED_IPS:
            self._accepted.popitem(last=False)
        while times and times[0] <= now - ACCEPT_WINDOW_S:
            times.popleft()
        loopback = ip.startswith("127.") or ip == "::1"
        if len(times) >= (ACCEPTS_PER_LOOPBACK_IP if loopback else ACCEPTS_PER_IP):
            return False
        times.append(now)
        return True


_listener_init = tcp.TCPListener.__init__


def _init_with_accept_budget(self: tcp.TCPListener, handler_function: THandler) -> None:
    budget = AcceptBudget()

    async def admit_and_handle(connection: ReadWriteCloser) -> None:
        assert isinstance(connection, TrioTCPStream)
        try:
            # Not get_remote_address(): it knows no IPv6.
            ip = connection.stream.socket.getpeername()[0]
        except OSError:
            ip = ""
        if not ip or not budget.admit(ip, trio.current_time()):
            await trio.aclose_forcefully(connection.stream)
            return
        await handler_function(connection)

    _listener_init(self, admit_and_handle)


_upgrade_inbound = swarm.Swarm.upgrade_inbound_raw_conn


async def _serve_until_closed(self: swarm.Swarm, raw_conn: IRawConnection, maddr: Multiaddr) -> NoReturn:
    """Hold the accept handler as long as the connection lives, and no longer.

    The library holds it until the node stops: a task, its memory and one of the inbound slots for every connection
    that ever was; after 250 of them nobody can connect any more.
    """
    connection: IMuxedConn = await _upgrade_inbound(self, raw_conn, maddr)
    assert isinstance(connection, yamux.Yamux)
    await connection.event_closed.wait()
    raise ConnectionEnded


tcp.TCPListener.__init__ = _init_with_accept_budget  # type: ignore[method-assign]
swarm.Swarm.upgrade_inbound_raw_conn = _serve_until_closed  # type: ignore[method-assign]
