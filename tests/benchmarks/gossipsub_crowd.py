"""GossipSub of the library beside our gossip: the same beats, over the same hosts, among as many as it can do.

With its settings for the job: degree 6, a heartbeat of one second, none of what drops or scores messages. Its queues of
32 entries are made longer, since it loses without a word what does not fit.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import libp2p.pubsub.pubsub as library
import trio
from libp2p.custom_types import TProtocol
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service

from p2p.host import Host, open_host
from protocol.wire import codec
from tests.benchmarks.gossip_crowd import BEAT_EVERY_S, QUIET_S, SETTLE_S, OwnTime, Watch, spread
from tests.benchmarks.line import Line
from tests.fakes.loopback import ANY_PORT
from tests.fakes.nodes import heartbeat, secret

if TYPE_CHECKING:
    from trio_typing import TaskStatus

HOSTS = int(os.environ.get("VCOIN_BENCH_GOSSIPSUB_HOSTS", "100"))
BEATS = 2
DEGREE = 6
TOPIC = "beats"


class Crowd:
    """Hosts that are joined by GossipSub, and how long each beat took to each of them."""

    def __init__(self) -> None:
        self.members: list[tuple[Host, Pubsub]] = []
        self.sent_at: dict[bytes, float] = {}
        self.delays_s: list[float] = []

    async def beat(self, index: int, counter: int) -> None:
        """Publish a beat of one host."""
        _, pubsub = self.members[index]
        # The counter tells the beats of all hosts apart.
        body = codec.encode(heartbeat(counter * HOSTS + index, ("/ip4/127.0.0.1/tcp/24000",)))
        self.sent_at[body] = trio.current_time()
        await pubsub.publish(TOPIC, body)

    async def hear(self, messages: object) -> None:
        """Count what one host hears."""
        while True:
            message: rpc_pb2.Message = await messages.get()  # type: ignore[attr-defined]
            self.delays_s.append(trio.current_time() - self.sent_at[message.data])


def measure_gossipsub() -> list[Line]:
    """The lines gossipsub.delivery, gossipsub.p95_s and gossipsub.cpu."""
    library.SUBSCRIPTION_CHANNEL_SIZE = 4_096
    return trio.run(_measure, clock=OwnTime())


async def _measure() -> list[Line]:
    watch = Watch()
    async with _crowd() as crowd, trio.open_nursery() as nursery:
        gc.disable()
        nursery.start_soon(watch.measure_lag)
        with watch.running():
            await spread(HOSTS, BEATS, BEAT_EVERY_S, crowd.beat)
            await trio.sleep(SETTLE_S)
        nursery.cancel_scope.cancel()
        gc.enable()
    # A host hears itself, too.
    delays_s = sorted(crowd.delays_s)[HOSTS * BEATS :]
    expected = HOSTS * BEATS * (HOSTS - 1)
    anchor = f"{HOSTS} hosts, p50 {statistics.median(delays_s):.1f} s, {watch}"
    return [
        Line("gossipsub.delivery", 100 * len(delays_s) / expected, "%", "", anchor, expected),
        Line("gossipsub.p95_s", statistics.quantiles(delays_s, n=20)[18], "s", "", anchor, len(delays_s)),
        Line("gossipsub.cpu", watch.cpu_s / watch.own_s, "cores", "", anchor),
    ]


@asynccontextmanager
async def _crowd() -> AsyncIterator[Crowd]:
    lot, crowd, over = random.Random(1), Crowd(), trio.Event()

    async def live(index: int, task_status: TaskStatus[None]) -> None:
        gossipsub = GossipSub(
            protocols=[TProtocol(PROTOCOL_ID_V11)],
            degree=DEGREE,
            degree_low=DEGREE - 2,
            degree_high=2 * DEGREE,
            heartbeat_interval=1,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
        )
        async with open_host(secret(index), ANY_PORT) as host:
            pubsub = Pubsub(host._host, gossipsub)
            async with background_trio_service(pubsub), background_trio_service(gossipsub):
                await pubsub.wait_until_ready()
                heard = await pubsub.subscribe(TOPIC)
                for other, _ in lot.sample(crowd.members, min(DEGREE, len(crowd.members))):
                    await host.dial(other.addresses[0])
                crowd.members.append((host, pubsub))
                nursery.start_soon(crowd.hear, heard)
                task_status.started()
                await over.wait()

    async with trio.open_nursery() as nursery:
        for index in range(HOSTS):
            await nursery.start(live, index)
        await trio.sleep(4 * QUIET_S)
        yield crowd
        over.set()
        nursery.cancel_scope.cancel()
