"""How a warm engine serves one job, jobs side by side and checks; beside it llama.cpp's server on as many cores."""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from executor import devices, images
from executor.containers.sandbox import Limits
from executor.docker_runner import Capacity, DockerRunner
from executor.runs.context import RunnerContext
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import INPUT_JSON, RESULT_JSON, Workspaces
from protocol.effects import ReplaySample
from protocol.stages.execution import Outcome, RunSpec
from tests.benchmarks.anchors import llama_server
from tests.benchmarks.line import Line
from tests.support.runner_context import docker_host, open_context, small_model

NEEDS = ("venv", "docker engine", "runner image", "model")
KEYS = (
    "serving.first_token_ms",
    "serving.job64_s",
    "serving.jobs16_s",
    "serving.stream_ratio",
    "serving.batch_ratio",
    "serving.join_ms",
    "serving.stall_ms",
    "serving.longest_wait_s",
    "check.container_ratio",
    "containers.starts",
)
SUBJECTS = ("bees", "paper", "volcanoes", "bread", "rivers", "clocks", "trade", "sleep")
TOKENS, TEMPERATURE_MILLI, SHORT_JOBS, CHECKS = 64, 800, 100, 35
ROUNDS = 3
JOBS_AT_ONCE = 16
LONG_PROMPT_WORDS = 1_900


@dataclass
class Seen:
    """When a job began, when each of its tokens came, and when it ended, in seconds."""

    spec: RunSpec
    tokens: int
    began_s: float
    told_s: list[float] = field(default_factory=list)
    ended_s: float = 0.0

    @property
    def first_s(self) -> float:
        return self.told_s[0] - self.began_s

    @property
    def longest_gap_s(self) -> float:
        return max(after - before for before, after in zip(self.told_s, self.told_s[1:], strict=False))


@dataclass
class Node:
    """One node's containers, without a network."""

    runner: DockerRunner
    workspaces: Workspaces
    class_id: int
    made: int = 0

    async def ask(self, content: str, tokens: int = TOKENS) -> Seen:
        """Run a job. Raises: RuntimeError if it fails."""
        self.made += 1
        job_id = hashlib.sha256(f"{self.made}".encode()).digest()
        spec = RunSpec(job_id, small_model().cid, self.class_id, tokens, TEMPERATURE_MILLI, job_id, 3 << 30, 240_000)
        chat = {"v": 1, "salt": "00" * 16, "messages": [{"role": "user", "content": content}]}
        self.workspaces.of_job(job_id).put(INPUT_JSON, json.dumps(chat).encode())
        seen = Seen(spec, 0, time.monotonic())

        async def on_tokens(ids: tuple[int, ...]) -> None:
            seen.told_s.append(time.monotonic())

        exited = await self.runner.run_job(spec, on_tokens)
        if exited.result.outcome is not Outcome.OK:
            raise RuntimeError(exited.result.detail)
        seen.tokens, seen.ended_s = exited.result.new_tokens, time.monotonic()
        return seen

    async def check(self, seen: Seen) -> float:
        """Check a job; how long it took, in seconds. Raises: RuntimeError if its answer is refused."""
        self.made += 1
        job, sample = self.workspaces.of_job(seen.spec.job_id), self.workspaces.of_sample(bytes(32), self.made)
        for name in (INPUT_JSON, RESULT_JSON):
            sample.put(name, job.get(name) or b"")
        began_s = time.monotonic()
        replayed = await self.runner.replay(ReplaySample(bytes(32), self.made, seen.spec))
        if replayed.problem:
            raise RuntimeError(replayed.problem)
        return time.monotonic() - began_s


def run() -> list[Line]:
    """Raises: RuntimeError if a job fails."""
    anchor = llama_server.build(images.find(docker_host()))
    with open_context() as context, tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        class_id = max(devices.class_ids_for("bf16"))
        return trio.run(_measure, context, Path(made), class_id, anchor)


async def _measure(context: RunnerContext, home: Path, class_id: int, anchor: str) -> list[Line]:
    async with _node(context, home, class_id) as node:
        await node.ask(_question("bees"), 4)
        lines = [
            *await _speeds(node, anchor, context.models.path(small_model().cid)),
            *await _many(node),
            *await _joining(node),
            *await _checks(node),
        ]
        for _ in range(SHORT_JOBS):
            await node.ask("Say yes.", 2)
        words = f"containers for {SHORT_JOBS} short jobs, and all that was measured before"
        return [*lines, Line("containers.starts", node.runner.serving().engine_starts, "", "<= 2", words, SHORT_JOBS)]


@asynccontextmanager
async def _node(context: RunnerContext, home: Path, class_id: int) -> AsyncIterator[Node]:
    workspaces = Workspaces(home / "work")
    capacity = Capacity(1, HostSlots(home, 0), at_once=9, memory_bytes=4 << 30, keep_s=600)
    runner = DockerRunner(context, workspaces, capacity)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.serve)
        yield Node(runner, workspaces, class_id)
        nursery.cancel_scope.cancel()


