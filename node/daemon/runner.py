"""What runs containers on this machine, if anything does."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import trio

from executor import images
from executor.adapter import ContainerAdapter
from executor.containers.engine import Engine
from executor.conversion import add_wheel
from executor.models import ModelStore
from executor.runs.context import Station
from executor.scheduler.slots import Turns
from executor.workspace.folders import Workspaces
from node.config import Config
from protocol.effects import ContainerEffect, ReplaySample, RunContainer, StopContainer
from protocol.errors import ExecutorError
from protocol.events import ContainerExited, DeviceReported, Event, SampleReplayed, TokensProduced
from protocol.roles.role import Role
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import Outcome, RunSpec, failed
from protocol.wire.ids import Address

log = logging.getLogger(__name__)


class Weights:
    """The whitening weights of calibrated models: those of this release whose hash stands in Params."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def put(self, manifest: bytes, weights: bytes) -> None:
        """The chain has a calibration that was made with these."""
        self._known[manifest] = weights

    def get(self, manifest: bytes) -> bytes | None:
        """None for a model without a calibration."""
        return self._known.get(manifest)


OnTokens = Callable[[tuple[int, ...]], Awaitable[None]]


class Runner(Protocol):
    """What runs containers on this machine. Raises: ExecutorError."""

    async def recover(self) -> None:
        """Remove what a crash left behind; before anything is run."""
        ...

    async def serve(self) -> None:
        """Be where containers live that several jobs share, until cancelled; without it there are none."""
        ...

    async def report(self) -> DeviceReported:
        """Measure this machine."""
        ...

    async def run_job(self, spec: RunSpec, on_tokens: OnTokens) -> ContainerExited:
        """Run a job to its end."""
        ...

    async def replay(self, effect: ReplaySample) -> SampleReplayed:
        """Check a drawn leaf."""
        ...

    def add_small_model(self, models: ModelStore) -> ModelManifest:
        """Fetch the small model that needs no account anywhere, and convert it. Blocks."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class DockerRunner:
    """Containers of a Docker Engine."""

    def __init__(self, engine: Engine, image: str, adapter: ContainerAdapter) -> None:
        self._engine = engine
        self._image = image
        self._adapter = adapter
        self.recover, self.report = adapter.recover, adapter.report
        self.run_job, self.replay, self.serve = adapter.run_job, adapter.replay, adapter.serve

    def add_small_model(self, models: ModelStore) -> ModelManifest:
        """See Runner."""
        return add_wheel(self._engine, self._image, models)

    def close(self) -> None:
        """See Runner."""
        self._engine.close()


UNWANTED_KEPT = 1_024


@dataclass(frozen=True, slots=True)
class Run:
    """A job's container while it runs."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)


class Containers:
    """A runner as the driver knows an adapter: one effect, one event; streamed tokens come beside it."""

    def __init__(self, runner: Runner, report: Callable[[Event], Awaitable[None]]) -> None:
        self._runner = runner
        self._report = report
        self._runs: dict[bytes, Run] = {}
        self._unwanted: dict[bytes, None] = {}

    async def perform(self, effect: ContainerEffect) -> Event:
        """Run it to its end. Raises: ExecutorError."""
        match effect:
            case RunContainer(spec):
                return await self._run_job(spec)
            case StopContainer(job_id):
                return await self._stop(job_id)
            case ReplaySample():
                return await self._runner.replay(effect)

    async def _run_job(self, spec: RunSpec) -> ContainerExited:
        async def on_tokens(ids: tuple[int, ...]) -> None:
            await self._report(TokensProduced(spec.job_id, ids))

        if spec.job_id in self._unwanted:
            del self._unwanted[spec.job_id]
            return _stopped(spec.job_id)
        run = self._runs[spec.job_id] = Run()
        try:
            with run.scope:
                return await self._runner.run_job(spec, on_tokens)
        finally:
            del self._runs[spec.job_id]
            run.ended.set()
        return _stopped(spec.job_id)

    async def _stop(self, job_id: bytes) -> ContainerExited:
        run = self._runs.get(job_id)
        if run is None:
            # After a restart both are asked for again, in any order. What has ended is never run again.
            while len(self._unwanted) >= UNWANTED_KEPT:
                del self._unwanted[next(iter(self._unwanted))]
            self._unwanted[job_id] = None
        else:
            run.scope.cancel()
            await run.ended.wait()
        return _stopped(job_id)


def _stopped(job_id: bytes) -> ContainerExited:
    return ContainerExited(job_id, failed(Outcome.CANCELLED, "no job wants it any more"), b"")


@dataclass(frozen=True, slots=True)
class Site:
    """What a runner works with on this machine."""

    config: Config
    node: Address
    models: ModelStore
    weights: Weights
    workspaces: Workspaces


FindRunner = Callable[[Site], Awaitable[tuple[Runner | None, str]]]


async def find_docker(site: Site) -> tuple[Runner | None, str]:
    """The Docker Engine, or None and why it cannot be used.

    Raises: ExecutorError if that leaves the node nothing to do.
    """
    config, settings = site.config, site.config.executor
    if set(config.node.roles) == {Role.REQUESTER}:
        return None, ""

    def connect() -> tuple[Engine, str]:
        engine = Engine(site.node, settings.docker_host)
        try:
            return engine, settings.image or images.find(settings.docker_host)
        except ExecutorError:
            engine.close()
            raise

    try:
        engine, image = await trio.to_thread.run_sync(connect)
    except ExecutorError as error:
        if Role.REQUESTER not in config.node.roles:
            raise
        log.warning("this machine runs no containers, so the node only asks for jobs: %s", error)
        return None, str(error)
    station = Station(engine, image, site.models, site.weights.get, round(settings.cpus * 1000))
    turns = Turns(settings.store / "turns", settings.turns)
    adapter = ContainerAdapter(station, site.workspaces, settings.slots, turns, settings.at_once)
    return DockerRunner(engine, image, adapter), ""
