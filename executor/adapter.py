"""The executor's side of the driver: one effect in, one event out; streamed tokens are reported beside it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import trio

from executor.cards.card_desk import CardsReport
from executor.models import ModelStore
from executor.scheduler.live_engine import OnTokens
from executor.scheduler.serving import ServingReport
from protocol.effects import ContainerEffect, HoldContainers, ReplaySample, RunContainer, ShortenRun, StopContainer
from protocol.events import (
    ContainerExited,
    ContainersHeld,
    DeviceReported,
    Event,
    RunShortened,
    SampleReplayed,
    TokensProduced,
)
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import Outcome, RunSpec, failed
from protocol.wire.bounded import keep_newest

STOPPED_KEPT = 1_024
"""Jobs that were stopped before they ran, of which as many are remembered."""


class Runner(Protocol):
    """Runs containers on this machine. Each call raises ExecutorError if the machine fails."""

    async def recover(self) -> None:
        """Remove what a crash left behind; called before anything is run."""

    async def serve(self) -> None:
        """Run the containers that several jobs share, until cancelled. Unless it runs, each job gets its own."""

    async def report(self) -> DeviceReported:
        """Measure this machine."""

    async def run_job(self, spec: RunSpec, on_tokens: OnTokens) -> ContainerExited:
        """Run a job to its end."""

    async def shorten(self, effect: ShortenRun) -> RunShortened:
        """Let a job's answer end at its next token, also when it runs again; the order goes into the result."""

    async def replay(self, effect: ReplaySample) -> SampleReplayed:
        """Check a drawn leaf."""

    async def hold(self, *, is_held: bool) -> ContainersHeld:
        """Have all containers of this node stand still, or go on; while they stand still none is started."""

    async def let_go(self, manifest: bytes) -> None:
        """End what holds a model without work, because the model is about to leave the store."""

    def serving(self) -> ServingReport:
        """What its owner sees of streams, waiting and engines now."""

    def cards(self) -> CardsReport:
        """The graphics cards of this machine, with what is wrong with them."""

    async def card_news(self) -> None:
        """Wait until a card is to be used no more, or again: then the network is told at once."""

    def add_small_model(self, models: ModelStore) -> ModelManifest:
        """Download the small model that needs no account, and convert it. Blocks."""

    def close(self) -> None:
        """Close the connections to what runs the containers."""


@dataclass(frozen=True, slots=True)
class _Run:
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)


class ContainerAdapter:
    """Performs the driver's container effects with a runner. `report` takes the events of streamed tokens."""

    def __init__(self, runner: Runner, report: Callable[[Event], Awaitable[None]]) -> None:
        self._runner = runner
        self._report = report
        self._runs: dict[bytes, _Run] = {}
        self._stopped: dict[bytes, None] = {}

    async def perform(self, effect: ContainerEffect) -> Event:
        """Perform it to its end. Raises: ExecutorError."""
        match effect:
            case RunContainer(spec):
                return await self._run_job(spec)
            case StopContainer(job_id):
                return await self._stop(job_id)
            case ShortenRun():
                return await self._runner.shorten(effect)
            case HoldContainers(is_held):
                return await self._runner.hold(is_held=is_held)
            case ReplaySample():
                return await self._runner.replay(effect)

    async def _run_job(self, spec: RunSpec) -> ContainerExited:
        async def on_tokens(ids: tuple[int, ...]) -> None:
            await self._report(TokensProduced(spec.job_id, ids))

        if spec.job_id in self._stopped:
            del self._stopped[spec.job_id]
            return _cancelled(spec.job_id)
        run = self._runs[spec.job_id] = _Run()
        try:
            with run.scope:
                return await self._runner.run_job(spec, on_tokens)
        finally:
            del self._runs[spec.job_id]
            run.ended.set()
        return _cancelled(spec.job_id)

    async def _stop(self, job_id: bytes) -> ContainerExited:
        run = self._runs.get(job_id)
        if run is None:
            # After a restart both effects are asked for again, in any order. A job that has ended is never run again.
            keep_newest(self._stopped, job_id, None, STOPPED_KEPT)
        else:
            run.scope.cancel()
            await run.ended.wait()
        return _cancelled(job_id)


def _cancelled(job_id: bytes) -> ContainerExited:
    return ContainerExited(job_id, failed(Outcome.CANCELLED, "no longer needed"), b"")
