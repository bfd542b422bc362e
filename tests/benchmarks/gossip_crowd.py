"""Beats among two hundred nodes: real libp2p hosts on loopback, all in one process and one loop, a beat each 30 s.

Two things that no node of the network meets would be measured here instead of gossip, so both are taken out. The time
in which other processes had the core is left out of the clock. And no garbage is collected while beats are measured: a
full collection looks at the objects of two hundred nodes, and the loop stands still for most of a second meanwhile.
`VCOIN_BENCH_COLLECT=1` lets it be collected, and shows what that does.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from coincurve import PrivateKey

from p2p.host import open_host
from protocol.effects import PublishHeartbeat
from protocol.events import Event, HeartbeatReceived
from protocol.network.gossip import TICK_MS
from protocol.network.mesh import DEGREE_LOW
from tests.benchmarks.line import Line
from tests.fakes.loopback import ANY_PORT
from tests.fakes.nodes import Node, heartbeat, run_node, secret

if TYPE_CHECKING:
    from trio_typing import TaskStatus

HOSTS = int(os.environ.get("VCOIN_BENCH_HOSTS", "200"))
BEATS = 3
BEAT_EVERY_S = 30.0
SETTLE_S = 10.0
JOIN_WITHIN_S = 240.0
QUIET_S = 5.0
ASK_KERNEL_S = 0.01
CHECKS = 5_000
KNOWN = 6
"""Earlier nodes that a new one is told of, by lot."""


class OwnTime(trio.abc.Clock):
    """The time that this process had or did not want a core: what others take of the machine does not count.

    The kernel is asked a hundred times a second; asked at each look at the clock, it would be a tenth of what is
    measured.
    """

    def __init__(self) -> None:
        self._schedstat = os.open("/proc/self/schedstat", os.O_RDONLY)
        self._waited_s = 0.0
        self._ask_again = 0.0
        self._latest = 0.0

    def waited_s(self) -> float:
        """Seconds that this process was ready to run while another had the core, as the kernel counts them."""
        return int(os.pread(self._schedstat, 100, 0).split()[1]) / 1e9

    def start_clock(self) -> None:
        """See trio."""

    def current_time(self) -> float:
        """See trio."""
        now = time.perf_counter()
        if now >= self._ask_again:
            self._waited_s = self.waited_s()
            self._ask_again = now + ASK_KERNEL_S
        self._latest = max(self._latest, now - self._waited_s)
        return self._latest

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """See trio."""
        return deadline - self.current_time()


@dataclass
class Watch:
    """The load of the loop and the processor meanwhile."""

    lags_ms: list[float] = field(default_factory=list)
    collecting_s: float = 0.0
    cpu_s: float = 0.0
    own_s: float = 0.0
    wall_s: float = 0.0
    _began: float = 0.0

    def on_collection(self, phase: str, _: dict[str, int]) -> None:
        """Called by the garbage collector."""
        if phase == "start":
            self._began = time.process_time()
        else:
            self.collecting_s += time.process_time() - self._began

    async def measure_lag(self) -> None:
        """How late a task runs that slept for a tenth of a second; until cancelled."""
        while True:
            due = trio.current_time() + 0.1
            await trio.sleep_until(due)
            self.lags_ms.append(1000 * (trio.current_time() - due))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch while the block runs."""
        gc.callbacks.append(self.on_collection)
        cpu, own, wall = time.process_time(), trio.current_time(), time.perf_counter()
        try:
            yield
        finally:
            gc.callbacks.remove(self.on_collection)
            self.cpu_s = time.process_time() - cpu
            self.own_s = trio.current_time() - own
            self.wall_s = time.perf_counter() - wall

    def __str__(self) -> str:
        lags = sorted(self.lags_ms)
        return (
            f"loop lag p99 {lags[int(0.99 * len(lags))]:.0f} ms, garbage {self.collecting_s / self.own_s:.2f} "
            f"of a core, {100 * (1 - self.own_s / self.wall_s):.0f}% of the time waiting for one"
        )


def measure_crowd() -> list[Line]:
    """The lines gossip.delivery, gossip.p95_s and gossip.cpu."""
    return trio.run(_measure, clock=OwnTime())


