"""What each attack takes of a node: memory, the lag of its loop, and the dials of honest peers that it still serves.

The node is a process of its own; attackers come from 127.0.0.2 or over a connection like any peer, honest peers dial
ten times while the attack goes on. The anchor says what each attack took.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trio
from coincurve import PrivateKey
from libp2p.peer.id import ID
from libp2p.stream_muxer.yamux import yamux

from p2p.gossip import PROTOCOL as GOSSIP
from p2p.host import Host, open_host
from p2p.streams import FramedStream
from protocol.errors import P2PError
from protocol.network.frames import Frames, encode_batch
from protocol.wire.ids import PeerId
from tests.benchmarks.attacked_node import STUCK
from tests.benchmarks.line import Line
from tests.fakes.loopback import ANY_PORT
from tests.fakes.nodes import secret
from tests.unit.protocol.network.nodes import key
from tests.unit.protocol.network.test_gossip import made_by

NEEDS = ("venv",)
KEYS = ("attack.rss_growth_mb", "attack.lag_ms", "attack.dials_ok")
ATTACK_S = 4.0
DIALS = 10
HELLO = b"\x13/multistream/1.0.0\n\x07/noise\n"


@dataclass
class Victim:
    """The node that is attacked."""

    process: subprocess.Popen[str]
    address: str

    @property
    def port(self) -> int:
        return int(self.address.split("/")[4])

    @property
    def peer_id(self) -> PeerId:
        return PeerId(self.address.rpartition("/")[2])

    def read(self) -> tuple[float, float]:
        """Its memory in MB, and its worst lag since the last call in ms."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["memory_mb"], answer["lag_ms"]


Attack = Callable[[Victim, int], Awaitable[None]]


def run() -> list[Line]:
    """Raises: RuntimeError if the node ends."""
    logging.disable(logging.WARNING)
    return trio.run(_measure)


async def _measure() -> list[Line]:
    found: dict[str, tuple[float, float, int]] = {}
    with _victim() as victim:
        # What the first peers need is not the attackers' doing.
        await _dial(victim, DIALS)
        await trio.sleep(1)
        victim.read()
        await trio.sleep(ATTACK_S)
        idle_ms = victim.read()[1]
        for index, (name, attack) in enumerate(ATTACKS.items()):
            before_mb, _ = victim.read()
            served = await _under(victim, attack, index)
            after_mb, lag_ms = victim.read()
            found[name] = (after_mb - before_mb, lag_ms, served)
            # The honest dials of the last attack have left the window of the door when the next begins.
            await trio.sleep(11)
    worst = max(found, key=lambda name: found[name][1])
    took = "; ".join(f"{name} {mb:.1f} MB {lag:.0f} ms {ok}/{DIALS}" for name, (mb, lag, ok) in found.items())
    return [
        Line("attack.rss_growth_mb", max(mb for mb, _, _ in found.values()), "MB", "<= 20", took, len(found)),
        Line("attack.lag_ms", found[worst][1], "ms", "<= 150", f"{idle_ms:.0f} ms without; {_load()}", len(found)),
        Line(
            "attack.dials_ok",
            100 * sum(ok for _, _, ok in found.values()) / (DIALS * len(found)),
            "%",
            ">= 100",
            "",
            DIALS * len(found),
        ),
    ]


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


