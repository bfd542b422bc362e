"""Framing on streams in memory: limits before bodies, deadlines for whole frames, and how streams end."""

import pytest
import trio
from trio.testing import MockClock

from p2p.streams import FramedStream, StreamEnded
from protocol.errors import P2PError, TooLarge
from protocol.wire.ids import PeerId
from tests.fakes.network import MemoryStream, stream_pair

PEER = PeerId("16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi")


def framed() -> tuple[FramedStream, MemoryStream]:
    """A framed end, and the raw other one."""
    ours, theirs = stream_pair()
    return FramedStream(ours, PEER), theirs


async def test_frames_come_out_as_they_went_in_however_they_are_cut(autojump_clock: MockClock) -> None:
    stream, raw = framed()
    bodies = [b"", b"a", b"b" * 70_000, b"c" * 5]
    data = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)

    async def trickle() -> None:
        for at in range(0, len(data), 999):
            await raw.write(data[at : at + 999])
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trickle)
        assert [await stream.read_frame(70_000, within_s=5) for _ in bodies] == bodies


async def test_what_is_written_is_a_big_endian_length_and_the_body() -> None:
    stream, raw = framed()
    await stream.write_frame(b"\xaa" * 258, within_s=1)
    assert await raw.read() == b"\x00\x00\x01\x02" + b"\xaa" * 258


async def test_a_frame_over_the_limit_is_refused_before_its_body_comes() -> None:
    stream, raw = framed()
    await raw.write((1_001).to_bytes(4, "big"))
    with pytest.raises(TooLarge, match="1001 bytes, at most 1000"):
        await stream.read_frame(1_000, within_s=1)


async def test_a_slow_body_misses_the_deadline_of_its_frame(autojump_clock: MockClock) -> None:
    stream, raw = framed()

    async def drip() -> None:
        await raw.write((50).to_bytes(4, "big"))
        for _ in range(50):
            await trio.sleep(0.1)
            await raw.write(b"x")

    before = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with pytest.raises(P2PError, match="too slow") as raised:
            await stream.read_frame(1_000, within_s=2)
        nursery.cancel_scope.cancel()
    assert raised.value.transient
    assert trio.current_time() - before == pytest.approx(2)


async def test_the_wait_for_a_frame_may_be_longer_than_the_frame(autojump_clock: MockClock) -> None:
    stream, raw = framed()

    async def late() -> None:
        await trio.sleep(50)
        await raw.write(b"\0\0\0\1x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(late)
        assert await stream.read_frame(10, within_s=1, idle_s=60) == b"x"
        with pytest.raises(P2PError, match="too slow"):
            await stream.read_frame(10, within_s=1, idle_s=60)


async def test_the_end_between_frames_is_no_fault_and_the_end_inside_one_is() -> None:
    stream, raw = framed()
    await raw.write(b"\0\0\0\1x\0\0\0\5half")
    await raw.close()
    assert await stream.read_frame(10, within_s=1) == b"x"
    with pytest.raises(P2PError, match="inside a frame") as raised:
        await stream.read_frame(10, within_s=1)
    assert not isinstance(raised.value, StreamEnded)
    stream, raw = framed()
    await raw.close()
    with pytest.raises(StreamEnded):
        await stream.read_frame(10, within_s=1)


async def test_a_reset_is_a_transient_error_to_both_reader_and_writer() -> None:
    stream, raw = framed()
    await raw.reset()
    for act in (stream.read_frame(10, within_s=1), stream.write_frame(b"x", within_s=1)):
        with pytest.raises(P2PError, match="broke") as raised:
            await act
        assert raised.value.transient


async def test_a_peer_that_does_not_read_holds_a_writer_no_longer_than_told(autojump_clock: MockClock) -> None:
    stream, _ = framed()
    before = trio.current_time()
    with pytest.raises(P2PError, match="did not read"):
        await stream.write_frame(bytes(2**20), within_s=3)
    assert trio.current_time() - before == pytest.approx(3)


async def test_closing_does_not_wait_for_a_peer_for_long(autojump_clock: MockClock) -> None:
    class Stuck(MemoryStream):
        async def close(self) -> None:
            await trio.sleep_forever()

    ours, _ = stream_pair()
    stream = FramedStream(Stuck(ours.incoming, ours.outgoing), PEER)
    before = trio.current_time()
    await stream.close()
    assert trio.current_time() - before == pytest.approx(2)
