"""Framing: every stream of ours is a row of frames, each a u32 big-endian length and that many bytes."""

from typing import Protocol

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.stream.exceptions import StreamEOF

from protocol.errors import P2PError, TooLarge
from protocol.wire.ids import PeerId

LENGTH_BYTES = 4
READ_BYTES = 65_536

MAX_GOSSIP_BYTES = 256 * 1024
MAX_CALL_BYTES = 72 * 1024
"""A message with 64 KiB of sealed input inside, and its envelope."""
MAX_BLOB_CONTROL_BYTES = 64 * 1024
MAX_BLOB_DATA_BYTES = 1024 * 1024

CLOSE_DEADLINE_S = 2.0


class ByteStream(Protocol):
    """A stream as framing needs it: a libp2p stream, or one in memory.

    `read` returns b"" or raises StreamEOF when the peer has closed its side.
    """

    async def read(self, n: int | None = None) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def close(self) -> None: ...
    async def reset(self) -> None: ...


class StreamEnded(P2PError):
    """The peer closed the stream between two frames: the normal end of a conversation."""


class FramedStream:
    """A stream to one peer, read and written frame by frame.

    One task may read while another writes. A read or write that missed its deadline has lost its place in the
    stream: abort it.
    """

    def __init__(self, raw: ByteStream, peer_id: PeerId) -> None:
        self.peer_id = peer_id
        self._raw = raw
        self._buffer = bytearray()

    async def read_frame(self, limit: int, *, within_s: float, idle_s: float | None = None) -> bytes:
        """The next frame.

        Args: limit, the longest body in bytes; within_s, the time for the whole frame from its first byte on; idle_s,
            the time until that first byte, `within_s` if not given.
        Raises: TooLarge before a body over the limit is read; StreamEnded; P2PError if the stream broke or was too
            slow.
        """
        if not self._buffer:
            await self._fill(within_s if idle_s is None else idle_s, between_frames=True)
        deadline = trio.current_time() + within_s
        while len(self._buffer) < LENGTH_BYTES:
            await self._fill(deadline - trio.current_time())
        length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if length > limit:
            raise TooLarge(f"a frame of {length} bytes, at most {limit}")
        while len(self._buffer) < LENGTH_BYTES + length:
            await self._fill(deadline - trio.current_time())
        body = bytes(self._buffer[LENGTH_BYTES : LENGTH_BYTES + length])
        del self._buffer[: LENGTH_BYTES + length]
        return body

    async def write_frame(self, body: bytes, *, within_s: float) -> None:
        """Send one frame.

        Raises: P2PError if the stream broke or the peer took too long to read.
        """
        try:
            with trio.fail_after(within_s):
                await self._raw.write(len(body).to_bytes(LENGTH_BYTES, "big") + body)
        except trio.TooSlowError as error:
            raise P2PError(f"{self.peer_id} did not read within {within_s:g} s", transient=True) from error
        except _BROKEN as error:
            raise P2PError(f"the stream to {self.peer_id} broke", transient=True) from error

    async def close(self) -> None:
        """End our side politely; a peer that does not answer is left behind."""
        await self._finish(self._raw.close)

    async def abort(self) -> None:
        """Reset the stream: both sides are over at once."""
        await self._finish(self._raw.reset)

    async def _finish(self, how: "_Finish") -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_DEADLINE_S):
            try:
                await how()
            except _BROKEN:
                return

    async def _fill(self, within_s: float, *, between_frames: bool = False) -> None:
        """Append what the peer sent next; at least one byte."""
        try:
            with trio.fail_after(max(within_s, 0)):
                data = await self._raw.read(READ_BYTES)
        except trio.TooSlowError as error:
            raise P2PError(f"{self.peer_id} was too slow", transient=True) from error
        except StreamEOF:
            data = b""
        except _BROKEN as error:
            raise P2PError(f"the stream to {self.peer_id} broke", transient=True) from error
        if not data:
            if between_frames:
                raise StreamEnded(f"{self.peer_id} closed the stream", transient=True)
            raise P2PError(f"{self.peer_id} closed the stream inside a frame", transient=True)
        self._buffer += data


class _Finish(Protocol):
    async def __call__(self) -> None: ...


_BROKEN = (BaseLibp2pError, trio.BrokenResourceError, trio.ClosedResourceError, OSError)
