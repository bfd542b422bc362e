"""Checks a result of another node: one teacher-forced pass, made before its fingerprint is known here."""

from executor.runs.context import RunnerContext
from executor.workspace.folders import CHECK_BIN, INPUT_JSON, RESULT_JSON, Workspace
from protocol.errors import ExecutorError
from protocol.stages.execution import Outcome, RunSpec
from protocol.stages.verification import MAX_CHECK_BYTES


class Replay:
    """One check. `run` blocks; another thread may call `stop`. A finished check is not run again."""

    def __init__(self, context: RunnerContext, spec: RunSpec, workspace: Workspace) -> None:
        """Raises: ExecutorError if the model, the input or the result is not on this machine."""
        self._workspace = workspace
        inputs = {name: workspace.get(name) for name in (INPUT_JSON, RESULT_JSON)}
        if absent := [name for name, data in inputs.items() if data is None]:
            raise ExecutorError(f"{absent[0]} of the sample is not in its workspace")
        present = {name: data for name, data in inputs.items() if data is not None}
        self._run = context.run_of_job("check", spec, dict(present), (CHECK_BIN,))
        self.stop = self._run.stop

    def run(self) -> tuple[bytes, str]:
        """Returns: check.bin and no problem; or no bytes and the problem, with which the result scores nothing.

        Raises: ExecutorError if this machine failed, which says nothing about the result.
        """
        if done := self._workspace.get(CHECK_BIN):
            return done, ""
        finish = self._run.run(self._workspace.volume, self._workspace.home, lambda said: None)
        if finish.outcome is Outcome.CLIENT:
            return b"", finish.detail
        check = self._workspace.get(CHECK_BIN)
        if finish.outcome is not Outcome.OK or check is None or len(check) > MAX_CHECK_BYTES:
            raise ExecutorError(f"the check did not run: {finish.outcome}: {finish.detail}", transient=True)
        return check, ""
