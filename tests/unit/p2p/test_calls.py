"""Messages to one peer: limits each way, deadlines, and answers that are none. Time is trio's own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from p2p.calls import (
    CALL_S,
    LATER_PROTOCOL,
    MAX_IN_FLIGHT,
    MAX_INCOMING,
    PROTOCOL,
    RECEIVED_AT_ONCE,
    SENDING,
    Calls,
    NoAnswer,
    Reply,
)
from p2p.hardening import MAX_OPENINGS, OPENINGS_PER_S
from p2p.streams import MAX_CALL_BYTES, FramedStream
from protocol.errors import LocalProtocolError, Malformed, P2PError, RemoteProtocolError, TooLarge
from protocol.network.budgets import OverBudget
from protocol.wire.ids import PeerId
from tests.fakes.network import MemoryHost, MemoryNetwork
from tests.fakes.nodes import secret


class Faults:
    """The faults of peers that a host found."""

    def __init__(self) -> None:
        self.kinds: list[type[RemoteProtocolError]] = []

    def on_connected(self, peer_id: PeerId, dialled: bool) -> None: ...
    def on_disconnected(self, peer_id: PeerId) -> None: ...
    def on_fault(self, peer_id: PeerId, fault: RemoteProtocolError) -> None:
        self.kinds.append(type(fault))


async def accept(peer_id: PeerId, data: bytes) -> Reply:
    return Reply.ACCEPTED


@asynccontextmanager
async def pair(
    take: Callable[[PeerId, bytes], Awaitable[Reply]] = accept, delay_s: float = 0.0
) -> AsyncIterator[tuple[Calls, MemoryHost, MemoryHost]]:
    """Calls of one host, that host, and another one that takes messages with `take`."""
    network = MemoryNetwork(delay_s)
    async with network.open_host(secret(1)) as one, network.open_host(secret(2)) as two:
        calls = Calls(one, accept, one.dial)
        Calls(two, take, two.dial)
        yield calls, one, two


async def test_a_message_arrives_with_the_name_of_its_sender(autojump_clock: MockClock) -> None:
    got: list[tuple[PeerId, bytes]] = []

    async def take(peer_id: PeerId, data: bytes) -> Reply:
        got.append((peer_id, data))
        return Reply.ACCEPTED

    async with pair(take) as (calls, one, two):
        assert await calls.send(two.addresses[0], b"hello") == two.peer_id
        assert got == [(one.peer_id, b"hello")]


async def test_a_peer_of_an_earlier_version_does_not_open_the_later_protocol_and_is_at_no_fault(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork(0.0)
    async with network.open_host(secret(1)) as one, network.open_host(secret(2)) as two:
        faults = Faults()
        one.watch(faults)
        two.watch(faults)
        calls = Calls(one, accept, one.dial)

        async def serve(stream: FramedStream) -> None:
            raise AssertionError("nothing was sent that it knows")

        two.handle(PROTOCOL, serve)
        with pytest.raises(P2PError, match=LATER_PROTOCOL):
            await calls.send(two.addresses[0], b"hello", LATER_PROTOCOL)
        assert faults.kinds == []


async def test_a_busy_receiver_is_a_transient_failure(autojump_clock: MockClock) -> None:
    async def take(peer_id: PeerId, data: bytes) -> Reply:
        return Reply.BUSY

    async with pair(take) as (calls, _, two):
        with pytest.raises(P2PError, match="is busy") as raised:
            await calls.send(two.addresses[0], b"hello")
        assert raised.value.transient


async def test_a_receiver_that_never_answers_costs_ten_seconds(autojump_clock: MockClock) -> None:
    async def take(peer_id: PeerId, data: bytes) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async with pair(take) as (calls, _, two):
        before = trio.current_time()
        with pytest.raises(NoAnswer) as raised:
            await calls.send(two.addresses[0], b"hello")
        assert raised.value.peer_id == two.peer_id
        assert trio.current_time() - before == pytest.approx(CALL_S)


async def test_who_cannot_be_reached_in_time_is_not_said_to_be_silent(autojump_clock: MockClock) -> None:
    async def reach(to: str) -> PeerId:
        await trio.sleep_forever()
        raise AssertionError

    network = MemoryNetwork()
    async with network.open_host(secret(1)) as one, network.open_host(secret(2)) as two:
        with pytest.raises(P2PError, match="no way to") as raised:
            await Calls(one, accept, reach).send(two.peer_id, b"hello")
        assert not isinstance(raised.value, NoAnswer)


async def test_so_many_are_under_way_to_one_peer_and_no_more(autojump_clock: MockClock) -> None:
    at_once = most = 0

    async def take(peer_id: PeerId, data: bytes) -> Reply:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await trio.sleep(1)
        at_once -= 1
        return Reply.ACCEPTED

    async with pair(take) as (calls, _, two):
        async with trio.open_nursery() as nursery:
            for _ in range(3 * MAX_IN_FLIGHT):
                nursery.start_soon(calls.send, two.addresses[0], b"hello")
        assert most == MAX_IN_FLIGHT
        assert calls._outgoing == {}


async def test_waiting_for_its_turn_counts_towards_a_messages_deadline(autojump_clock: MockClock) -> None:
    async def take(peer_id: PeerId, data: bytes) -> Reply:
        await trio.sleep(8)
        return Reply.ACCEPTED

    outcomes: list[str] = []
    async with pair(take) as (calls, _, two):

        async def send() -> None:
            try:
                await calls.send(two.addresses[0], b"hello")
                outcomes.append("sent")
            except P2PError:
                outcomes.append("late")

        before = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(2 * MAX_IN_FLIGHT):
                nursery.start_soon(send)
        assert outcomes == ["sent"] * MAX_IN_FLIGHT + ["late"] * MAX_IN_FLIGHT
        assert trio.current_time() - before == pytest.approx(CALL_S)


async def test_a_peer_that_opens_too_many_streams_is_at_fault(autojump_clock: MockClock) -> None:
    async with pair() as (_, one, two):
        faults = Faults()
        two.watch(faults)
        await one.dial(two.addresses[0])
        for _ in range(MAX_INCOMING + 1):
            await one.open(two.peer_id, PROTOCOL)
        await trio.testing.wait_all_tasks_blocked()
        assert faults.kinds == [OverBudget]


@pytest.mark.parametrize("answer", [b"\x07", b"", b"\x00\x00"])
async def test_an_answer_that_is_none_is_a_fault_of_the_receiver(autojump_clock: MockClock, answer: bytes) -> None:
    async with pair() as (calls, one, two):
        faults = Faults()
        one.watch(faults)

        async def nonsense(stream: FramedStream) -> None:
            await stream.read_frame(MAX_CALL_BYTES, within_s=1)
            await stream.write_frame(answer, within_s=1)

        two.handle(PROTOCOL, nonsense)
        with pytest.raises(P2PError, match="nonsense"):
            await calls.send(two.addresses[0], b"hello")
        assert faults.kinds in ([Malformed], [TooLarge])


async def test_a_message_over_the_limit_is_our_fault_to_send_and_theirs_to_have_sent(
    autojump_clock: MockClock,
) -> None:
    async with pair() as (calls, one, two):
        await calls.send(two.addresses[0], bytes(MAX_CALL_BYTES))
        with pytest.raises(LocalProtocolError):
            await calls.send(two.addresses[0], bytes(MAX_CALL_BYTES + 1))
        faults = Faults()
        two.watch(faults)
        stream = await one.open(two.peer_id, PROTOCOL)
        await stream.write_frame(bytes(MAX_CALL_BYTES + 1), within_s=1)
        with pytest.raises(P2PError):
            await stream.read_frame(1, within_s=1)
        assert faults.kinds == [TooLarge]


async def test_half_a_message_is_not_waited_for_for_ever(autojump_clock: MockClock) -> None:
    async with pair() as (_, one, two):
        await one.dial(two.addresses[0])
        stream = await one.open(two.peer_id, PROTOCOL)
        await stream._raw.write(b"\0\0\0\x10half")
        before = trio.current_time()
        with pytest.raises(P2PError, match="broke"):
            await stream.read_frame(1, within_s=1_000)
        assert trio.current_time() - before == pytest.approx(CALL_S)


async def test_a_burst_waits_until_the_other_side_has_room_for_its_streams(autojump_clock: MockClock) -> None:
    async with pair() as (calls, _, two):
        before = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(int(SENDING.burst) + 300):
                nursery.start_soon(calls.send, two.addresses[0], b"hello")
        assert trio.current_time() - before == pytest.approx(300 / SENDING.amount, abs=0.1)
        assert SENDING.burst <= MAX_OPENINGS
        assert SENDING.amount <= OPENINGS_PER_S


async def test_more_bytes_than_a_peer_may_send_are_a_fault(autojump_clock: MockClock) -> None:
    taken = 0

    async def take(peer_id: PeerId, data: bytes) -> Reply:
        nonlocal taken
        taken += len(data)
        return Reply.ACCEPTED

    async with pair(take) as (calls, _, two):
        faults = Faults()
        two.watch(faults)
        for _ in range(RECEIVED_AT_ONCE // MAX_CALL_BYTES):
            await calls.send(two.addresses[0], bytes(MAX_CALL_BYTES))
        with pytest.raises(P2PError):
            await calls.send(two.addresses[0], bytes(MAX_CALL_BYTES))
        assert faults.kinds == [OverBudget]
        assert taken <= RECEIVED_AT_ONCE
