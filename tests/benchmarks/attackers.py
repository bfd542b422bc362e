"""Attacks on a process that listens: each from an address of its own, until it is cancelled.

Peers of theirs speak noise and raw yamux: no limit that a multiplexer of ours has for itself holds an attacker back.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from coincurve import PrivateKey
from libp2p.abc import ISecureConn
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.transport.upgrader import TransportUpgrader

from p2p.gossip import PROTOCOL as GOSSIP
from p2p.host import open_host
from p2p.streams import FramedStream
from protocol.errors import P2PError
from protocol.network.frames import Frames, encode_batch
from tests.benchmarks.pulse import STUCK
from tests.benchmarks.victim import Victim
from tests.fakes.loopback import ANY_PORT
from tests.support.scenes.gossips import made_by
from tests.unit.protocol.network.nodes import key

ATTACKER = "127.0.0.2"
HELLO = b"\x13/multistream/1.0.0\n"
NOISE_NAME = b"\x07/noise\n"
GIGABYTE = b"\x80\x80\x80\x80\x04"
"""As the length of a line."""
ENTER_S = 5.0
HELD = 400
AT_ONCE = 8
BURST_BYTES = 60_000
"""Frames that leave together: their encryption must cost the attacker less than the victim pays."""

Attack = Callable[[Victim], Awaitable[None]]


async def _connect(victim: Victim) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", victim.port, local_address=ATTACKER)


@asynccontextmanager
async def _entered(victim: Victim) -> AsyncIterator[ISecureConn]:
    """A connection whose handshake is over, under a new name: what is written to it are frames of the multiplexer."""
    keys = create_new_key_pair()
    noise = NoiseTransport(keys, noise_privkey=create_noise_key_pair().private_key)
    upgrader = TransportUpgrader({NOISE: noise}, {TProtocol(YAMUX): yamux.Yamux})
    peer = ID.from_base58(victim.peer_id)
    async with await _connect(victim) as stream:
        with trio.fail_after(ENTER_S):
            secured = await upgrader.upgrade_security(RawConnection(TrioTCPStream(stream), True), True, peer)
            await upgrader.upgrade_connection(secured, peer)
        yield secured


# --- before the handshake is over -----------------------------------------------------------------------------------
async def _slow(victim: Victim) -> None:
    """Handshakes that are never ended."""
    held = []
    try:
        while True:
            with contextlib.suppress(OSError, trio.BrokenResourceError):
                stream = await _connect(victim)
                held.append(stream)
                await stream.send_all(HELLO + NOISE_NAME + b"\xff\xff")
            if len(held) > HELD:
                await trio.aclose_forcefully(held.pop(0))
            await trio.sleep(0.005)
    finally:
        for stream in held:
            await trio.aclose_forcefully(stream)


async def _garbage(victim: Victim) -> None:
    """Bytes that are no handshake."""
    while True:
        with contextlib.suppress(OSError, trio.BrokenResourceError):
            async with await _connect(victim) as stream:
                await stream.send_all(HELLO + NOISE_NAME + os.urandom(60_000))
        await trio.sleep(0.005)


async def _endless_lines(victim: Victim) -> None:
    """Lines of a gigabyte, where the name of a protocol is expected."""

    async def pour() -> None:
        while True:
            with contextlib.suppress(OSError, trio.BrokenResourceError):
                async with await _connect(victim) as stream:
                    await stream.send_all(GIGABYTE)
                    while True:
                        await stream.send_all(bytes(2**20))
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(pour)


# --- as a peer ------------------------------------------------------------------------------------------------------
async def _come_and_go(victim: Victim) -> None:
    """Whole handshakes, and each connection closed as soon as the other side has it."""

    async def come() -> None:
        while True:
            with contextlib.suppress(Exception), trio.fail_after(ENTER_S):
                async with _entered(victim) as connection:
                    await connection.write(_PING)
                    await connection.read()
            await trio.sleep(0.005)

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(come)


def _frames(*frames: bytes, on_stream: bool = False) -> Attack:
    """Yamux frames over and over, over a new connection whenever the last one was cut off.

    on_stream: on one stream without a reader, else each round on a stream of its own.
    """

    async def attack(victim: Victim) -> None:
        while True:
            with contextlib.suppress(Exception):
                async with _entered(victim) as connection, trio.open_nursery() as nursery:
                    nursery.start_soon(_drain, connection, nursery.cancel_scope)
                    with contextlib.suppress(Exception):
                        await _pour(connection, frames, on_stream)
            await trio.sleep(0.1)

    return attack


async def _drain(connection: ISecureConn, over: trio.CancelScope) -> None:
    """Read what is answered, else the victim would wait for us instead of working."""
    with contextlib.suppress(Exception):
        while True:
            await connection.read()
    over.cancel()


async def _pour(connection: ISecureConn, frames: tuple[bytes, ...], on_stream: bool) -> None:
    number = 1001
    if on_stream:
        await connection.write(_numbered(_OPEN, number) + _numbered(_data(HELLO + _line(STUCK)), number))
    while True:
        burst = bytearray()
        while len(burst) < BURST_BYTES:
            for frame in frames:
                burst += _numbered(frame, number)
            number += 0 if on_stream else 2
        await connection.write(bytes(burst))


def _forged() -> Attack:
    """Gossip that no honest peer passes on; from new peers as the old are banned."""
    batches = [
        encode_batch(Frames(tuple(made_by(author, chain_id=31337) for author in map(key, range(at, at + 20)))))
        for at in range(0, 400, 20)
    ]

    async def attack(victim: Victim) -> None:
        while True:
            async with open_host(PrivateKey().secret, ANY_PORT) as attacker:
                attacker.handle(GOSSIP, _listen)
                with contextlib.suppress(P2PError):
                    await attacker.dial(victim.address)
                    stream = await attacker.open(victim.peer_id, GOSSIP)
                    while True:
                        for batch in batches:
                            await stream.write_frame(batch, within_s=5)
            await trio.sleep(0.2)

    return attack


async def _listen(stream: FramedStream) -> None:
    await trio.sleep_forever()


def _yamux(kind: int, flags: int, length: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBHII", 0, kind, flags, 0, length) + body


def _data(body: bytes) -> bytes:
    return _yamux(yamux.TYPE_DATA, 0, len(body), body)


def _numbered(frame: bytes, stream_id: int) -> bytes:
    return frame[:4] + struct.pack("!I", stream_id) + frame[8:]


def _line(name: str) -> bytes:
    return bytes([len(name) + 1]) + name.encode() + b"\n"


_PING = _yamux(yamux.TYPE_PING, yamux.FLAG_SYN, 1)
_OPEN = _yamux(yamux.TYPE_WINDOW_UPDATE, yamux.FLAG_SYN, 0)
_RESET = _yamux(yamux.TYPE_WINDOW_UPDATE, yamux.FLAG_RST, 0)

ATTACKS: dict[str, Attack] = {
    "slow handshakes": _slow,
    "garbage": _garbage,
    "endless lines": _endless_lines,
    "coming and going": _come_and_go,
    "pings": _frames(_PING),
    "empty frames": _frames(_yamux(yamux.TYPE_WINDOW_UPDATE, 0, 1)),
    "streams": _frames(_OPEN),
    "opened and reset": _frames(_OPEN, _RESET),
    "names of no text": _frames(_OPEN, _data(b"\x05\xff\xfe\xfd\xfc\n")),
    "refused streams": _frames(_OPEN, _data(b"\x01\n" + bytes(200_000))),
    "beyond the window": _frames(_data(bytes(60_000)), on_stream=True),
    "giant frames": _frames(_data(bytes(16 * 2**20)), on_stream=True),
    "unwanted gossip": _forged(),
}
