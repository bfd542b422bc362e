"""Carries out a plan in containers of the runner image, and keeps what each part has found in a work folder.

A part that is there already, from the same runner, model and whitening weights, is not measured again: so an
interrupted measurement goes on where it was.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from executor import images
from executor.containers.engine import Engine
from executor.containers.sandbox import MIB, Limits
from executor.containers.transcript import RunnerEvent, RunProgress
from executor.models import ModelStore
from executor.runs.container_run import ContainerRun, Task
from node.calibration.plan import Part
from node.calibration.prompts import prompt_of
from protocol.errors import ExecutorError
from protocol.stages.execution import CLASS_DTYPES, Outcome

ACT_W, DISTANCES, KEY = "act_w.bin", "distances.json", "key"
TIMEOUT_MS = 6 * 3600 * 1000
SEED = hashlib.sha256(b"vcoin/calibrate/seed").digest()
"""A second measurement finds the same answers: the number of each makes a seed of its own out of this one."""
FOUNDING_SEED = hashlib.sha256(b"vcoin/calibrate/constants").digest()
"""That of answers which constants are made from, so that they have no part in what judges them."""
MARGIN_BYTES = 1024 * MIB
"""For a batch of states and margins beside two models: the one that is checked with and the one that answers."""


@dataclass(frozen=True)
class MeasuringBench:
    """The setting that all parts share; their results end up in folders of `work`."""

    engine: Engine
    image: str
    models: ModelStore
    manifest: bytes
    work: Path
    seed: bytes = SEED

    def measure(self, part: Part, act_w: bytes | None, tell: Callable[[str], None]) -> Path:
        """The folder with distances.json and act_w.bin of a part, measured unless it is there.

        Args: act_w, whitening weights; None where this part is what they are made from.
        Raises: ExecutorError if the container fails, with its reason.
        """
        target = self.work / part.name
        weights = hashlib.sha256(act_w or b"").hexdigest()
        key = part.key(images.runtime(), self.manifest.hex(), weights, self.seed.hex())
        if (target / KEY).is_file() and (target / KEY).read_text() == key:
            tell(f"{part.name}: measured before")
            return target
        finish = self._attempt(part, act_w, key).run(self.work / "run", target, _progress_of(part, tell))
        if finish.outcome is not Outcome.OK:
            raise ExecutorError(f"{part.name}: {finish.detail}")
        # Last, and whole: without it the part is measured again.
        with tempfile.NamedTemporaryFile("w", dir=target, delete=False) as file:
            file.write(key)
        Path(file.name).rename(target / KEY)
        return target

    def _attempt(self, part: Part, act_w: bytes | None, key: str) -> ContainerRun:
        needs = self.models.manifest(self.manifest).needs_bytes
        limits = Limits(
            timeout_ms=TIMEOUT_MS,
            memory_bytes=2 * needs + MARGIN_BYTES,
            cpu_millis=1000 * max(each.threads for each in part.segments),
            file_bytes=512 * MIB,
            output_bytes=512 * MIB,
        )
        orders = {
            "prompts": {str(number): prompt_of(number).text for number in part.numbers},
            "segments": [asdict(each) for each in part.segments],
        }
        inputs: dict[str, bytes | Path] = {"segments.json": json.dumps(orders).encode()}
        if act_w is not None:
            inputs[ACT_W] = act_w
        params = {
            "max_new_tokens": part.max_new_tokens,
            "lengths": list(part.lengths),
            "device_class": part.checker,
            "dtype": CLASS_DTYPES[part.checker],
            "worker_dtype": CLASS_DTYPES[part.worker],
            "writer": part.writer,
            # Each segment has its own.
            "temperature_milli": 0,
        }
        model, wanted = self.models.path(self.manifest), (DISTANCES, ACT_W)
        task = Task(bytes.fromhex(key), "calibrate", params, inputs, wanted, limits, model, self.seed)
        return ContainerRun(self.engine, self.image, task)


def _progress_of(part: Part, tell: Callable[[str], None]) -> Callable[[RunnerEvent], None]:
    said_at = -1

    def hear(said: RunnerEvent) -> None:
        nonlocal said_at
        if isinstance(said, RunProgress) and said.total and (tenth := 10 * said.step // said.total) != said_at:
            said_at = tenth
            tell(f"{part.name}: {10 * tenth} %")

    return hear
