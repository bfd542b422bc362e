"""The common context of all runs of a node: Engine, image, models, weights, processor time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from executor.containers.engine import Engine
from executor.containers.sandbox import Limits
from executor.models import ModelStore
from executor.runs.container_run import ContainerRun, Task
from protocol.stages.execution import CLASS_DTYPES, RunSpec
from protocol.stages.request import KINDS


@dataclass(frozen=True, slots=True)
class RunnerContext:
    """Makes the runs of one node.

    `image` is the runner's tag. `act_w` gives the whitening weights of a model by its manifest, None if it has none.
    """

    engine: Engine
    image: str
    models: ModelStore
    act_w: Callable[[bytes], bytes | None]
    cpu_millis: int = 1000

    def run_of_job(
        self, kind: str, spec: RunSpec, inputs: dict[str, bytes | Path], wanted: tuple[str, ...]
    ) -> ContainerRun:
        """A run of one job or check. Raises: ModelUnusable if the model is not here."""
        params = {**_sampling(spec), **_class_of(spec), "of": KINDS[spec.kind]}
        limits = Limits(timeout_ms=spec.timeout_ms, memory_bytes=spec.memory_bytes, cpu_millis=self.cpu_millis)
        model, inputs = self._model(spec), self._with_weights(spec, inputs)
        return ContainerRun(
            self.engine, self.image, Task(spec.job_id, kind, params, inputs, wanted, limits, model, spec.seed)
        )

    def run_of_batch(
        self, kind: str, shared_id: bytes, specs: Sequence[RunSpec], inputs: Mapping[str, bytes]
    ) -> ContainerRun:
        """A run of several jobs of one model and class; their outputs are copied while it runs.

        It has the memory and the time of the job that was given most, so that a job with little ends no other.
        Raises: ModelUnusable if the model is not here.
        """
        jobs = [
            {
                "job_id": spec.job_id.hex(),
                "seed": spec.seed.hex(),
                "params": {**_sampling(spec), "memory_bytes": spec.memory_bytes},
            }
            for spec in specs
        ]
        limits = Limits(
            timeout_ms=max(spec.timeout_ms for spec in specs),
            memory_bytes=max(spec.memory_bytes for spec in specs),
            cpu_millis=self.cpu_millis,
        )
        first = specs[0]
        params = {**_class_of(first), "jobs": jobs}
        model, with_weights = self._model(first), self._with_weights(first, inputs)
        return ContainerRun(self.engine, self.image, Task(shared_id, kind, params, with_weights, (), limits, model))

    def _model(self, spec: RunSpec) -> Path:
        self.models.manifest(spec.manifest)
        return self.models.path(spec.manifest)

    def _with_weights(self, spec: RunSpec, inputs: Mapping[str, bytes | Path]) -> dict[str, bytes | Path]:
        weights = self.act_w(spec.manifest)
        return {**inputs} if weights is None else {**inputs, "act_w.bin": weights}


def _class_of(spec: RunSpec) -> dict[str, object]:
    return {"dtype": CLASS_DTYPES.get(spec.class_id, ""), "device_class": spec.class_id}


def _sampling(spec: RunSpec) -> dict[str, object]:
    return {"max_new_tokens": spec.max_new_tokens, "temperature_milli": spec.temperature}
