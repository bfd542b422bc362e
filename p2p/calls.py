"""Messages to one peer, on /vcoin/rr/1 and 2: a stream for each, acknowledged by one byte.

A message is one-way: an answer is a message of its own. The acknowledgement says that the receiver keeps it. On the
second protocol there are messages that peers of the first do not know: those do not open it, and lose nothing.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from enum import IntEnum

import trio

from p2p.streams import MAX_CALL_BYTES, FramedStream
from p2p.transport import Transport, split_address
from protocol.errors import LocalProtocolError, Malformed, P2PError, RemoteProtocolError
from protocol.network.budgets import Budgets, OverBudget, Paces, Rate
from protocol.wire.bounded import Counted
from protocol.wire.ids import PeerId

PROTOCOL = "/vcoin/rr/1"
LATER_PROTOCOL = "/vcoin/rr/2"
CALL_S = 10.0
MAX_IN_FLIGHT = 64
"""Messages to one peer at the same time."""
MAX_INCOMING = 96
"""Messages of one peer at the same time; more than it may send, as its deadlines and ours do not end together."""

SENDING = Rate(150, 1_000, 500)
"""Messages that we send to one peer: fewer than the streams that it lets us open."""
RECEIVED_PER_S = 8 * 2**20
RECEIVED_AT_ONCE = 32 * 2**20
"""Bytes of messages that one peer may send."""
MAX_PEERS = 4_096


class Reply(IntEnum):
    """The acknowledgement byte."""

    ACCEPTED = 0
    BUSY = 1
    """The receiver's queue is full; retry later."""


Accept = Callable[[PeerId, bytes], Awaitable[Reply]]
"""Takes a message and returns once it is journalled. Raises: RemoteProtocolError if the bytes are no message."""
Reach = Callable[[str], Awaitable[PeerId]]
"""Connects to a peer id or an address; see `Dialler.reach`."""


class NoAnswer(P2PError):
    """A connected peer did not acknowledge a message in time."""

    def __init__(self, peer_id: PeerId) -> None:
        super().__init__(f"{peer_id} did not answer in {CALL_S:g} s", transient=True)
        self.peer_id = peer_id


class Calls:
    """Sends messages to peers and takes theirs."""

    def __init__(self, transport: Transport, accept: Accept, reach: Reach) -> None:
        self._transport = transport
        self._accept = accept
        self._reach = reach
        self._incoming: Counter[PeerId] = Counter()
        self._outgoing: dict[PeerId, trio.CapacityLimiter] = {}
        self._sending = Paces[PeerId](SENDING, MAX_PEERS)
        self._receiving = Budgets[PeerId](Rate(RECEIVED_PER_S, 1_000, RECEIVED_AT_ONCE), MAX_PEERS)
        transport.handle(PROTOCOL, self._serve)
        transport.handle(LATER_PROTOCOL, self._serve)

    async def send(self, to: str, message: bytes, protocol: str = PROTOCOL) -> PeerId:
        """Deliver a message.

        Args: to, a peer id, or a multiaddr that ends in one and is dialled if need be; protocol, the first that knows
        the message.
        Returns: the peer that has the message.
        Raises: P2PError if it is not acknowledged within ten seconds, transient unless the address is none, and
            NoAnswer where the peer was connected; LocalProtocolError if the message is too large.
        """
        if len(message) > MAX_CALL_BYTES:
            raise LocalProtocolError(f"a message of {len(message)} bytes, at most {MAX_CALL_BYTES}")
        peer_id = split_address(to)[0] if to.startswith("/") else PeerId(to)
        limiter = self._outgoing.setdefault(peer_id, trio.CapacityLimiter(MAX_IN_FLIGHT))
        reached = False
        try:
            with trio.fail_after(CALL_S):
                async with limiter:
                    await trio.sleep(self._sending.wait_ms(peer_id, _now_ms()) / 1000)
                    await self._reach(to)
                    reached = True
                    await self._deliver(peer_id, message, protocol)
        except trio.TooSlowError as error:
            if reached:
                raise NoAnswer(peer_id) from error
            raise P2PError(f"no way to {peer_id} in {CALL_S:g} s", transient=True) from error
        finally:
            if not limiter.borrowed_tokens and not limiter.statistics().tasks_waiting:
                self._outgoing.pop(peer_id, None)
        return peer_id

    async def _deliver(self, peer_id: PeerId, message: bytes, protocol: str) -> None:
        stream = await self._transport.open(peer_id, protocol)
        done = False
        try:
            await stream.write_frame(message, within_s=CALL_S)
            reply = _read_reply(await stream.read_frame(1, within_s=CALL_S))
            done = True
        except RemoteProtocolError as fault:
            self._transport.report(peer_id, fault)
            raise P2PError(f"{peer_id} answered nonsense", transient=False) from fault
        finally:
            await (stream.close() if done else stream.abort())
        if reply is Reply.BUSY:
            raise P2PError(f"{peer_id} is busy", transient=True)

    async def _serve(self, stream: FramedStream) -> None:
        peer_id = stream.peer_id
        if self._incoming[peer_id] >= MAX_INCOMING:
            raise OverBudget(f"more than {MAX_INCOMING} messages at once")
        with Counted(self._incoming, peer_id):
            message = await stream.read_frame(MAX_CALL_BYTES, within_s=CALL_S)
            if not self._receiving.take(peer_id, _now_ms(), len(message)):
                raise OverBudget("messages of more bytes than a peer may send")
            reply = await self._accept(peer_id, message)
            await stream.write_frame(bytes([reply]), within_s=CALL_S)


def _now_ms() -> int:
    return round(1000 * trio.current_time())


def _read_reply(answer: bytes) -> Reply:
    try:
        (code,) = answer
        return Reply(code)
    except ValueError as error:
        raise Malformed("an acknowledgement that is none") from error
