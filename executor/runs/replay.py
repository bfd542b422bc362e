"""Re-running somebody else's result: one teacher-forced pass, made before its fingerprint is known here."""

from executor.containers.ending import Intent
from executor.runs.context import Station
from executor.workspace.folders import CHECK_BIN, INPUT_JSON, RESULT_JSON, Workspace
from protocol.errors import ExecutorError
from protocol.stages.execution import Outcome, RunSpec
from protocol.stages.verification import MAX_CHECK_BYTES


class Replay:
    """One check. `run` blocks; `stop` may come from another thread. What has been checked is not checked again."""

    def __init__(self, station: Station, spec: RunSpec, workspace: Workspace) -> None:
        """Raises: ExecutorError if the model, the input or the result is not on this machine."""
        self._workspace = workspace
        inputs = {name: workspace.get(name) for name in (INPUT_JSON, RESULT_JSON)}
        if absent := [name for name, data in inputs.items() if data is None]:
            raise ExecutorError(f"{absent[0]} of the sample is not in its workspace")
        present = {name: data for name, data in inputs.items() if data is not None}
        self._attempt = station.attempt("check", spec, dict(present), (CHECK_BIN,))

    def run(self) -> tuple[bytes, str]:
        """check.bin and no problem; or no bytes and the problem with the result, which then has earned no score.

        Raises: ExecutorError if this machine failed, which says nothing about the result.
        """
        if done := self._workspace.get(CHECK_BIN):
            return done, ""
        finish = self._attempt.run(self._workspace.exchange, self._workspace.home, lambda said: None)
        if finish.outcome is Outcome.CLIENT:
            return b"", finish.detail
        check = self._workspace.get(CHECK_BIN)
        if finish.outcome is not Outcome.OK or check is None or len(check) > MAX_CHECK_BYTES:
            raise ExecutorError(f"the check did not run: {finish.outcome}: {finish.detail}", transient=True)
        return check, ""

    def stop(self) -> None:
        self._attempt.stop(Intent.CANCELLED)
