"""The library without our repairs and limits, as a process of its own: python -m tests.benchmarks.bare_node.

It is made of the same parts as the host of a node: a secp256k1 key, TCP, noise and yamux. Nothing of this project that
reaches into the library may be imported here.
"""

from __future__ import annotations

import logging
import sys

import trio
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr

from tests.benchmarks.pulse import STUCK, show_pulse


async def stay(stream: INetStream) -> None:
    """Never read."""
    await trio.sleep_forever()


async def main() -> None:
    """Until its input ends."""
    assert "p2p.hardening" not in sys.modules, "this would measure our repairs, not what the library does without them"
    # A line of the log for every fault of a peer costs more than the fault, and belongs to its reader.
    logging.disable(logging.CRITICAL)
    keys = create_new_key_pair()
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE: NoiseTransport(keys, noise_privkey=create_noise_key_pair().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
        transports=[TCP()],
    )
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        host.set_stream_handler(TProtocol(STUCK), stay)
        await show_pulse(str(host.get_addrs()[0]))


if __name__ == "__main__":
    trio.run(main)
