"""One run of the runner image as data, and the attempt at it: exchange made, container run, outputs collected."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from executor.containers.container import Container
from executor.containers.ending import Ending, Intent, classify, printable
from executor.containers.engine import Engine
from executor.containers.sandbox import MODELS, Limits, Mount, Sandbox
from executor.containers.transcript import Said
from executor.workspace.io_volume import IoVolume, entry
from executor.workspace.outputs import HostileOutput
from protocol.errors import ExecutorError
from protocol.stages.execution import Outcome

SPEC_VERSION = 1
# What a container may take beyond its own timeout until it is gone, before a sweep counts it as left behind.
LATE_S = 60


@dataclass(frozen=True, slots=True)
class Task:
    """What the container is asked, in the words of the runner contract.

    `inputs` are bytes or files to copy; `wanted` are the outputs to keep (see `Outputs.collect`); `model` is a folder
    of the model store.
    """

    job_id: bytes
    kind: str
    params: Mapping[str, object]
    inputs: Mapping[str, bytes | Path]
    wanted: tuple[str, ...]
    limits: Limits
    model: Path | None = None
    seed: bytes = b""
    gpu_uuids: tuple[str, ...] = ()

    def spec(self, entries: list[dict[str, object]]) -> bytes:
        """spec.json for input files with these entries."""
        spec = {
            "version": SPEC_VERSION,
            "job_id": self.job_id.hex(),
            "kind": self.kind,
            "seed": self.seed.hex(),
            "params": dict(self.params),
            "limits": {"timeout_ms": self.limits.timeout_ms, "output_bytes": self.limits.output_bytes},
            "input_files": entries,
        }
        return json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Finish:
    """How an attempt ended. `ending` is None where no container came to run."""

    outcome: Outcome
    detail: str
    ending: Ending | None = field(default=None)

    @property
    def duration_ms(self) -> int:
        return self.ending.duration_ms if self.ending else 0


class RunAttempt:
    """Blocks in `run`; `stop` may come from another thread, before or after that."""

    def __init__(self, engine: Engine, image: str, task: Task) -> None:
        self._engine = engine
        self._image = image
        self._task = task
        self._lock = threading.Lock()
        self._container: Container | None = None
        self._stopped: Intent | None = None

    @property
    def limits(self) -> Limits:
        """What the container may use."""
        return self._task.limits

    def run(self, exchange_home: Path, target: Path, on_said: Callable[[Said], None]) -> Finish:
        """Run the task with its exchange at `exchange_home`; good outputs end up in `target`. Never raises ours.

        One that an earlier process has started there is not started again but followed to its end.
        """
        task = self._task
        ending = None
        try:
            exchange = IoVolume(exchange_home, task.limits)
            spec = task.spec([entry(name, content) for name, content in sorted(task.inputs.items())])
            container = self._contain(exchange, spec)
            left = container.left_behind()
            if left is not None and not exchange.adopt():
                # Its outputs cannot be reached any more, after a restart of the machine for one.
                container.remove(left)
                left = None
            with exchange:
                if left is not None:
                    ending = container.adopt(left, on_said)
                else:
                    for name, content in (*sorted(task.inputs.items()), ("spec.json", spec)):
                        exchange.put(name, content)
                    ending = container.run(on_said)
                outcome, detail = classify(ending)
                if outcome is Outcome.OK:
                    exchange.outputs.collect(target, task.wanted)
                elif ending.unseen and self._is_complete(exchange, target):
                    outcome, detail = Outcome.OK, ""
                elif outcome is Outcome.PROVIDER and exchange.is_full:
                    outcome, detail = Outcome.JOB, f"output_quota: all room for outputs is used up ({detail})"
                return Finish(outcome, detail, ending)
        except HostileOutput as error:
            # It may name a file, and a file's name may be any bytes.
            return Finish(Outcome.HOSTILE, f"output: {printable(str(error))}", ending)
        except ExecutorError as error:
            return Finish(Outcome.PROVIDER, str(error))
        except OSError as error:
            return Finish(Outcome.PROVIDER, f"the disk of this machine: {error.strerror or error}")

    def _is_complete(self, exchange: IoVolume, target: Path) -> bool:
        """Whether a container that ended unseen had done its work: the manifest comes last."""
        try:
            exchange.outputs.collect(target, self._task.wanted)
        except HostileOutput:
            return False
        return True

    def stop(self, intent: Intent) -> None:
        """Kill the container, or keep it from starting."""
        with self._lock:
            self._stopped = intent
            container = self._container
        if container:
            container.stop(intent)

    def _contain(self, exchange: IoVolume, spec: bytes) -> Container:
        task = self._task
        mounts, environment = exchange.mounts, {}
        if task.model:
            inside = f"{MODELS}/{task.model.name[:12]}"
            mounts = (*mounts, Mount(str(task.model), inside))
            environment = {"MODEL_PATH": inside}
        sandbox = Sandbox(
            self._image,
            task.limits,
            mounts,
            environment,
            labels={"kind": task.kind, "spec": hashlib.sha256(spec).hexdigest()},
            gpu_uuids=task.gpu_uuids,
        )
        deadline_s = int(time.time() + task.limits.timeout_ms / 1000 + LATE_S)
        container = self._engine.container(sandbox, task.job_id.hex(), deadline_s)
        with self._lock:
            self._container = container
            stopped = self._stopped
        if stopped:
            container.stop(stopped)
        return container
