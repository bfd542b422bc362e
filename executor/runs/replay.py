"""Checks a result of another node: one teacher-forced pass, made before its fingerprint is known here."""

from collections.abc import Mapping
from types import MappingProxyType

from executor.containers.ending import RunnerError
from executor.runs.context import RunnerContext
from executor.runs.engines import engine_of_check
from executor.workspace.folders import CHECK_BIN, INPUT_JSON, RESULT_JSON, STOP_ORDER_BIN, Workspace
from protocol.errors import ExecutorError
from protocol.stages.execution import Outcome, RunSpec
from protocol.stages.verification import MAX_CHECK_BYTES

Checked = tuple[bytes, str]
"""check.bin and no problem; or no bytes and the problem, with which the result scores nothing."""


class Replay:
    """One check. `run` blocks; another thread may call `stop`. A finished check is not run again."""

    kind, is_check = "check", True
    outputs: Mapping[str, int] = MappingProxyType({CHECK_BIN: MAX_CHECK_BYTES})
    is_shortened = False

    def __init__(self, context: RunnerContext, spec: RunSpec, workspace: Workspace) -> None:
        """Raises: ExecutorError if the model, the input or the result is not on this machine."""
        self.spec, self._workspace, self.home = spec, workspace, workspace.home
        inputs = {name: workspace.get(name) for name in (INPUT_JSON, RESULT_JSON)}
        if absent := [name for name, data in inputs.items() if data is None]:
            raise ExecutorError(f"{absent[0]} of the sample is not in its workspace")
        self.inputs = {name: data for name, data in inputs.items() if data is not None}
        self.engine = engine_of_check(spec, self.inputs[RESULT_JSON])
        # Only where the client's signature was found in the result; the container is told, and decides nothing.
        self.params = {"stop_ordered": int(workspace.get(STOP_ORDER_BIN) is not None)}
        self._run = context.run_of_job(self.kind, spec, {**self.inputs}, tuple(self.outputs), self.engine, self.params)
        self.stop = self._run.stop

    def is_begun(self) -> bool:
        """Whether there is a volume of a container of its own, which may be taken over."""
        return self._workspace.volume.exists()

    def earlier_result(self) -> Checked | None:
        """What an earlier run has left."""
        done = self._workspace.get(CHECK_BIN)
        return (done, "") if done else None

    def begin(self) -> None:
        """A check says nothing before its end."""

    def new_tokens(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """A check writes none."""
        return ()

    def settle(self, duration_ms: int) -> Checked:
        """The check is in its workspace."""
        return self._workspace.get(CHECK_BIN) or b"", ""

    def decline(self, error: RunnerError) -> Checked:
        """The result that is checked is at fault."""
        return b"", f"{error.code}: {error.message}"

    def time_out(self, duration_ms: int) -> Checked:
        """Raises: ExecutorError, since a check that is late says nothing about the result."""
        raise ExecutorError(f"the check had not ended after {duration_ms} ms", transient=True)

    def run(self) -> Checked:
        """Returns: check.bin and no problem; or no bytes and the problem, with which the result scores nothing.

        Raises: ExecutorError if this machine failed, which says nothing about the result.
        """
        if earlier := self.earlier_result():
            return earlier
        finish = self._run.run(self._workspace.volume, self.home, lambda said: None)
        if finish.outcome is Outcome.CLIENT:
            return b"", finish.detail
        check = self._workspace.get(CHECK_BIN)
        if finish.outcome is not Outcome.OK or check is None or len(check) > MAX_CHECK_BYTES:
            raise ExecutorError(f"the check did not run: {finish.outcome}: {finish.detail}", transient=True)
        return check, ""
