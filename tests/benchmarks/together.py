"""How much sooner eight clients have their answers in one container than one after the other, and what each waits."""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from executor import devices
from executor.runs.batched_generation import BatchedGeneration
from executor.runs.context import RunnerContext
from executor.runs.generation import Generation, PendingRun
from executor.workspace.folders import INPUT_JSON, Workspaces
from protocol.stages.execution import Outcome, RunResult, RunSpec
from tests.benchmarks.line import Line
from tests.support.runner_context import open_context, small_model

NEEDS = ("venv", "docker engine", "runner image", "model")
KEYS = ("together.speed_8", "together.speed_8_fp32", "together.last_8", "together.last_8_fp32")
SUFFIXES = {1: "_fp32", 2: ""}
JOBS, TOKENS, TEMPERATURE_MILLI = 8, 64, 800
SUBJECTS = ("bees", "paper", "volcanoes", "bread", "rivers", "clocks", "trade", "sleep")


@dataclass
class Heard:
    """When each job ended, in seconds after the start, and how."""

    began: float = field(default_factory=time.monotonic)
    ended_s: list[float] = field(default_factory=list)
    tokens: int = 0

    def note(self, result: RunResult) -> None:
        """Raises: RuntimeError if a job failed."""
        if result.outcome is not Outcome.OK:
            raise RuntimeError(result.detail)
        self.ended_s.append(time.monotonic() - self.began)
        self.tokens += result.new_tokens


def run() -> list[Line]:
    """Raises: RuntimeError if a container fails."""
    lines = []
    with open_context() as context:
        for class_id in devices.cpu_classes(Path("/proc/cpuinfo").read_text()):
            alone, together = _in_turn(context, class_id), _together(context, class_id)
            speed = (together.tokens / together.ended_s[-1]) / (alone.tokens / alone.ended_s[-1])
            words = (
                f"class {class_id} at {TEMPERATURE_MILLI / 1000}, starts of containers included: "
                f"{alone.tokens / alone.ended_s[-1]:.0f} tokens/s in turn, "
                f"{together.tokens / together.ended_s[-1]:.0f} together"
            )
            key = f"together.speed_8{SUFFIXES[class_id]}"
            lines.append(Line(key, speed, "ratio", "> 1", words, JOBS))
            waits = [statistics.median(heard.ended_s) for heard in (together, alone)]
            words = f"median end of a job: {waits[0]:.1f} s together, {waits[1]:.1f} s in turn"
            last = together.ended_s[-1] / alone.ended_s[0]
            lines.append(Line(f"together.last_8{SUFFIXES[class_id]}", last, "times one alone", "", words, JOBS))
    return lines


def _orders(context: RunnerContext, class_id: int, workspaces: Workspaces) -> list[PendingRun]:
    orders = []
    for subject in SUBJECTS:
        job_id = hashlib.sha256(subject.encode()).digest()
        spec = RunSpec(job_id, small_model().cid, class_id, TOKENS, TEMPERATURE_MILLI, job_id, 3 << 30, 240_000)
        content = f"Write a long and detailed text about {subject} for children who love science."
        chat = {"v": 1, "salt": "00" * 16, "messages": [{"role": "user", "content": content}]}
        workspaces.of_job(job_id).put(INPUT_JSON, json.dumps(chat).encode())
        orders.append(PendingRun(context, spec, workspaces.of_job(job_id)))
    return orders


def _in_turn(context: RunnerContext, class_id: int) -> Heard:
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        orders, heard = _orders(context, class_id, Workspaces(Path(made))), Heard()
        for order in orders:
            heard.note(Generation(context, order).run(lambda ids: None)[0])
        return heard


def _together(context: RunnerContext, class_id: int) -> Heard:
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        workspaces = Workspaces(Path(made))
        orders, heard = _orders(context, class_id, workspaces), Heard()
        BatchedGeneration(context, orders, workspaces.of_shared).run(
            lambda place, ids: None, lambda place, result, fingerprint: heard.note(result)
        )
        if len(heard.ended_s) != JOBS:
            raise RuntimeError("the shared container has left jobs over")
        return heard
