"""The cost of a check beside its run, and the bytes of that run's fingerprint."""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
from pathlib import Path

from executor import devices
from executor.runs.context import RunnerContext
from executor.workspace.folders import CHECK_BIN, FINGERPRINT_BIN, INPUT_JSON, RESULT_JSON
from protocol.stages.execution import CHUNK_TOKENS, Outcome, RunSpec
from tests.benchmarks.line import Line
from tests.support.runner_context import open_context, small_model

NEEDS = ("venv", "docker engine", "runner image", "model")
KEYS = ("check.ratio_128", "check.ratio_128_fp32", "truth.proof_bytes_32")
LINES = {1: ("check.ratio_128_fp32", "<= 0.11"), 2: ("check.ratio_128", "<= 0.06")}
TOPLOC = "that of TOPLOC: ./scripts/bench toploc"
TOKENS = 128
# With drawn tokens both sides have more to do.
TEMPERATURE_MILLI = 800
RUNS = 3
# More than are needed: an answer that ends by itself before so many tokens is no measurement.
QUESTIONS = (
    "Write a long story about bees for a child who loves science, with many details and a happy end.",
    "Explain in depth how paper changed the history of human society, with examples from several countries.",
    "You are a teacher. Prepare a lesson on volcanoes with goals, a short quiz, and the correct answers.",
    "Describe a day in the life of a lighthouse keeper a hundred years ago, hour by hour.",
    "Compare trains, ships and planes for carrying goods, and discuss cost, speed and what each does to nature.",
    "Tell the history of bread from the first farmers to the present, with at least ten steps.",
)


def run() -> list[Line]:
    """Raises: RuntimeError if a container fails or all answers are too short to be a measurement."""
    lines, fingerprint_bytes = [], 0
    with open_context() as context:
        for class_id in devices.class_ids_for("bf16"):
            key, goal = LINES[class_id]
            ratios, speeds = [], []
            for question in QUESTIONS:
                if len(ratios) == RUNS or (found := _pair(context, question, class_id)) is None:
                    continue
                generated, checked, fingerprint_bytes = found
                ratios.append(checked / generated)
                speeds.append(TOKENS * 1000 / generated)
            if not ratios:
                raise RuntimeError(f"every answer stopped before {TOKENS} tokens")
            words = f"class {class_id} at {TEMPERATURE_MILLI / 1000}, {statistics.median(speeds):.0f} tokens/s"
            lines.append(Line(key, statistics.median(ratios), "ratio", goal, words, len(ratios)))
    chunks = TOKENS // CHUNK_TOKENS
    return [*lines, Line("truth.proof_bytes_32", fingerprint_bytes / chunks, "B", "<= 258", TOPLOC, chunks)]


def _pair(context: RunnerContext, question: str, class_id: int) -> tuple[int, int, int] | None:
    """Milliseconds of a run and of its check, model loading apart, and the size of the proof in bytes.

    None where the answer is too short.
    """
    job_id = hashlib.sha256(question.encode()).digest()
    spec = RunSpec(job_id, small_model().cid, class_id, TOKENS, TEMPERATURE_MILLI, job_id, 3 << 30, 240_000)
    chat = json.dumps({"v": 1, "salt": "00" * 16, "messages": [{"role": "user", "content": question}]}).encode()
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        kept = Path(made) / "kept"
        generated = _run(context, "generate", spec, {INPUT_JSON: chat}, (RESULT_JSON, FINGERPRINT_BIN), kept)
        result = (kept / RESULT_JSON).read_bytes()
        if len(json.loads(result)["output_token_ids"]) != TOKENS:
            return None
        checked = _run(context, "check", spec, {INPUT_JSON: chat, RESULT_JSON: result}, (CHECK_BIN,), kept)
        return generated, checked, (kept / FINGERPRINT_BIN).stat().st_size


def _run(
    context: RunnerContext,
    kind: str,
    spec: RunSpec,
    inputs: dict[str, bytes | Path],
    wanted: tuple[str, ...],
    kept: Path,
) -> int:
    finish = context.run_of_job(kind, spec, inputs, wanted).run(kept.parent / "run", kept, lambda said: None)
    if finish.outcome is not Outcome.OK or finish.ending is None:
        raise RuntimeError(f"{kind}: {finish.detail}")
    return finish.ending.metrics["run_ms"]
