"""Jobs among twenty nodes of which four are dead at any time: killed without warning, back after a while, others next.

The requester stays, for it is where the jobs are counted. Every job must end with its answer, or cost nothing.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from node.api.faults import Fault
from node.api.views import ANSWERED, JobView
from tests.benchmarks.line import Line
from tests.benchmarks.played_network import Member, PlayedNetwork, load, measured

NEEDS = ("venv", "node tools")
KEYS = ("churn.completed", "churn.lost", "churn.moved", "churn.kills")
WORKERS = 19
DEAD = 4
"""A fifth of the twenty nodes."""
KILL_EVERY_S = 10.0
WORK_S = 1.5
CLIENTS = 4
"""Jobs at the same time."""
JOBS = 240
TIMEOUT_MS = 30_000
JOB_WITHIN_S = 600.0
LOOK_EVERY_S = 0.5
SEED = 20


@dataclass
class Tally:
    """The outcome of the jobs, and the penalties of the nodes."""

    answered: int = 0
    moved: int = 0
    refunded: Counter[str] = field(default_factory=Counter)
    """Jobs that cost nothing, by what was said of them."""
    lost: Counter[str] = field(default_factory=Counter)
    kills: int = 0


def run() -> list[Line]:
    """Raises: RuntimeError if the network does not come up."""
    tally, anchor = measured(_measure, WORKERS, WORK_S)
    completed = 100 * tally.answered / JOBS
    words = f"{tally.refunded.total()} given back{_told(tally.refunded)}; seed {SEED}; {anchor}"
    return [
        Line("churn.completed", completed, "%", ">= 99.5", words, JOBS),
        Line(
            "churn.lost",
            tally.lost.total(),
            "jobs",
            "<= 0",
            f"neither answered nor given back{_told(tally.lost)}",
            JOBS,
        ),
        Line("churn.moved", tally.moved, "jobs", "", "answered by a second or third node", JOBS),
        Line("churn.kills", tally.kills, "kills", "", f"{DEAD} of {WORKERS + 1} nodes dead at any time", tally.kills),
    ]


def _told(reasons: Counter[str]) -> str:
    """The most frequent reasons."""
    return "".join(f", {count} x {words[:160]}" for words, count in reasons.most_common(2))


def _measure(network: PlayedNetwork) -> tuple[Tally, str]:
    tally, lock, over = Tally(), threading.Lock(), threading.Event()
    numbers = iter(range(JOBS))
    clients = [threading.Thread(target=_ask_jobs, args=(network, numbers, tally, lock)) for _ in range(CLIENTS)]
    killer = threading.Thread(target=_churn, args=(network, tally, over))
    begun = time.monotonic()
    for thread in (killer, *clients):
        thread.start()
    for client in clients:
        client.join()
    over.set()
    killer.join()
    return tally, f"{time.monotonic() - begun:.0f} s, {load()}"


def _churn(network: PlayedNetwork, tally: Tally, over: threading.Event) -> None:
    """Kill one after the other; the one dead for longest comes back for it."""
    chance = random.Random(SEED)
    dead: list[Member] = []
    while not over.is_set():
        victim = chance.choice([worker for worker in network.workers if worker.process is not None])
        network.kill(victim)
        tally.kills += 1
        dead.append(victim)
        if len(dead) > DEAD:
            network.start(dead.pop(0))
        over.wait(KILL_EVERY_S)


def _ask_jobs(network: PlayedNetwork, numbers: Iterator[int], tally: Tally, lock: threading.Lock) -> None:
    while True:
        with lock:
            if next(numbers, None) is None:
                return
        job, words = _ended(network)
        with lock:
            if job is None:
                tally.lost[words] += 1
            elif job.state in ANSWERED and job.text:
                tally.answered += 1
                tally.moved += job.attempt > 0
            elif job.state == "refunded" or not job.charge_wei:
                tally.refunded[_reason(job)] += 1
            else:
                tally.lost[f"charged and {job.state}"] += 1


def _reason(job: JobView) -> str:
    """Why no node did it."""
    words = job.failure.message if job.failure else job.state
    return re.sub(r"0x[0-9a-fA-F]+", "a node", words)


def _ended(network: PlayedNetwork) -> tuple[JobView | None, str]:
    """A job with its answer or at its end; None, and why, where it came to neither."""
    try:
        job_id = network.ask(TIMEOUT_MS)
        deadline = time.monotonic() + JOB_WITHIN_S
        while time.monotonic() < deadline:
            job = network.job(job_id)
            if job.ended or (job.state in ANSWERED and job.text):
                return job, ""
            time.sleep(LOOK_EVERY_S)
    except Fault as fault:
        ended = network.asker.process and network.asker.process.poll()
        return None, fault.message if ended is None else f"the requester ended with {ended}"
    return None, f"{job.state} after {JOB_WITHIN_S:.0f} s"