async def _speeds(node: Node, anchor: str, model: Path) -> list[Line]:
    """Tokens a second, prompts included: ours with draw and fingerprint, and those of llama.cpp's server."""
    alone = [await node.ask(_question(subject)) for subject in SUBJECTS[:5]]
    firsts = statistics.median(each.first_s for each in alone) * 1000
    wholes = statistics.median(each.ended_s - each.began_s for each in alone)
    one = statistics.median(each.tokens / (each.ended_s - each.began_s) for each in alone)
    eight = statistics.median([await _rate_of(node, SUBJECTS) for _ in range(ROUNDS)])
    questions = [_question(subject) for subject in SUBJECTS]
    cores = Limits().threads
    theirs = await trio.to_thread.run_sync(
        lambda: llama_server.rates(anchor, model, cores, TEMPERATURE_MILLI, TOKENS, questions)
    )
    beside = "{:.1f} tokens/s, llama.cpp's server {:.1f}, on {} core(s)"
    return [
        Line("serving.first_token_ms", firsts, "ms", "<= 600", "executor alone, engine warm, prompt of 44", len(alone)),
        Line("serving.job64_s", wholes, "s", "<= 2", f"executor alone, {TOKENS} tokens", len(alone)),
        Line(
            "serving.stream_ratio",
            one / theirs["one"],
            "ratio",
            ">= 0.95",
            beside.format(one, theirs["one"], cores),
            len(alone),
        ),
        Line(
            "serving.batch_ratio",
            eight / theirs["eight"],
            "ratio",
            ">= 0.95",
            "eight streams: " + beside.format(eight, theirs["eight"], cores),
            ROUNDS,
        ),
    ]


async def _rate_of(node: Node, subjects: Sequence[str]) -> float:
    """Tokens a second of jobs side by side."""
    found: list[Seen] = []

    async def ask(subject: str) -> None:
        found.append(await node.ask(_question(subject)))

    began_s = time.monotonic()
    async with trio.open_nursery() as nursery:
        for subject in subjects:
            nursery.start_soon(ask, subject)
    return sum(each.tokens for each in found) / (time.monotonic() - began_s)


async def _many(node: Node) -> list[Line]:
    began_s = time.monotonic()
    rate = await _rate_of(node, SUBJECTS * (JOBS_AT_ONCE // len(SUBJECTS)))
    words = f"executor alone, {JOBS_AT_ONCE} jobs of {TOKENS} tokens at once, {rate:.1f} tokens/s"
    return [Line("serving.jobs16_s", time.monotonic() - began_s, "s", "<= 15", words, JOBS_AT_ONCE)]


async def _joining(node: Node) -> list[Line]:
    """A short and a long prompt that join seven others."""
    found: list[Seen] = []

    async def ask(subject: str) -> None:
        found.append(await node.ask(_question(subject), 192))

    async with trio.open_nursery() as nursery:
        for subject in SUBJECTS[:7]:
            nursery.start_soon(ask, subject)
        await trio.sleep(3)
        short = await node.ask("Say yes.", 2)
        long = await node.ask("word " * LONG_PROMPT_WORDS, 2)
    stall_s = max(each.longest_gap_s for each in found)
    words = f"the longest gap of seven others while {LONG_PROMPT_WORDS} words join, which take {long.first_s:.1f} s"
    return [
        Line("serving.join_ms", short.first_s * 1000, "ms", "", "first token of a short prompt beside seven", 1),
        Line("serving.stall_ms", stall_s * 1000, "ms", "", words, len(found)),
    ]


async def _checks(node: Node) -> list[Line]:
    job = await node.ask(_question("paper"))
    one_s = min([await node.check(job) for _ in range(3)])
    took: list[float] = []
    wait_s = 0.0

    async def check() -> None:
        took.append(await node.check(job))

    began_s = time.monotonic()
    async with trio.open_nursery() as nursery:
        for _ in range(CHECKS):
            nursery.start_soon(check)
        await trio.sleep(1)
        wait_s = (await node.ask(_question("rivers"), 4)).first_s
    all_s = time.monotonic() - began_s
    words = f"{CHECKS} checks of {TOKENS} tokens at once: {all_s:.1f} s, and {one_s:.2f} s for one alone"
    return [
        Line("serving.longest_wait_s", wait_s, "s", "<= 5", f"a client beside {CHECKS} checks", 1),
        Line("check.container_ratio", all_s / CHECKS / one_s, "ratio", "<= 1.5", words, CHECKS),
    ]


def _question(subject: str) -> str:
    return f"Write a long and detailed text about {subject} for children who love science."
