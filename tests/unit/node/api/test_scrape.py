"""The door for Prometheus: what it answers, whom it turns away, and what it survives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from node.api import scrape
from node.api import views as views
from node.api.scrape import MAX_CALLERS, MAX_HEAD_BYTES, MetricsDesk, MetricsListener, answer_callers, serve_metrics
from protocol.errors import ConfigError
from tests.fakes.backend import FakeBackend

GET = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9464\r\n\r\n"


class CountedBackend(FakeBackend):
    """Knows how often it was looked at."""

    looks = 0
    broken = False

    async def snapshot(self) -> views.Snapshot:
        self.looks += 1
        if self.broken:
            raise RuntimeError("a bug")
        return await super().snapshot()


class Street(trio.abc.Listener[trio.abc.Stream]):
    """The addresses of a test's callers, without a network."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](1_000)
        self.let_in = 0

    def knock(self) -> trio.StapledStream:
        """A caller; what it sends and hears."""
        ours, theirs = trio.testing.memory_stream_pair()
        self._send.send_nowait(theirs)
        return ours

    async def accept(self) -> trio.abc.Stream:
        stream = await self._receive.receive()
        self.let_in += 1
        return stream

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_door(backend: FakeBackend) -> AsyncIterator[Street]:
    street = Street()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_callers, MetricsListener(street), MetricsDesk(backend))
        yield street
        nursery.cancel_scope.cancel()


async def heard(stream: trio.abc.ReceiveStream) -> bytes:
    """All that comes until the other side closes."""
    said = bytearray()
    try:
        while part := await stream.receive_some():
            said += part
    except trio.BrokenResourceError:
        pass
    return bytes(said)


async def asked(street: Street, sent: bytes) -> bytes:
    caller = street.knock()
    await caller.send_all(sent)
    return await heard(caller)


async def test_scrape_over_a_real_port() -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_metrics, FakeBackend(), "127.0.0.1:0")
        with trio.fail_after(10):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(GET)
                answer = await heard(stream)
        nursery.cancel_scope.cancel()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"Content-Type: text/plain; version=0.0.4" in head
    assert b"\nvcoin_task_seconds_mean 1.5\n" in body


async def test_port_that_is_taken_is_a_setting_to_change() -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_metrics, FakeBackend(), "127.0.0.1:0")
        with pytest.raises(ConfigError, match="cannot listen on") as caught:
            await serve_metrics(FakeBackend(), f"127.0.0.1:{port}")
        assert "metrics.listen" in caught.value.hint
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (GET, 200),
        (b"GET /metrics HTTP/1.0\r\nHost: [::1]:9464\r\n\r\n", 200),
        (b"GET /metrics?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\nx", 405),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.1\r\nHost: [\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.0\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * MAX_HEAD_BYTES, 431),
    ],
)
async def test_answer_has_the_status_that_fits(
    sent: bytes, status: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_door(FakeBackend()) as street:
        answer = await asked(street, sent)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer


async def test_head_has_the_length_and_no_body(autojump_clock: trio.testing.MockClock) -> None:
    async with open_door(FakeBackend()) as street:
        answer = await asked(street, GET.replace(b"GET", b"HEAD"))
    assert b"Content-Length: " in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_callers_of_one_moment_are_told_from_one_look(autojump_clock: trio.testing.MockClock) -> None:
    backend = CountedBackend()
    async with open_door(backend) as street:
        for _ in range(20):
            await asked(street, GET)
        assert backend.looks == 1
        await trio.sleep(scrape.FRESH_S)
        await asked(street, GET)
        assert backend.looks == 2


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HT"], ids=["silent", "halfway"])
async def test_callers_that_dawdle_are_few_and_make_room(sent: bytes, autojump_clock: trio.testing.MockClock) -> None:
    async with open_door(FakeBackend()) as street:
        slow = [street.knock() for _ in range(5 * MAX_CALLERS)]
        for caller in slow:
            await caller.send_all(sent)
        await trio.sleep(scrape.CALL_S / 2)
        assert street.let_in == MAX_CALLERS
        assert b" 200 " in await asked(street, GET)
        # Each caller that was let in was shown out again.
        assert await heard(slow[0]) == b""


async def test_flood_is_let_in_at_a_pace(autojump_clock: trio.testing.MockClock) -> None:
    async with open_door(FakeBackend()) as street:
        callers = [street.knock() for _ in range(500)]
        for caller in callers:
            await caller.send_all(GET)
        await trio.sleep(1.0)
        assert 0 < street.let_in <= 1 / scrape.PACE_S + 1
        assert b" 200 " in await asked(street, GET)


async def test_caller_that_goes_away_costs_nothing_and_is_no_news(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_door(FakeBackend()) as street:
        for sent in (b"", b"GET", GET):
            caller = street.knock()
            await caller.send_all(sent)
            await caller.aclose()
        assert b" 200 " in await asked(street, GET)
    assert not caplog.records


async def test_bug_behind_the_door_closes_the_call_and_not_the_daemon(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    backend = CountedBackend()
    async with open_door(backend) as street:
        backend.broken = True
        assert await asked(street, GET) == b""
        backend.broken = False
        assert b" 200 " in await asked(street, GET)
    assert "a scrape could not be answered" in caplog.text
