"""Chats of several jobs, answered side by side in one container: several times the tokens a second of one at a time.

Each job has its own input, seed, memory and limits there, and is settled as soon as its own answer is complete. If
memory is short or the container ends early, a job stays unsettled. That says nothing about the job: it then runs in a
container of its own.
"""

import hashlib
import time
from collections.abc import Callable, Sequence

from executor.containers.transcript import Answered, Declined, RunnerEvent, Tokens
from executor.runs.container_run import Finish
from executor.runs.context import RunnerContext
from executor.runs.generation import MAX_RESULT_BYTES, PendingRun
from executor.workspace.folders import FINGERPRINT_BIN, INPUT_JSON, RESULT_JSON, Workspace
from executor.workspace.io_volume import IoVolume
from executor.workspace.outputs import Outputs
from protocol.params import MAX_FINGERPRINT_BYTES
from protocol.stages.execution import Outcome, RunResult, RunSpec, failed

KIND = "together"
"""The runner's word for it."""


class BatchedGeneration:
    """One container for several jobs of one model and class. `run` blocks; another thread may call `stop`."""

    def __init__(
        self, context: RunnerContext, pending: Sequence[PendingRun], workspaces: Callable[[bytes], Workspace]
    ) -> None:
        """Args: workspaces, that of a shared container by its id. Raises: ExecutorError if the model is not here."""
        self._pending = pending
        self.id = shared_id([each.spec for each in pending])
        self._workspace = workspaces(self.id)
        inputs = {f"{place}.{INPUT_JSON}": each.input for place, each in enumerate(pending)}
        self._run = context.run_of_batch(KIND, self.id, [each.spec for each in pending], inputs)
        self._outputs = Outputs(IoVolume(self._workspace.volume, self._run.limits).output, self._run.limits)
        self.stop = self._run.stop

    def run(
        self,
        on_tokens: Callable[[int, tuple[int, ...]], None],
        on_settled: Callable[[int, RunResult, bytes], None],
    ) -> Finish:
        """Answer as many as it can.

        Args: on_tokens, hears the place of a job in the list and the next tokens of its answer; on_settled, hears the
        place, the result and the fingerprint, once for each job that ends here.
        Returns: how the container ended, which is no job's end.
        """
        began = time.monotonic()
        settled: set[int] = set()

        def settle(place: int) -> tuple[RunResult, bytes]:
            pending = self._pending[place]
            for name, limit in ((FINGERPRINT_BIN, MAX_FINGERPRINT_BYTES), (RESULT_JSON, MAX_RESULT_BYTES)):
                self._outputs.take(f"{place}.{name}", pending.workspace.home / name, limit)
            return pending.settle(round((time.monotonic() - began) * 1000))

        def on_event(event: RunnerEvent) -> None:
            place = getattr(event, "job", None)
            # After a restart of the Engine, the container's whole output is read again.
            if place is None or place in settled or place >= len(self._pending):
                return
            match event:
                case Tokens(ids):
                    if new := self._pending[place].new_tokens(ids):
                        on_tokens(place, new)
                case Answered():
                    settled.add(place)
                    on_settled(place, *settle(place))
                case Declined(error=error):
                    settled.add(place)
                    on_settled(place, failed(Outcome.CLIENT, f"{error.code}: {error.message}"), b"")

        try:
            return self._run.run(self._workspace.volume, self._workspace.home, on_event)
        finally:
            self._workspace.discard()


def shared_id(specs: Sequence[RunSpec]) -> bytes:
    """The id of a container of these jobs, 32 bytes."""
    return hashlib.sha256(b"together" + b"".join(spec.job_id for spec in specs)).digest()
