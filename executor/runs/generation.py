"""A client's job of any kind: run in a container of its own, and the checks on what a container leaves of it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType

from executor.containers.ending import MOVING, RunnerError
from executor.containers.sandbox import MIB
from executor.containers.transcript import RunnerEvent, Tokens
from executor.runs.context import RunnerContext
from executor.runs.engines import engine_of_answer
from executor.workspace.folders import FINGERPRINT_BIN, INPUT_JSON, RESULT_JSON, RUN_JSON, STOP_ORDER_BIN, Workspace
from protocol.errors import ExecutorError
from protocol.judging.kinds import validate
from protocol.params import MAX_FINGERPRINT_BYTES
from protocol.stages.execution import InvalidResult, Outcome, RunResult, RunSpec, failed, validate_fingerprint
from protocol.stages.request import KINDS
from protocol.stages.stop_order import with_stop_order
from protocol.wire.ids import JobId

MAX_RESULT_BYTES = 4 * MIB

Ended = tuple[RunResult, bytes]
"""How a job ended, and its fingerprint if it has one."""


class PendingRun:
    """A job with its input; it checks the outputs. All calls block. A job that has a result is not run again."""

    is_check = False
    outputs: Mapping[str, int] = MappingProxyType(
        {FINGERPRINT_BIN: MAX_FINGERPRINT_BYTES, RESULT_JSON: MAX_RESULT_BYTES}
    )
    params: Mapping[str, object] = MappingProxyType({})

    def __init__(self, context: RunnerContext, spec: RunSpec, workspace: Workspace) -> None:
        """Raises: ExecutorError if the model or the input is not on this machine."""
        self.spec = spec
        self.workspace = workspace
        self._manifest = context.models.manifest(spec.manifest)
        input_json = workspace.get(INPUT_JSON)
        if input_json is None:
            raise ExecutorError("the input of the job is not in its workspace")
        self.kind, self.inputs = KINDS[spec.kind], {INPUT_JSON: input_json}
        self.home = workspace.home
        self.engine = engine_of_answer(spec)
        self.is_shortened = False
        """Its client's stop order is here, since a moment ago or from before a crash."""
        self._written = self._passed_on = 0

    def earlier_result(self) -> Ended | None:
        """The result and fingerprint of an earlier run; None if there is none, or if it is damaged."""
        note = self.workspace.get(RUN_JSON)
        if note is None:
            return None
        try:
            return self._read(int(json.loads(note)["duration_ms"]))
        except (ValueError, TypeError, KeyError):
            # Damaged on the disk: run the job again.
            return None

    def look_for_stop_order(self) -> None:
        """Find a stop order in the workspace."""
        self.is_shortened = self.is_shortened or self.workspace.get(STOP_ORDER_BIN) is not None

    def is_begun(self) -> bool:
        """Whether there is a volume of a container of its own, which may be taken over."""
        return self.workspace.volume.exists()

    def begin(self) -> None:
        """A container writes the answer from its start, perhaps not for the first time."""
        self._written = 0

    def new_tokens(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Of the next tokens of the answer, those to stream.

        Left out are tokens beyond the length that was paid for, and those that an earlier container already streamed.
        """
        at, self._written = self._written, self._written + len(ids)
        new = ids[max(0, self._passed_on - at) : max(0, self.spec.max_new_tokens - at)]
        self._passed_on += len(new)
        return new

    def settle(self, duration_ms: int) -> Ended:
        """Check the outputs in the workspace. Returns: the result, and the fingerprint if it has one."""
        signature, raw = self.workspace.get(STOP_ORDER_BIN), self.workspace.get(RESULT_JSON)
        if signature is not None and raw is not None:
            self.workspace.put(RESULT_JSON, with_stop_order(raw, signature))
        try:
            result, fingerprint = self._read(duration_ms)
        except InvalidResult as error:
            return failed(Outcome.HOSTILE, f"result: {error}", duration_ms), b""
        self.workspace.put(RUN_JSON, json.dumps({"duration_ms": result.duration_ms}).encode())
        return result, fingerprint

    def decline(self, error: RunnerError) -> Ended:
        """The runner refused its input."""
        return failed(Outcome.CLIENT, f"{error.code}: {error.message}"), b""

    def time_out(self, duration_ms: int) -> Ended:
        """Its time was over before its end."""
        return failed(Outcome.JOB, f"timeout: it had not ended after {duration_ms} ms", duration_ms), b""

    def _read(self, duration_ms: int) -> Ended:
        raw, fingerprint = self.workspace.get(RESULT_JSON) or b"", self.workspace.get(FINGERPRINT_BIN) or b""
        if len(raw) > MAX_RESULT_BYTES or len(fingerprint) > MAX_FINGERPRINT_BYTES:
            raise InvalidResult("too long")
        spec = self.spec
        asked = self.inputs[INPUT_JSON]
        facts = validate(
            spec.kind,
            raw,
            JobId(spec.job_id),
            self._manifest,
            spec.max_new_tokens,
            asked,
            stop_ordered=self.workspace.get(STOP_ORDER_BIN) is not None,
        )
        validate_fingerprint(fingerprint, facts.rows)
        return (
            RunResult(
                outcome=Outcome.OK,
                detail="",
                result_hash=facts.result_hash,
                fingerprint_hash=hashlib.sha256(fingerprint).digest(),
                new_tokens=facts.delivered,
                finish=facts.finish,
                duration_ms=duration_ms,
            ),
            fingerprint,
        )


class Generation:
    """One job in a container of its own. `run` blocks; another thread may call `stop`."""

    def __init__(self, context: RunnerContext, pending: PendingRun, avoid: AbstractSet[str] = frozenset()) -> None:
        """Args: avoid, cards that it was taken off. Raises: ExecutorError if the model is not on this machine."""
        self._pending = pending
        self.run_ms = 0
        """How long the answer took without the start of the container; 0 before it is there."""
        self._run = context.run_of_job(
            pending.kind, pending.spec, {**pending.inputs}, tuple(pending.outputs), pending.engine, avoid=avoid
        )
        self.left: AbstractSet[str] = frozenset()
        """The cards that it was taken off: it may run again on others."""
        self.stop, self.shorten = self._run.stop, self._run.shorten

    def run(self, on_tokens: Callable[[tuple[int, ...]], None]) -> Ended:
        """Returns: the result, and the fingerprint if it has one."""
        pending = self._pending
        if earlier := pending.earlier_result():
            return earlier

        def on_event(event: RunnerEvent) -> None:
            if isinstance(event, Tokens) and (ids := pending.new_tokens(event.ids)):
                on_tokens(ids)

        pending.begin()
        finish = self._run.run(pending.workspace.volume, pending.home, on_event)
        if finish.ending is not None and finish.ending.intent in MOVING:
            self.left = frozenset(self._run.cards)
        if finish.outcome is not Outcome.OK:
            return failed(finish.outcome, finish.detail, finish.duration_ms), b""
        self.run_ms = finish.ending.metrics.get("run_ms", 0) if finish.ending else 0
        return pending.settle(finish.duration_ms)
