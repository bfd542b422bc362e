"""What the gateway adds to a job: from the request to the job, from its tokens to the client, and streams at once.

The daemon behind it is in memory and answers when it is told, so that all time is the gateway's, with its file of keys
on the disk. Client and gateway share one process: the figures hold the client's time too.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import trio

from tests.benchmarks.line import Line
from tests.fakes.answering import AnsweringBackend
from tests.fakes.backend import FakeBackend
from tests.support.scenes.gateways import CHAT, Gateway, open_gateway

NEEDS = ("venv",)
KEYS = ("gateway.overhead_ms", "gateway.token_ms", "gateway.streams")
REQUESTS, STREAMS, STEPS, STEP_S = 100, 100, 100, 0.05
LATE_S = 1.0
"""A stream whose token comes later than this is not held."""
WITHIN_S = 120.0


def run() -> list[Line]:
    """Raises: RuntimeError if a request is refused."""
    return trio.run(_measure)


async def _measure() -> list[Line]:
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        one, many = Path(made, "one"), Path(made, "many")
        for home in (one, many):
            home.mkdir()
        async with open_gateway(one, AnsweringBackend()) as gateway:
            overhead = await _overhead(gateway)
        async with open_gateway(many, FakeBackend()) as gateway:
            return [overhead, *await _streams(gateway)]


async def _overhead(gateway: Gateway) -> Line:
    """Whole requests whose jobs take no time."""
    took_ms = []
    for _ in range(REQUESTS):
        began_s = time.perf_counter()
        answer = await gateway.chat()
        took_ms.append((time.perf_counter() - began_s) * 1000)
        if answer.status_code != 200:
            raise RuntimeError(answer.text)
    worst = statistics.quantiles(took_ms, n=20)[-1]
    words = f"a chat whose job takes no time; 95 of 100 within {worst:.1f} ms"
    return Line("gateway.overhead_ms", statistics.median(took_ms), "ms", "<= 20", words, REQUESTS)


@dataclass
class Reader:
    """One stream: when each of its tokens came, in seconds, by the token's number."""

    told_s: list[float] = field(default_factory=list)
    is_whole: bool = False

    async def read(self, client: httpx.AsyncClient) -> None:
        async with client.stream("POST", "/chat/completions", json=CHAT | {"stream": True}) as answer:
            if answer.status_code != 200:
                raise RuntimeError((await answer.aread()).decode())
            async for line in answer.aiter_lines():
                now_s = time.perf_counter()
                if line == "data: [DONE]":
                    self.is_whole = True
                elif line.startswith("data: ") and (said := _said(line)):
                    self.told_s += [now_s] * said.count("x")


def _said(line: str) -> str:
    return str(json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content") or "")


async def _streams(gateway: Gateway) -> list[Line]:
    """As many streams as the goal names, each with a token a step."""
    readers = [Reader() for _ in range(STREAMS)]
    said_s: list[list[float]] = [[] for _ in readers]
    async with _client(gateway) as client, trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(reader.read, client)
        jobs = await _followed(gateway)
        for _ in range(STEPS):
            began_s = trio.current_time()
            for job_id, said in zip(jobs, said_s, strict=True):
                said.append(time.perf_counter())
                gateway.backend.say(job_id, "x")
            await trio.sleep_until(began_s + STEP_S)
        for job_id in jobs:
            gateway.backend.change(job_id, state="delivered", finish="eos")
    # All jobs are told of a step at the same time, so that it is of no matter which reader has which job.
    steps_s = [max(each[step] for each in said_s) for step in range(STEPS)]
    late_s = [
        [max(came - step, 0.0) for came, step in zip(reader.told_s, steps_s, strict=True)]
        for reader in readers
        if reader.is_whole and len(reader.told_s) == STEPS
    ]
    held = sum(max(each) <= LATE_S for each in late_s)
    delays_ms = sorted(each * 1000 for late in late_s for each in late)
    words = f"each with {STEPS} tokens, one in {STEP_S * 1000:.0f} ms, none later than {LATE_S * 1000:.0f} ms"
    worst = f"{STREAMS} streams at once, the latest token after {delays_ms[-1]:.0f} ms" if delays_ms else "none"
    return [
        Line("gateway.token_ms", statistics.median(delays_ms or [0.0]), "ms", "", worst, len(delays_ms)),
        Line("gateway.streams", held, "", f">= {STREAMS}", words, STREAMS),
    ]


async def _followed(gateway: Gateway) -> list[str]:
    """The jobs of all streams, once each is followed. Raises: RuntimeError if they are not."""
    with trio.move_on_after(WITHIN_S):
        while len(gateway.backend.feed.followed) < STREAMS:
            await trio.lowlevel.checkpoint()
        return list(gateway.backend.held)
    raise RuntimeError(f"{len(gateway.backend.feed.followed)} of {STREAMS} streams were opened")


@asynccontextmanager
async def _client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {gateway.shown}"}
    async with httpx.AsyncClient(
        base_url=gateway.url, headers=headers, timeout=WITHIN_S, limits=limits, trust_env=False
    ) as client:
        yield client