@contextmanager
def _victim() -> Iterator[Victim]:
    command = [sys.executable, "-m", "tests.benchmarks.attacked_node"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Victim(process, process.stdout.readline().strip())
        process.terminate()


async def _under(victim: Victim, attack: Attack, index: int) -> int:
    """Attack for a while; how many of the honest dials meanwhile were served."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attack, victim, index)
        await trio.sleep(1)
        served = await _dial(victim, DIALS)
        await trio.sleep(ATTACK_S)
        nursery.cancel_scope.cancel()
    return served


async def _dial(victim: Victim, count: int) -> int:
    served = 0
    async with open_host(secret(500), ANY_PORT) as honest:
        for _ in range(count):
            with contextlib.suppress(P2PError):
                await honest.dial(victim.address)
                served += 1
            await honest.disconnect(victim.peer_id)
    return served


# --- attacks: each goes on until it is cancelled --------------------------------------------------------------------
async def _slow(victim: Victim, index: int) -> None:
    """Handshakes that are never ended, from one address."""
    held = []
    try:
        while True:
            with contextlib.suppress(OSError):
                stream = await trio.open_tcp_stream("127.0.0.1", victim.port, local_address="127.0.0.2")
                held.append(stream)
                await stream.send_all(HELLO + b"\xff\xff")
            if len(held) > 400:
                await trio.aclose_forcefully(held.pop(0))
            await trio.sleep(0.005)
    finally:
        for stream in held:
            await trio.aclose_forcefully(stream)


async def _garbage(victim: Victim, index: int) -> None:
    """Bytes that are no handshake."""
    while True:
        with contextlib.suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", victim.port, local_address="127.0.0.2") as stream:
                await stream.send_all(HELLO + os.urandom(60_000))
        await trio.sleep(0.005)


async def _come_and_go(victim: Victim, index: int) -> None:
    """Whole handshakes, one after the other."""
    async with open_host(secret(600 + index), ANY_PORT) as attacker:
        while True:
            with contextlib.suppress(P2PError):
                await attacker.dial(victim.address)
            await attacker.disconnect(victim.peer_id)


def _frames(*frames: bytes, on_stream: bool = False) -> Attack:
    """Yamux frames over and over, over a new connection whenever the last one was cut off."""

    async def attack(victim: Victim, index: int) -> None:
        async with open_host(secret(600 + index), ANY_PORT) as attacker:
            while True:
                with contextlib.suppress(Exception):
                    await attacker.dial(victim.address)
                    await _pour(attacker, victim, frames, on_stream)
                await trio.sleep(0.1)

    return attack


async def _pour(attacker: Host, victim: Victim, frames: tuple[bytes, ...], on_stream: bool) -> None:
    (connection,) = attacker._swarm.get_connections(ID.from_base58(victim.peer_id))
    wire = connection.muxed_conn
    assert isinstance(wire, yamux.Yamux)
    number = 1001
    if on_stream:
        stream = await attacker._host.new_stream(ID.from_base58(victim.peer_id), [STUCK])  # type: ignore[list-item]
        number = stream.muxed_stream.stream_id  # type: ignore[attr-defined]
    while not wire.is_closed:
        for frame in frames:
            await wire._write_frame(frame[:4] + struct.pack("!I", number) + frame[8:])
        number += 0 if on_stream else 2


def _forged() -> Attack:
    """Gossip that no honest peer passes on; from new peers as the old are banned."""
    batches = [
        encode_batch(Frames(tuple(made_by(author, chain_id=31337) for author in map(key, range(at, at + 20)))))
        for at in range(0, 400, 20)
    ]

    async def attack(victim: Victim, index: int) -> None:

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


ATTACKS: dict[str, Attack] = {
    "slow handshakes": _slow,
    "garbage": _garbage,
    "coming and going": _come_and_go,
    "pings": _frames(_yamux(yamux.TYPE_PING, yamux.FLAG_SYN, 1)),
    "streams": _frames(_yamux(yamux.TYPE_WINDOW_UPDATE, yamux.FLAG_SYN, 0)),
    "opened and reset": _frames(
        _yamux(yamux.TYPE_WINDOW_UPDATE, yamux.FLAG_SYN, 0), _yamux(yamux.TYPE_WINDOW_UPDATE, yamux.FLAG_RST, 0)
    ),
    "beyond the window": _frames(_yamux(yamux.TYPE_DATA, 0, 60_000, bytes(60_000)), on_stream=True),
    "unwanted gossip": _forged(),
}
