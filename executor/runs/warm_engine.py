"""A container in which a model stays loaded. Jobs and checks join it and leave it at any token. Every call blocks.

The engine judges nothing: what it does not settle is run again in a container of its own. It may be killed at any time.
"""

import json
from collections.abc import Callable
from typing import Any

from executor.containers.sandbox import GIB
from executor.containers.transcript import RunnerEvent
from executor.runs.container_run import Finish
from executor.runs.context import EngineKey, RunnerContext, sampling
from executor.runs.engine_task import EngineTask
from executor.workspace.folders import Workspace
from executor.workspace.io_volume import IoVolume
from protocol.errors import ExecutorError
from protocol.stages.request import KINDS

NUMBERS = 64
"""Jobs and checks in one engine, each with a number that is free again when it has left."""
LEAST_MEMORY_BYTES = GIB
UNFIT = "unfit_engine"
"""The runner's word for a model that its engine cannot run."""


class EngineUnfit(ExecutorError):
    """The engine cannot run this model; another one may."""


class WarmEngine:
    """One engine. `run` blocks until its container has ended; other threads call the rest."""

    def __init__(
        self, context: RunnerContext, key: EngineKey, engine_id: bytes, workspace: Workspace, memory_bytes: int
    ) -> None:
        """Raises: ModelUnusable if the model is not on this machine."""
        self.id, self.key = engine_id, key
        self._workspace = workspace
        self._run = context.run_of_engine(engine_id, key, max(memory_bytes, LEAST_MEMORY_BYTES))
        self._volume = IoVolume(workspace.volume, self._run.limits)
        self.stop = self._run.stop

    def run(self, on_event: Callable[[RunnerEvent], None]) -> Finish:
        """Returns: how the container ended, which is no job's end. Raises: EngineUnfit."""
        try:
            finish = self._run.run(self._workspace.volume, self._workspace.home, on_event)
            error = finish.ending.runner_error if finish.ending else None
            if error is not None and error.code == UNFIT:
                raise EngineUnfit(error.message)
            return finish
        finally:
            self._workspace.discard()

    def join(self, number: int, task: EngineTask[Any]) -> None:
        """Raises: ExecutorError if the container has ended, OSError of the disk."""
        for name, content in task.inputs.items():
            self._volume.put(f"{number}.{name}", content)
        spec = task.spec
        params = {**sampling(spec), **task.params, "memory_bytes": spec.memory_bytes, "of": KINDS[spec.kind]}
        self._say("join", number, kind=task.kind, job_id=spec.job_id.hex(), seed=spec.seed.hex(), params=params)

    def shorten(self, number: int) -> None:
        """Let an answer end with the tokens that it has. Raises: ExecutorError if the container has ended."""
        self._say("end", number)

    def leave(self, number: int) -> None:
        """Raises: ExecutorError if the container has ended."""
        self._say("leave", number)

    def forget(self, number: int, task: EngineTask[Any]) -> None:
        """Remove the files of a job that has ended: the container can read them no longer. Raises: OSError."""
        inputs, outputs = ([f"{number}.{name}" for name in names] for names in (task.inputs, task.outputs))
        self._volume.forget(inputs, outputs)

    def take(self, number: int, task: EngineTask[Any]) -> None:
        """Copy the outputs of a job that is answered. Raises: HostileOutput."""
        for name, limit in task.outputs.items():
            self._volume.outputs.take(f"{number}.{name}", task.home / name, limit)

    def _say(self, op: str, number: int, **facts: object) -> None:
        line = json.dumps({"op": op, "job": number, **facts}, separators=(",", ":"))
        self._run.send(line.encode() + b"\n")
