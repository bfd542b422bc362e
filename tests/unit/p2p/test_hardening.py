"""Repairs of the library that need no network to be attacked."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.abc import IMultiselectCommunicator
from libp2p.io.trio import TrioTCPStream
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.stream_muxer.yamux import yamux

from p2p import hardening


class Peer:
    """Sends `data`, then endless zeros, and counts what was asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.read_bytes = 0

    async def read(self, n: int | None = None) -> bytes:
        assert n is not None
        self.read_bytes += n
        data, self._data = self._data[:n], self._data[n:]
        return data.ljust(n, b"\0")


def communicator(peer: Peer) -> IMultiselectCommunicator:
    return MultiselectCommunicator(peer)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["/multistream/1.0.0", "/vcoin/gossip/1", "x" * 1_000])
async def test_a_protocol_name_is_read(name: str) -> None:
    line = name.encode() + b"\n"
    length = bytes([len(line)]) if len(line) < 128 else bytes([len(line) & 127 | 128, len(line) >> 7])
    assert await communicator(Peer(length + line)).read() == name


@pytest.mark.parametrize("length", [b"\xff\xff\xff\x7f", b"\xff" * 50, b"\x81\x08", b"\x00"])
async def test_a_line_that_is_too_long_or_empty_is_refused_before_it_is_read(length: bytes) -> None:
    peer = Peer(length)
    with pytest.raises(MultiselectCommunicatorError):
        await communicator(peer).read()
    assert peer.read_bytes <= 3


@pytest.mark.parametrize("line", [b"\x04\xff\xfe\xfd\n", b"\x03abc"])
async def test_a_line_that_is_no_text_or_has_no_end_is_refused(line: bytes) -> None:
    with pytest.raises(MultiselectCommunicatorError):
        await communicator(Peer(line)).read()


def holds(kind: int, length: int, frames: int, seconds: float, flags: int = 0) -> bool:
    """Whether a budget covers so many frames, spread evenly over the time."""
    budget = hardening.FrameBudget(0.0)
    return all(budget.take(kind, flags, length, index * seconds / frames) for index in range(frames))


def test_more_pings_than_ten_a_second_end_the_connection() -> None:
    assert holds(yamux.TYPE_PING, 7, 600, 60)
    assert holds(yamux.TYPE_PING, 7, hardening.MAX_PINGS, 0)
    assert not holds(yamux.TYPE_PING, 7, 700, 60)


@pytest.mark.parametrize(
    ("kind", "length"), [(yamux.TYPE_WINDOW_UPDATE, 2**20), (yamux.TYPE_DATA, 0), (yamux.TYPE_GO_AWAY, 0), (9, 1)]
)
def test_empty_frames_without_end_end_the_connection(kind: int, length: int) -> None:
    assert holds(kind, length, 20_000, 10)
    assert not holds(kind, length, 50_000, 10)


def test_frames_with_content_are_not_counted() -> None:
    assert holds(yamux.TYPE_DATA, 1, 50_000, 0)


@pytest.mark.parametrize(("kind", "length"), [(yamux.TYPE_WINDOW_UPDATE, 0), (yamux.TYPE_DATA, 20)])
def test_more_streams_than_two_hundred_a_second_end_the_connection(kind: int, length: int) -> None:
    assert holds(kind, length, 10_000, 50, yamux.FLAG_SYN)
    assert holds(kind, length, hardening.MAX_OPENINGS, 0, yamux.FLAG_SYN)
    assert not holds(kind, length, 12_000, 50, yamux.FLAG_SYN)


@asynccontextmanager
async def sent(data: bytes) -> AsyncIterator[TrioTCPStream]:
    """A connection over which `data` came, and then its end."""
    far, near = trio.socket.socketpair()
    with near:
        with far:
            await trio.SocketStream(far).send_all(data)
        yield TrioTCPStream(trio.SocketStream(near))


@pytest.mark.parametrize("sizes", [[1], [2, 300], [7, 0, 5], [hardening.READ_AHEAD_BYTES, 3], [100_000]])
async def test_what_is_read_ahead_comes_in_order_and_then_the_end(sizes: list[int]) -> None:
    data = bytes(index % 251 for index in range(40_000))
    read = bytearray()
    async with sent(data) as stream:
        for size in itertools.cycle(sizes):
            piece = await stream.read(size)
            assert len(piece) <= size
            read += piece
            if size and not piece:
                break
        assert await stream.read(1) == b""
    assert read == data


async def test_a_read_without_a_size_takes_what_was_read_ahead() -> None:
    async with sent(b"abcdef") as stream:
        assert await stream.read(2) == b"ab"
        assert await stream.read() == b"cdef"
        assert await stream.read() == b""


async def test_no_more_is_read_ahead_than_its_bound() -> None:
    async with sent(bytes(60_000)) as stream:
        await stream.read(1)
        assert len(stream.ahead) < hardening.READ_AHEAD_BYTES  # type: ignore[attr-defined]


async def test_what_was_read_ahead_leaves_other_tasks_their_turn() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with sent(bytes(10_000)) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        for _ in range(10_000):
            await stream.read(1)
        nursery.cancel_scope.cancel()
    assert turns >= 10_000 / (hardening.MAX_IN_A_ROW + 1)
