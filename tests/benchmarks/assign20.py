"""How long a client waits from its request to a node's signed promise, among twenty nodes that share this machine."""

from __future__ import annotations

import statistics
from time import perf_counter, sleep

from node.api.views import AccountView, JobView, read
from tests.benchmarks.line import Line
from tests.benchmarks.played_network import PlayedNetwork, load, measured, until

NEEDS = ("venv", "node tools")
KEYS = ("assign20.p50_ms", "assign20.p95_ms", "assign20.lane_open_ms")
WORKERS = 19
JOBS = 41
ANSWER_WITHIN_S = 60.0
ASK_EVERY_S = 0.6
"""A client may gossip two requests a second; peers drop what comes faster, which is not what is measured here."""


def run() -> list[Line]:
    """Raises: RuntimeError if a job is not answered."""
    waits, openings, anchor = measured(_measure, WORKERS, 0.0)
    waits.sort()
    cuts = statistics.quantiles(waits, n=20)
    lines = [
        Line("assign20.p50_ms", statistics.median(waits), "ms", "<= 300", anchor, len(waits)),
        Line("assign20.p95_ms", cuts[18], "ms", "<= 1000", anchor, len(waits)),
    ]
    if openings:
        lines.append(
            Line("assign20.lane_open_ms", statistics.median(openings), "ms", "", anchor, len(openings)),
        )
    return lines


def _measure(network: PlayedNetwork) -> tuple[list[float], list[float], str]:
    """Waits on an open lane, and waits that opened one, in ms; one job after the other."""
    waits: list[float] = []
    openings: list[float] = []
    door_ms: list[float] = []
    before_load = load()
    for _ in range(JOBS):
        begun = before = perf_counter()
        lanes = {lane.node for lane in read(AccountView, network.asker.client.get("account")).lanes}
        door_ms.append(1000 * (perf_counter() - before))
        job_id = network.ask(30_000)
        job = until(lambda job_id=job_id: _answered(network.job(job_id)), ANSWER_WITHIN_S, "an answer")
        reached = {step.state: step.reached_ms for step in job.steps if step.reached_ms}
        (waits if job.node in lanes else openings).append(reached["running"] - reached["requested"])
        sleep(max(0.0, begun + ASK_EVERY_S - perf_counter()))
    return waits, openings, f"control call {statistics.median(door_ms):.1f} ms, {before_load} before, {load()} after"


def _answered(job: JobView) -> JobView | None:
    if job.failure is not None:
        raise RuntimeError(f"a job failed: {job.failure.message}")
    return job if job.text and "delivered" in {step.state for step in job.steps} else None
