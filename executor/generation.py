"""Running a client's job of any kind, and what the node may believe of what the container left."""

import hashlib
import json
from collections.abc import Callable

from executor.ending import Intent
from executor.sandbox import MIB
from executor.station import Station
from executor.transcript import Said, Tokens
from executor.workspace import INPUT_JSON, PROOF_BIN, RESULT_JSON, RUN_JSON, Workspace
from protocol.errors import ExecutorError
from protocol.params import MAX_PROOF_BYTES
from protocol.stages.execution import (
    InvalidResult,
    Outcome,
    RunResult,
    RunSpec,
    failed,
    validate_proof,
)
from protocol.stages.kinds import validate
from protocol.stages.request import KINDS
from protocol.wire.ids import JobId

MAX_RESULT_BYTES = 4 * MIB


class Generation:
    """One run of one job. `run` blocks; `stop` may come from another thread. What has been run is not run again."""

    def __init__(self, station: Station, spec: RunSpec, workspace: Workspace) -> None:
        """Raises: ExecutorError if the model or the input is not on this machine."""
        self._spec = spec
        self._workspace = workspace
        # What the answer took without the container's start, once it is there.
        self.run_ms = 0
        self._manifest = station.models.manifest(spec.manifest)
        input_json = workspace.get(INPUT_JSON)
        if input_json is None:
            raise ExecutorError("the input of the job is not in its workspace")
        self._input = input_json
        self._attempt = station.attempt(KINDS[spec.kind], spec, {INPUT_JSON: input_json}, (RESULT_JSON, PROOF_BIN))

    def run(self, on_tokens: Callable[[tuple[int, ...]], None]) -> tuple[RunResult, bytes]:
        """The result and, where there is one, the fingerprint."""
        if done := self._done():
            return done
        left = self._spec.max_new_tokens

        def hear(said: Said) -> None:
            nonlocal left
            # What goes over the length that was paid for is no part of the answer, and not worth a frame.
            if isinstance(said, Tokens) and (ids := said.ids[:left]):
                left -= len(ids)
                on_tokens(ids)

        finish = self._attempt.run(self._workspace.exchange, self._workspace.home, hear)
        if finish.outcome is not Outcome.OK:
            return failed(finish.outcome, finish.detail, finish.duration_ms), b""
        try:
            result, proof = self._read(finish.duration_ms)
        except InvalidResult as error:
            return failed(Outcome.HOSTILE, f"result: {error}", finish.duration_ms), b""
        self.run_ms = finish.ending.metrics.get("run_ms", 0) if finish.ending else 0
        self._workspace.put(RUN_JSON, json.dumps({"duration_ms": result.duration_ms}).encode())
        return result, proof

    def stop(self) -> None:
        self._attempt.stop(Intent.CANCELLED)

    def _done(self) -> tuple[RunResult, bytes] | None:
        note = self._workspace.get(RUN_JSON)
        if note is None:
            return None
        try:
            return self._read(int(json.loads(note)["duration_ms"]))
        except (ValueError, TypeError, KeyError):
            # Damaged since, by the disk or by somebody: what cannot be offered is made again.
            return None

    def _read(self, duration_ms: int) -> tuple[RunResult, bytes]:
        raw, proof = self._workspace.get(RESULT_JSON) or b"", self._workspace.get(PROOF_BIN) or b""
        if len(raw) > MAX_RESULT_BYTES or len(proof) > MAX_PROOF_BYTES:
            raise InvalidResult("too long")
        spec = self._spec
        facts = validate(spec.kind, raw, JobId(spec.job_id), self._manifest, spec.max_new_tokens, self._input)
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
