"""One run of the runner image: its task as data, its volume, its container, and the outputs that are kept."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from executor.cards.card_desk import NO_LEASE, CardLease
from executor.containers.container import Container
from executor.containers.ending import Ending, Intent, classify, printable
from executor.containers.engine import Engine
from executor.containers.sandbox import MODELS, Limits, Mount, Sandbox
from executor.containers.transcript import RunnerEvent
from executor.workspace.io_volume import IoVolume, entry
from executor.workspace.outputs import HostileOutput
from protocol.errors import ExecutorError
from protocol.stages.execution import Outcome
from protocol.stages.stop_order import STOP_ORDER

SPEC_VERSION = 1
LATE_S = 60
"""How long after its timeout a container may still be there before a sweep removes it."""


@dataclass(frozen=True, slots=True)
class Task:
    """The runner's task, in the terms of spec.json.

    `inputs` are bytes or files to copy. `wanted` are the outputs to keep (see `Outputs.collect`). `model` is a folder
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
    is_served: bool = False

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
    """How a run ended. `ending` is None if no container ran."""

    outcome: Outcome
    detail: str
    ending: Ending | None = field(default=None)

    @property
    def duration_ms(self) -> int:
        return self.ending.duration_ms if self.ending else 0


class ContainerRun:
    """`run` blocks; another thread may call `stop`, before or during it."""

    def __init__(
        self, engine: Engine, image: str, task: Task, lend: Callable[[], CardLease] = lambda: NO_LEASE
    ) -> None:
        """Args: lend, gives it the cards that it needs; raises ExecutorError where there are none."""
        self._engine = engine
        self._lend = lend
        self._lease = NO_LEASE
        self._image = image
        self._task = task
        self._lock = threading.Lock()
        self._container: Container | None = None
        self._stopped: Intent | None = None
        self._volume: IoVolume | None = None
        self._is_shortened = False

    @property
    def limits(self) -> Limits:
        """The limits of the container."""
        return self._task.limits

    def run(self, volume_home: Path, target: Path, on_event: Callable[[RunnerEvent], None]) -> Finish:
        """Run the task with its volume at `volume_home`, and copy good outputs to `target`. Raises no NodeError.

        A container that an earlier process started there is followed to its end instead of a new one.
        """
        task = self._task
        ending = None
        try:
            self._lease = self._lend()
            volume = IoVolume(volume_home, task.limits)
            spec = task.spec([entry(name, content) for name, content in sorted(task.inputs.items())])
            container = self._contain(volume, spec)
            left = container.left_behind()
            if left is not None and not volume.adopt():
                # Its outputs cannot be reached, for example after a restart of the machine.
                container.remove(left)
                left = None
            with volume:
                if left is None:
                    for name, content in (*sorted(task.inputs.items()), ("spec.json", spec)):
                        volume.put(name, content)
                self._open(volume)
                ending = container.run(on_event) if left is None else container.adopt(left, on_event)
                outcome, detail = classify(ending)
                if outcome is Outcome.OK:
                    volume.outputs.collect(target, task.wanted)
                elif ending.unseen and self._is_complete(volume, target):
                    outcome, detail = Outcome.OK, ""
                elif outcome is Outcome.PROVIDER and volume.is_full:
                    outcome, detail = Outcome.JOB, f"output_quota: all room for outputs is used up ({detail})"
                return Finish(outcome, detail, ending)
        except HostileOutput as error:
            # The text may hold the name of a file, which may be any bytes.
            return Finish(Outcome.HOSTILE, f"output: {printable(str(error))}", ending)
        except ExecutorError as error:
            return Finish(Outcome.PROVIDER, str(error))
        except OSError as error:
            return Finish(Outcome.PROVIDER, f"the disk of this machine: {error.strerror or error}")
        finally:
            self._lease.release()
            with self._lock:
                self._volume = None

    @property
    def cards(self) -> tuple[str, ...]:
        """The cards that it has or had, by UUID."""
        return self._lease.uuids

    def shorten(self) -> None:
        """Let the answer end at its next token, or before its first one. Raises: OSError."""
        with self._lock:
            self._is_shortened = True
            if self._volume is not None:
                self._volume.put(STOP_ORDER, b"")

    def _open(self, volume: IoVolume) -> None:
        """The volume is there: what was asked for before goes into it."""
        with self._lock:
            self._volume = volume
            if self._is_shortened:
                volume.put(STOP_ORDER, b"")

    def _is_complete(self, volume: IoVolume, target: Path) -> bool:
        """Whether a container that ended unseen had finished: the runner writes the manifest last."""
        try:
            volume.outputs.collect(target, self._task.wanted)
        except HostileOutput:
            return False
        return True

    def send(self, line: bytes) -> None:
        """Tell a served container what to do next. Raises: ExecutorError if it does not run."""
        with self._lock:
            container = self._container
        if container is None:
            raise ExecutorError("the container does not run yet", transient=True)
        container.send(line)

    def stop(self, intent: Intent = Intent.CANCELLED) -> None:
        """Kill the container, or keep it from starting."""
        with self._lock:
            self._stopped = intent
            container = self._container
        if container:
            container.stop(intent)

    def _contain(self, volume: IoVolume, spec: bytes) -> Container:
        task, cards = self._task, self.cards
        mounts, environment = volume.mounts, {}
        if task.model:
            inside = f"{MODELS}/{task.model.name[:12]}"
            mounts = (*mounts, Mount(str(task.model), inside))
            environment = {"MODEL_PATH": inside}
        sandbox = Sandbox(
            self._image,
            task.limits,
            mounts,
            environment,
            # On other cards than before it is another container, which takes over none.
            labels={"kind": task.kind, "spec": hashlib.sha256(spec + ",".join(cards).encode()).hexdigest()},
            gpu_uuids=cards,
            card_bytes=self._lease.share_bytes,
            is_served=task.is_served,
        )
        deadline_s = int(time.time() + task.limits.timeout_ms / 1000 + LATE_S)
        container = self._engine.container(sandbox, task.job_id.hex(), deadline_s)
        with self._lock:
            self._container = container
            stopped = self._stopped
        if stopped:
            container.stop(stopped)
        return container
