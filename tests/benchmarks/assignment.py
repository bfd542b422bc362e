"""How long a client waits from its request to a node's signed promise, on a local network with four providers."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from time import perf_counter

from node.api.client import Client
from node.api.views import AccountView, JobUpdate, JobView, read
from node.localnet.network import LocalnetPlan, up
from node.localnet.plan import NodePlan
from node.localnet.record import LocalnetRecord
from node.localnet.running import down
from scripts.setup import model
from tests.benchmarks.line import Line
from tests.support.runner_context import small_model

NEEDS = ("venv", "node tools", "docker engine", "runner image", "model")
KEYS = ("assign.p50_ms", "assign.p95_ms", "assign.lane_open_ms")
VCN = 10**18
JOBS = 21
PROVIDERS = 4


def run() -> list[Line]:
    """Raises: RuntimeError if a job is not answered."""
    plan = (
        NodePlan("client", ("requester",), 1_000 * VCN, deposit_wei=500 * VCN, coins_wei=500 * VCN),
        *(NodePlan(f"provider-{number}", ("provider",), 5_000 * VCN) for number in range(PROVIDERS)),
    )
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        directory = Path(made) / "net"
        record = up(LocalnetPlan(directory, plan, store=model.store()), lambda line: None)
        try:
            waits, openings, door_ms = _measure(record)
        finally:
            down(directory, lambda line: None)
    waits.sort()
    anchor = f"control call {statistics.median(door_ms):.1f} ms"
    return [
        Line("assign.p50_ms", statistics.median(waits), "ms", "<= 300", anchor, len(waits)),
        Line("assign.p95_ms", waits[min(len(waits) - 1, int(len(waits) * 0.95))], "ms", "<= 1000", anchor, len(waits)),
        Line("assign.lane_open_ms", statistics.median(openings), "ms", "", anchor, len(openings)),
    ]


def _measure(record: LocalnetRecord) -> tuple[list[float], list[float], list[float]]:
    """Waits on an open lane, waits that opened one, and what a call to the node itself takes; ms."""
    client = Client(Path(record.node("client").socket))
    waits: list[float] = []
    openings: list[float] = []
    door_ms: list[float] = []
    for number in range(JOBS):
        before = perf_counter()
        lanes = {lane.node for lane in read(AccountView, client.get("account")).lanes}
        door_ms.append((perf_counter() - before) * 1000)
        job = _answered(client, number)
        reached = {step.state: step.reached_ms for step in job.steps if step.reached_ms}
        (waits if job.node in lanes else openings).append(reached["running"] - reached["requested"])
    return waits, openings, door_ms


def _answered(client: Client, number: int) -> JobView:
    """Ask for a few tokens and wait until they are here, so that the next request finds an idle machine."""
    body = {
        "model": small_model().cid.hex(),
        "messages": [{"role": "user", "content": f"Count from {number}."}],
        "max_new_tokens": 4,
        "max_price_wei": "0",
        "timeout_ms": 120_000,
        "min_reputation": 0,
        "with_bonus": True,
        "uncalibrated": False,
    }
    job_id = client.post("jobs", body=body)["id"]
    for raw in client.lines("jobs", job_id, "events"):
        job = read(JobUpdate, raw).job
        if job is not None and (job.state == "delivered" or job.ended):
            if job.failure is not None:
                raise RuntimeError(f"job {number} failed: {job.failure.message}")
            return job
    raise RuntimeError(f"job {number} was not answered")
