"""What a warm engine needs to know of a job or a check, and what becomes of it there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from executor.containers.ending import RunnerError
from executor.runs.context import EngineKey
from protocol.stages.execution import RunSpec

Settled_co = TypeVar("Settled_co", covariant=True)


class EngineTask(Protocol[Settled_co]):
    """A job or a check that can join an engine. All calls block.

    kind: the runner's word for it. inputs: its files. outputs: the largest size of each file that it leaves, which is
    copied to `home`. is_check: nobody waits for its first token. engine: the one that it is for; see engines.py.
    params: of its own, beside those that its spec gives. is_shortened: its answer is to end at the next token.
    """

    @property
    def spec(self) -> RunSpec: ...
    @property
    def kind(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, bytes]: ...
    @property
    def outputs(self) -> Mapping[str, int]: ...
    @property
    def home(self) -> Path: ...
    @property
    def is_check(self) -> bool: ...
    @property
    def engine(self) -> str: ...
    @property
    def params(self) -> Mapping[str, object]: ...
    @property
    def is_shortened(self) -> bool: ...

    def begin(self) -> None:
        """An engine begins with it, perhaps not the first one."""

    def new_tokens(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Of the next tokens, those to stream."""

    def settle(self, duration_ms: int) -> Settled_co:
        """Its outputs are in `home`. Raises: ExecutorError if they are worth nothing."""

    def decline(self, error: RunnerError) -> Settled_co:
        """Its own input is at fault."""

    def time_out(self, duration_ms: int) -> Settled_co:
        """Its time was over before its end. Raises: ExecutorError where that is this machine's fault."""


def key_of(task: EngineTask[Any]) -> EngineKey:
    """The engine that it is for."""
    return EngineKey(task.spec.manifest, task.spec.class_id, task.engine)
