"""How surely and how fast gossip reaches every node: real libp2p hosts on loopback, all in one process and one loop."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from p2p.host import open_host
from protocol.effects import PublishHeartbeat, PublishRequest
from protocol.events import Event, HeartbeatReceived, RequestReceived
from tests.benchmarks.gossip_crowd import measure_crowd, spread
from tests.benchmarks.gossipsub_crowd import measure_gossipsub
from tests.benchmarks.line import Line
from tests.fakes.loopback import ANY_PORT
from tests.fakes.nodes import Node, heartbeat, request, run_node, secret, until

NEEDS = ("venv",)
SIZES = (8, 20)
KEYS = (
    "gossip.delivery",
    "gossip.p95_s",
    "gossip.cpu",
    "gossipsub.delivery",
    "gossipsub.p95_s",
    "gossipsub.cpu",
    "gossip.beats_delivered_pct_8",
    "gossip.beats_p50_ms_8",
    "gossip.beats_p95_ms_8",
    "gossip.requests_delivered_pct_8",
    "gossip.requests_p50_ms_8",
    "gossip.requests_p95_ms_8",
    "gossip.beats_delivered_pct_20",
    "gossip.beats_p50_ms_20",
    "gossip.beats_p95_ms_20",
    "gossip.requests_delivered_pct_20",
    "gossip.requests_p50_ms_20",
    "gossip.requests_p95_ms_20",
)
BEATS = 5
BEAT_EVERY_S = 4.0
TICK_MS = 1_000
REQUESTS = 30
REQUEST_EVERY_S = 0.2
SETTLE_S = 6.0


def run() -> list[Line]:
    """Beats and requests among few nodes, at a tick of one second; beats among two hundred; then GossipSub."""
    logging.disable(logging.WARNING)
    return [*(line for size in SIZES for line in trio.run(_measure, size)), *measure_crowd(), *measure_gossipsub()]


async def _measure(size: int) -> list[Line]:
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        async with AsyncExitStack() as stack:
            nodes: list[Node] = []
            for index in range(size):
                host = await stack.enter_async_context(open_host(secret(index), ANY_PORT))
                known = tuple(node.address for node in nodes)
                node = run_node(host, index, Path(made), bootnodes=known, tick_ms=TICK_MS)
                nodes.append(await stack.enter_async_context(node))
            await until(lambda: all(len(node.adapter.neighbours) >= min(4, size - 1) for node in nodes))
            cpu, wall = time.process_time(), time.perf_counter()
            beats = await _beats(nodes)
            load = (time.process_time() - cpu) / (time.perf_counter() - wall)
            requests = await _requests(nodes)
    anchor = f"{size} hosts in one loop, {100 * load:.0f}% of a core"
    return [
        *_lines(f"beats_{{}}_{size}", beats, size * BEATS * (size - 1), anchor, 3_000),
        *_lines(f"requests_{{}}_{size}", requests, REQUESTS * (size - 1), anchor, 300),
    ]


def _lines(key: str, delays_ms: list[float], expected: int, anchor: str, goal_ms: int) -> list[Line]:
    cuts = statistics.quantiles(delays_ms, n=20)
    n = len(delays_ms)
    return [
        Line("gossip." + key.format("delivered_pct"), 100 * n / expected, "%", ">= 99.9", anchor, expected),
        Line("gossip." + key.format("p50_ms"), statistics.median(delays_ms), "ms", f"<= {goal_ms}", anchor, n),
        Line("gossip." + key.format("p95_ms"), cuts[18], "ms", "", anchor, n),
    ]


async def _beats(nodes: list[Node]) -> list[float]:
    published: dict[tuple[str, int], float] = {}
    delays: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, HeartbeatReceived):
            delays.append(1000 * (time.perf_counter() - published[event.peer_id, event.heartbeat.counter]))

    async def beat(index: int, counter: int) -> None:
        node = nodes[index]
        published[node.transport.peer_id, counter] = time.perf_counter()
        await node.adapter.perform(PublishHeartbeat(heartbeat(counter, node.transport.addresses)))

    for node in nodes:
        node.inbox.listener = hear
    await spread(len(nodes), BEATS, BEAT_EVERY_S, beat)
    await trio.sleep(SETTLE_S)
    return delays


async def _requests(nodes: list[Node]) -> list[float]:
    published: dict[int, float] = {}
    delays: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, RequestReceived):
            delays.append(1000 * (time.perf_counter() - published[event.signed.request.nonce]))

    for node in nodes:
        node.inbox.listener = hear
    for nonce in range(REQUESTS):
        published[nonce] = time.perf_counter()
        await nodes[nonce % len(nodes)].adapter.perform(PublishRequest(request(nonce)))
        await trio.sleep(REQUEST_EVERY_S)
    await trio.sleep(SETTLE_S)
    return delays