async def _measure() -> list[Line]:
    watch = Watch()
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        async with _crowd(Path(made)) as nodes, trio.open_nursery() as nursery:
            if not os.environ.get("VCOIN_BENCH_COLLECT"):
                gc.disable()
            nursery.start_soon(watch.measure_lag)
            with watch.running():
                delays_s = await _beats(nodes)
            edges = sum(len(node.adapter.neighbours) for node in nodes) / len(nodes)
            nursery.cancel_scope.cancel()
            gc.enable()
    expected = HOSTS * BEATS * (HOSTS - 1)
    anchor = (
        f"{HOSTS} hosts with {edges:.1f} neighbours, p50 {statistics.median(delays_s):.1f} s, {watch}, "
        f"{_bare_check_us():.0f} us for a bare signature check"
    )
    return [
        Line("gossip.delivery", 100 * len(delays_s) / expected, "%", ">= 99.9", anchor, expected),
        Line("gossip.p95_s", statistics.quantiles(delays_s, n=20)[18], "s", "<= 5", anchor, len(delays_s)),
        Line("gossip.cpu", watch.cpu_s / watch.own_s, "cores", "<= 0.5", anchor),
    ]


def _bare_check_us() -> float:
    """How fast this machine is now: a part of what is measured that is not ours."""
    key = PrivateKey(secret(0))
    signature, public = key.sign(b"beat"), key.public_key
    began = time.process_time()
    for _ in range(CHECKS):
        public.verify(signature, b"beat")
    return 1e6 * (time.process_time() - began) / CHECKS


@asynccontextmanager
async def _crowd(folder: Path) -> AsyncIterator[list[Node]]:
    """The nodes, each with enough neighbours."""
    lot = random.Random(1)
    nodes: list[Node] = []
    over = trio.Event()

    def clock_ms() -> int:
        return 1_700_000_000_000 + round(1000 * trio.current_time())

    async def live(index: int, task_status: TaskStatus[None]) -> None:
        known = tuple(node.address for node in lot.sample(nodes, min(KNOWN, len(nodes))))
        options = {"bootnodes": known, "tick_ms": TICK_MS, "clock_ms": clock_ms}
        async with (
            open_host(secret(index), ANY_PORT) as host,
            run_node(host, index, folder, **options) as node,  # type: ignore[arg-type]
        ):
            nodes.append(node)
            task_status.started()
            await over.wait()

    async with trio.open_nursery() as nursery:
        for index in range(HOSTS):
            await nursery.start(live, index)
        deadline = trio.current_time() + JOIN_WITHIN_S
        while not all(len(node.adapter.neighbours) >= DEGREE_LOW for node in nodes):
            if trio.current_time() > deadline:
                raise RuntimeError(f"not everybody found {DEGREE_LOW} neighbours in {JOIN_WITHIN_S:g} s")
            await trio.sleep(0.5)
        await trio.sleep(QUIET_S)
        yield nodes
        over.set()


async def spread(hosts: int, beats: int, every_s: float, beat: Callable[[int, int], Awaitable[None]]) -> None:
    """Call `beat` with a host's index and the number of its beat: each host so often, all spread over the interval."""

    async def of(index: int) -> None:
        await trio.sleep(every_s * index / hosts)
        for counter in range(beats):
            await beat(index, counter)
            await trio.sleep(every_s)

    async with trio.open_nursery() as nursery:
        for index in range(hosts):
            nursery.start_soon(of, index)


async def _beats(nodes: list[Node]) -> list[float]:
    """How long every beat took to every other node, in seconds."""
    published: dict[tuple[str, int], float] = {}
    delays_s: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, HeartbeatReceived):
            delays_s.append(trio.current_time() - published[event.peer_id, event.heartbeat.counter])

    async def beat(index: int, counter: int) -> None:
        node = nodes[index]
        published[node.transport.peer_id, counter] = trio.current_time()
        await node.adapter.perform(PublishHeartbeat(heartbeat(counter, node.transport.addresses)))

    for node in nodes:
        node.inbox.listener = hear
    await spread(len(nodes), BEATS, BEAT_EVERY_S, beat)
    await trio.sleep(SETTLE_S)
    return delays_s
