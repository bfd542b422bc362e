"""The common context of all runs of a node: Engine, image, models, weights, processor time."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from executor.cards.card_desk import NO_LEASE, CardDesk, CardLease
from executor.cards.choice import CardWish
from executor.containers.engine import Engine
from executor.containers.sandbox import Limits
from executor.models import ModelStore
from executor.runs.container_run import ContainerRun, Task
from executor.runs.engines import TORCH
from protocol.stages.execution import CLASS_DTYPES, RunSpec
from protocol.stages.memory import needed_bytes
from protocol.stages.request import KINDS
from protocol.stages.token_rules import has_rules, milli_of

SERVE = "serve"
"""The runner's word for a model that stays loaded."""
CARD_CLASSES: frozenset[int] = frozenset()
"""Device classes that compute on a card; this release has none."""
ENGINE_LIFE_MS = 2 * 3600 * 1000
ENGINE_STDOUT_BYTES = 256 << 20
ENGINE_LINES_PER_S = 60


class EngineKey(NamedTuple):
    """What a warm engine is for."""

    manifest: bytes
    class_id: int
    engine: str


@dataclass(frozen=True, slots=True)
class RunnerContext:
    """Makes the runs of one node.

    `image` is the runner's tag. `act_w` gives the whitening weights of a model by its manifest, None if it has none.
    `hold_model` keeps a model from being evicted as long as an engine has it loaded; blocks. `desk` lends cards to the
    runs of `card_classes`.
    """

    engine: Engine
    image: str
    models: ModelStore
    act_w: Callable[[bytes], bytes | None]
    cpu_millis: int = 1000
    hold_model: Callable[[bytes], AbstractContextManager[object]] = nullcontext
    desk: CardDesk = field(default_factory=CardDesk)
    card_classes: frozenset[int] = CARD_CLASSES

    def run_of_job(
        self,
        kind: str,
        spec: RunSpec,
        inputs: dict[str, bytes | Path],
        wanted: tuple[str, ...],
        engine: str = TORCH,
        params: Mapping[str, object] = MappingProxyType({}),
        avoid: AbstractSet[str] = frozenset(),
    ) -> ContainerRun:
        """A run of one job or check.

        Args: params, its own; avoid, cards that it was taken off.
        Raises: ModelUnusable if the model is not here.
        """
        params = {**sampling(spec), **params, **_class_of(spec.class_id), "engine": engine, "of": KINDS[spec.kind]}
        limits = Limits(timeout_ms=spec.timeout_ms, memory_bytes=spec.memory_bytes, cpu_millis=self.cpu_millis)
        model, inputs = self._model(spec.manifest), self._with_weights(spec.manifest, inputs)
        task = Task(spec.job_id, kind, params, inputs, wanted, limits, model, spec.seed)
        return ContainerRun(self.engine, self.image, task, partial(self._lend, spec.manifest, spec.class_id, avoid))

    def run_of_engine(self, engine_id: bytes, key: EngineKey, memory_bytes: int) -> ContainerRun:
        """A container that keeps a model loaded; see executor/runner/serve.py.

        Raises: ModelUnusable if the model is not here.
        """
        manifest, class_id, engine = key
        limits = Limits(
            timeout_ms=ENGINE_LIFE_MS,
            memory_bytes=memory_bytes,
            cpu_millis=self.cpu_millis,
            stdout_bytes=ENGINE_STDOUT_BYTES,
            stdout_lines_per_s=ENGINE_LINES_PER_S,
        )
        model, inputs = self._model(manifest), self._with_weights(manifest, {})
        params = {**_class_of(class_id), "engine": engine}
        task = Task(engine_id, SERVE, params, inputs, (), limits, model, is_served=True)
        return ContainerRun(self.engine, self.image, task, partial(self._lend, manifest, class_id))

    def _lend(self, manifest: bytes, class_id: int, avoid: AbstractSet[str] = frozenset()) -> CardLease:
        """Cards with room for a model; none for a class of the processor. Blocks. Raises: NoCardFits, ModelUnusable."""
        if class_id not in self.card_classes:
            return NO_LEASE
        known = self.models.manifest(manifest)
        return self.desk.lend(CardWish(needed_bytes(known, class_id, known.context)), avoid)

    def _model(self, manifest: bytes) -> Path:
        self.models.manifest(manifest)
        return self.models.path(manifest)

    def _with_weights(self, manifest: bytes, inputs: Mapping[str, bytes | Path]) -> dict[str, bytes | Path]:
        weights = self.act_w(manifest)
        return {**inputs} if weights is None else {**inputs, "act_w.bin": weights}


def _class_of(class_id: int) -> dict[str, object]:
    return {"dtype": CLASS_DTYPES.get(class_id, ""), "device_class": class_id}


def sampling(spec: RunSpec) -> dict[str, object]:
    """How the tokens of a job are chosen, in the runner's words."""
    return {
        "max_new_tokens": spec.max_new_tokens,
        "temperature_milli": milli_of(spec.temperature),
        "ruled": int(has_rules(spec.temperature)),
    }
