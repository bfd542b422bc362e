"""What an owner sees of the serving of models: streams, waiting, first tokens and speed, measured on this machine.

Times begin at a run's arrival here, so they hold its wait for an engine, and no time of the network.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

import trio

from protocol.stages.execution import RunSpec
from protocol.stages.request import GENERATE

MAX_MODELS = 16
"""Models with figures of their own; those of further ones stand together."""
OTHER_MODELS = b""
RECENT_S = 60


class EngineEnd(StrEnum):
    """Why a warm engine ended."""

    IDLE = "idle"
    """Nothing came for `executor.keep_s`."""
    NO_ROOM = "no_room"
    """It had no work, and its memory, its slot or its place among the engines without work was needed."""
    OLD = "old"
    """It is replaced: it was there for an hour, or has served many runs."""
    REMOVED = "removed"
    """Its model left this machine."""
    STUCK = "stuck"
    """It did not listen, or did not let a job go."""
    FAILED = "failed"
    """Its container ended by itself, could not be started, or left what no runner writes."""


@dataclass(frozen=True, slots=True)
class ModelServed:
    """Of one model since the start of the daemon.

    answers: that had a token. first_token_ms: of all answers together. later_tokens, writing_ms: tokens after the first
    report of each answer, and the time from there to its last report.
    """

    manifest: bytes
    answers: int = 0
    tokens: int = 0
    first_token_ms: float = 0.0
    later_tokens: int = 0
    writing_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class ServingReport:
    """The figures of one moment.

    tokens_per_s: of all streams in the last minute. streams: answers that are written now. longest_wait_ms: of the jobs
    that wait, and of those that began within the last minute.
    """

    models: tuple[ModelServed, ...] = ()
    tokens_per_s: float = 0.0
    streams: int = 0
    jobs_waiting: int = 0
    checks_waiting: int = 0
    longest_wait_ms: float = 0.0
    engines: int = 0
    engine_starts: int = 0
    engine_ends: tuple[tuple[EngineEnd, int], ...] = ()


@dataclass(slots=True)
class _Second:
    number: int
    tokens: int = 0
    longest_wait_ms: float = 0.0


class ServingTally:
    """Counts the runs of a machine. All calls are made in the event loop."""

    def __init__(self) -> None:
        self._started_ms: float | None = None
        self._models: dict[bytes, ModelServed] = {}
        self._watches: set[RunWatch] = set()
        self._recent: deque[_Second] = deque(maxlen=RECENT_S + 1)

    @contextmanager
    def watch(
        self, spec: RunSpec, on_tokens: Callable[[tuple[int, ...]], Awaitable[None]], *, is_check: bool = False
    ) -> "Iterator[RunWatch]":
        """Count a run from its arrival to its end."""
        watch = RunWatch(self, spec, on_tokens, is_check=is_check)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def report(self) -> ServingReport:
        """The figures of now, but those of engines."""
        now_ms = _now_ms()
        waiting = [watch for watch in self._watches if not watch.is_working]
        jobs = [watch for watch in waiting if not watch.is_check]
        recent = [second for second in self._recent if second.number > now_ms // 1000 - RECENT_S]
        since_ms = now_ms if self._started_ms is None else self._started_ms
        span_s = min(max((now_ms - since_ms) / 1000, 1.0), float(RECENT_S))
        waits = [now_ms - watch.arrived_ms for watch in jobs] + [second.longest_wait_ms for second in recent]
        return ServingReport(
            models=tuple(self._models.values()),
            tokens_per_s=sum(second.tokens for second in recent) / span_s,
            streams=sum(watch.is_stream and watch.is_working for watch in self._watches),
            jobs_waiting=len(jobs),
            checks_waiting=len(waiting) - len(jobs),
            longest_wait_ms=max(waits, default=0.0),
        )

    def waited(self, wait_ms: float) -> None:
        """A job has waited so long and begins."""
        second = self._second()
        second.longest_wait_ms = max(second.longest_wait_ms, wait_ms)

    def first_tokens(self, manifest: bytes, tokens: int, after_ms: float) -> None:
        """An answer has its first tokens."""
        key, was = self._served(manifest)
        self._models[key] = replace(was, answers=was.answers + 1, first_token_ms=was.first_token_ms + after_ms)
        self._count(key, tokens)

    def later_tokens(self, manifest: bytes, tokens: int, after_ms: float) -> None:
        """An answer has more tokens, so long after the ones before."""
        key, was = self._served(manifest)
        self._models[key] = replace(was, later_tokens=was.later_tokens + tokens, writing_ms=was.writing_ms + after_ms)
        self._count(key, tokens)

    def _served(self, manifest: bytes) -> tuple[bytes, ModelServed]:
        key = manifest if manifest in self._models or len(self._models) < MAX_MODELS else OTHER_MODELS
        return key, self._models.get(key, ModelServed(key))

    def _count(self, key: bytes, tokens: int) -> None:
        self._models[key] = replace(self._models[key], tokens=self._models[key].tokens + tokens)
        self._second().tokens += tokens
        if self._started_ms is None:
            self._started_ms = _now_ms()

    def _second(self) -> _Second:
        number = math.floor(_now_ms() / 1000)
        if not self._recent or self._recent[-1].number != number:
            self._recent.append(_Second(number))
        return self._recent[-1]


class RunWatch:
    """One job or check; it waits until `begin`. `hear` passes its tokens on."""

    def __init__(
        self,
        tally: ServingTally,
        spec: RunSpec,
        on_tokens: Callable[[tuple[int, ...]], Awaitable[None]],
        *,
        is_check: bool,
    ) -> None:
        self.arrived_ms = _now_ms()
        self.is_check = is_check
        self.is_stream = not is_check and spec.kind == GENERATE
        self.is_working = False
        self._tally = tally
        self._manifest = spec.manifest
        self._on_tokens = on_tokens
        self._heard_ms: float | None = None

    def begin(self) -> None:
        """An engine or a container works on it."""
        if not self.is_working and not self.is_check and self._heard_ms is None:
            self._tally.waited(_now_ms() - self.arrived_ms)
        self.is_working = True

    def wait(self) -> None:
        """It waits again: the engine did not settle it."""
        self.is_working = False

    async def hear(self, ids: tuple[int, ...]) -> None:
        """New tokens of the answer."""
        now_ms = _now_ms()
        if self._heard_ms is None:
            self._tally.first_tokens(self._manifest, len(ids), now_ms - self.arrived_ms)
        else:
            self._tally.later_tokens(self._manifest, len(ids), now_ms - self._heard_ms)
        self._heard_ms = now_ms
        await self._on_tokens(ids)


def _now_ms() -> float:
    return trio.current_time() * 1000
