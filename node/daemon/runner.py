"""What runs containers on this machine, if anything does."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from executor import images
from executor.adapter import ContainerAdapter
from executor.containers import Engine
from executor.models import ModelStore
from executor.station import Station
from executor.workspace import Workspaces
from node.config import Config
from protocol.effects import ContainerEffect, RunContainer
from protocol.errors import ExecutorError
from protocol.events import Event, TokensProduced
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
        """None for a model that nobody has calibrated."""
        return self._known.get(manifest)


class Containers:
    """The executor as the driver knows an adapter: one effect, one event; streamed tokens come beside it."""

    def __init__(self, adapter: ContainerAdapter, report: Callable[[Event], Awaitable[None]]) -> None:
        self._adapter = adapter
        self._report = report

    async def perform(self, effect: ContainerEffect) -> Event:
        """Run it to its end. Raises: ExecutorError."""
        if not isinstance(effect, RunContainer):
            return await self._adapter.replay(effect)

        async def on_tokens(ids: tuple[int, ...]) -> None:
            await self._report(TokensProduced(effect.spec.job_id, ids))

        return await self._adapter.run_job(effect.spec, on_tokens)


@dataclass(frozen=True, slots=True)
class Runner:
    """What runs containers on this machine."""

    engine: Engine
    image: str
    adapter: ContainerAdapter


async def open_runner(
    config: Config, node: Address, models: ModelStore, weights: Weights, workspaces: Workspaces
) -> tuple[Runner | None, str]:
    """What runs containers, or why nothing does. Raises: ExecutorError if that leaves the node nothing to do."""
    settings = config.executor
    if set(config.node.roles) == {"requester"}:
        return None, ""

    def connect() -> tuple[Engine, str]:
        engine = Engine(node, settings.docker_host)
        try:
            return engine, settings.image or images.find(settings.docker_host)
        except ExecutorError:
            engine.close()
            raise

    try:
        engine, image = await trio.to_thread.run_sync(connect)
    except ExecutorError as error:
        if "requester" not in config.node.roles:
            raise
        log.warning("this machine runs no containers, so the node only asks for jobs: %s", error)
        return None, str(error)
    station = Station(engine, image, models, weights.get, round(settings.cpus * 1000))
    return Runner(engine, image, ContainerAdapter(station, workspaces, settings.slots)), ""
