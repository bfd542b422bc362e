"""Running a client's job of any kind by itself, and what the node may believe of what a container left of a job."""

import hashlib
import json
from collections.abc import Callable

from executor.containers.ending import Intent
from executor.containers.sandbox import MIB
from executor.containers.transcript import Said, Tokens
from executor.runs.context import Station
from executor.workspace.folders import INPUT_JSON, PROOF_BIN, RESULT_JSON, RUN_JSON, Workspace
from protocol.errors import ExecutorError
from protocol.judging.kinds import validate
from protocol.params import MAX_PROOF_BYTES
from protocol.stages.execution import (
    InvalidResult,
    Outcome,
    RunResult,
    RunSpec,
    failed,
    validate_proof,
)
from protocol.stages.request import KINDS
from protocol.wire.ids import JobId

MAX_RESULT_BYTES = 4 * MIB


class QueuedRun:
    """A job with its input, and the judge of its outputs. All calls block. What has been run is not run again."""

    def __init__(self, station: Station, spec: RunSpec, workspace: Workspace) -> None:
        """Raises: ExecutorError if the model or the input is not on this machine."""
        self.spec = spec
        self.workspace = workspace
        self._manifest = station.models.manifest(spec.manifest)
        input_json = workspace.get(INPUT_JSON)
        if input_json is None:
            raise ExecutorError("the input of the job is not in its workspace")
        self.input = input_json
        self._said = self._told = 0

    def done(self) -> tuple[RunResult, bytes] | None:
        """What an earlier run has left; None if there is none, or nothing that can be offered."""
        note = self.workspace.get(RUN_JSON)
        if note is None:
            return None
        try:
            return self._read(int(json.loads(note)["duration_ms"]))
        except (ValueError, TypeError, KeyError):
            # Damaged since, by the disk or by somebody: what cannot be offered is made again.
            return None

    def is_begun(self) -> bool:
        """Whether a container of its own is at it, or was, that may be taken over."""
        return self.workspace.exchange.exists()

    def begin(self) -> None:
        """The answer is said from its start, maybe again."""
        self._said = 0

    def news(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Of tokens that go on the answer, those that are worth a frame.

        What goes over the length that was paid for is no part of it, and where it was begun before, by a container that
        did not come to its end, its beginning has been told.
        """
        at, self._said = self._said, self._said + len(ids)
        news = ids[max(0, self._told - at) : max(0, self.spec.max_new_tokens - at)]
        self._told += len(news)
        return news

    def settle(self, duration_ms: int) -> tuple[RunResult, bytes]:
        """What outputs in the workspace amount to: the result and, where there is one, the fingerprint."""
        try:
            result, proof = self._read(duration_ms)
        except InvalidResult as error:
            return failed(Outcome.HOSTILE, f"result: {error}", duration_ms), b""
        self.workspace.put(RUN_JSON, json.dumps({"duration_ms": result.duration_ms}).encode())
        return result, proof

    def _read(self, duration_ms: int) -> tuple[RunResult, bytes]:
        raw, proof = self.workspace.get(RESULT_JSON) or b"", self.workspace.get(PROOF_BIN) or b""
        if len(raw) > MAX_RESULT_BYTES or len(proof) > MAX_PROOF_BYTES:
            raise InvalidResult("too long")
        spec = self.spec
        facts = validate(spec.kind, raw, JobId(spec.job_id), self._manifest, spec.max_new_tokens, self.input)
        validate_proof(proof, facts.rows)
        return (
            RunResult(
                outcome=Outcome.OK,
                detail="",
                result_hash=facts.result_hash,
                proof_hash=hashlib.sha256(proof).digest(),
                new_tokens=facts.delivered,
                finish=facts.finish,
                duration_ms=duration_ms,
            ),
            proof,
        )


class Generation:
    """One run of one job in a container of its own. `run` blocks; `stop` may come from another thread."""

    def __init__(self, station: Station, order: QueuedRun) -> None:
        """Raises: ExecutorError if the model is not on this machine."""
        self._order = order
        # What the answer took without the container's start, once it is there.
        self.run_ms = 0
        kind, inputs = KINDS[order.spec.kind], {INPUT_JSON: order.input}
        self._attempt = station.attempt(kind, order.spec, {**inputs}, (RESULT_JSON, PROOF_BIN))

    def run(self, on_tokens: Callable[[tuple[int, ...]], None]) -> tuple[RunResult, bytes]:
        """The result and, where there is one, the fingerprint."""
        order = self._order
        if done := order.done():
            return done

        def hear(said: Said) -> None:
            if isinstance(said, Tokens) and (ids := order.news(said.ids)):
                on_tokens(ids)

        order.begin()
        workspace = order.workspace
        finish = self._attempt.run(workspace.exchange, workspace.home, hear)
        if finish.outcome is not Outcome.OK:
            return failed(finish.outcome, finish.detail, finish.duration_ms), b""
        self.run_ms = finish.ending.metrics.get("run_ms", 0) if finish.ending else 0
        return order.settle(finish.duration_ms)

    def stop(self) -> None:
        self._attempt.stop(Intent.CANCELLED)
