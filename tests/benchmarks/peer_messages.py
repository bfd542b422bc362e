"""The cost of a message and of a mebibyte between two libp2p hosts on loopback, both in one process and one loop."""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from p2p.host import open_host
from protocol.effects import FetchBlob, PeerEffect, Send
from protocol.events import Event
from protocol.stages.commitment import TokenFrame
from tests.benchmarks.line import Line
from tests.fakes.loopback import ANY_PORT
from tests.fakes.nodes import run_node, secret

NEEDS = ("venv",)
KEYS = ("calls.cold_ms", "calls.p50_ms", "calls.p95_ms", "blobs.mb_s")
CALLS = 300
COLD_CALLS = 10
BLOBS = 3
BLOB_BYTES = 60 * 2**20


def run() -> list[Line]:
    """Messages one after the other, with and without a dial before, and blobs of 60 MiB into the store."""
    logging.disable(logging.WARNING)
    return trio.run(_measure)


async def _measure() -> list[Line]:
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        async with (
            open_host(secret(0), ANY_PORT) as server,
            open_host(secret(1), ANY_PORT) as client,
            run_node(server, 0, Path(made)) as there,
            run_node(client, 1, Path(made)) as here,
        ):
            message = Send(there.address, TokenFrame(bytes(32), 0, bytes(300)))
            cold, speeds = [], []
            for _ in range(COLD_CALLS):
                cold.append(await _time_ms(here.adapter.perform, message))
                await client.disconnect(server.peer_id)
            await here.adapter.perform(message)
            warm = [await _time_ms(here.adapter.perform, message) for _ in range(CALLS)]
            for _ in range(BLOBS):
                cid = there.put_blob(os.urandom(BLOB_BYTES))
                took_ms = await _time_ms(here.adapter.perform, FetchBlob(cid, (server.peer_id,)))
                speeds.append(BLOB_BYTES / 1_000 / took_ms)
    return [
        Line("calls.cold_ms", statistics.median(cold), "ms", "<= 50", "a dial and its handshake included", COLD_CALLS),
        Line("calls.p50_ms", statistics.median(warm), "ms", "<= 10", "", CALLS),
        Line("calls.p95_ms", statistics.quantiles(warm, n=20)[18], "ms", "", "", CALLS),
        Line("blobs.mb_s", statistics.median(speeds), "MB/s", ">= 50", "hashed and on the disk", BLOBS),
    ]


async def _time_ms(perform: Callable[[PeerEffect], Awaitable[Event]], effect: PeerEffect) -> float:
    before = time.perf_counter()
    await perform(effect)
    return 1000 * (time.perf_counter() - before)
