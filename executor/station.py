"""Where runs happen: everything that is the same for each run of this node."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from executor.containers import Engine
from executor.models import ModelStore
from executor.sandbox import Limits
from executor.task import Attempt, Task
from protocol.stages.execution import CLASS_DTYPES, RunSpec
from protocol.stages.request import KINDS


@dataclass(frozen=True, slots=True)
class Station:
    """`image` is the runner's tag; `act_w` gives a manifest's whitening weights, None for a model without them."""

    engine: Engine
    image: str
    models: ModelStore
    act_w: Callable[[bytes], bytes | None]
    cpu_millis: int = 1000

    def attempt(self, kind: str, spec: RunSpec, inputs: dict[str, bytes | Path], wanted: tuple[str, ...]) -> Attempt:
        """An attempt at one run of a job's model. Raises: ModelUnusable if the model is not here."""
        self.models.manifest(spec.manifest)
        weights = self.act_w(spec.manifest)
        if weights is not None:
            inputs = {**inputs, "act_w.bin": weights}
        params = {
            "max_new_tokens": spec.max_new_tokens,
            "temperature_milli": spec.temperature,
            "dtype": CLASS_DTYPES.get(spec.class_id, ""),
            "device_class": spec.class_id,
            "of": KINDS[spec.kind],
        }
        limits = Limits(timeout_ms=spec.timeout_ms, memory_bytes=spec.memory_bytes, cpu_millis=self.cpu_millis)
        model = self.models.path(spec.manifest)
        return Attempt(
            self.engine, self.image, Task(spec.job_id, kind, params, inputs, wanted, limits, model, spec.seed)
        )
