"""Finds the Docker Engine that runs this node's containers, if there is one."""

import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import trio

from executor import images
from executor.adapter import Runner
from executor.cards.card_desk import CardDesk
from executor.cards.card_reader import CardReader
from executor.cards.care import OwnerLimits
from executor.containers.card_access import CardAccess, RuntimeChoice
from executor.containers.engine import Engine
from executor.docker_runner import Capacity, DockerRunner
from executor.models import ModelStore
from executor.runs.context import RunnerContext
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import Workspaces, disk_errors
from node.config import Config
from p2p.holdings import ModelHoldings
from protocol.errors import ExecutorError
from protocol.roles.role import Role
from protocol.wire.ids import Address, Cid

log = logging.getLogger(__name__)


class Weights:
    """The whitening weights of calibrated models: those of this release whose hash stands in Params."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def put(self, manifest: bytes, weights: bytes) -> None:
        """The chain has a calibration that was made with these weights."""
        self._known[manifest] = weights

    def get(self, manifest: bytes) -> bytes | None:
        """None for a model without a calibration."""
        return self._known.get(manifest)


@dataclass(frozen=True, slots=True)
class Site:
    """The context of a runner on this machine."""

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

    reader = CardReader()
    has_cards = bool((await reader.read()).cards)
    choice = RuntimeChoice(settings.runtime, CardAccess(settings.gpu_access))

    def connect() -> tuple[Engine, str]:
        engine = Engine(site.node, settings.docker_host)
        try:
            engine.use(choice, has_cards=has_cards)
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
    holdings = ModelHoldings(settings.store)

    @contextlib.contextmanager
    def hold_model(manifest: bytes) -> Iterator[None]:
        with disk_errors():
            descriptor = holdings.hold(Cid(manifest))
        try:
            yield
        finally:
            os.close(descriptor)

    cpu_millis = round(settings.cpus * 1000)
    desk = CardDesk(OwnerLimits(settings.gpu_reserve, settings.only_idle, settings.gpu_power))
    context = RunnerContext(engine, image, site.models, site.weights.get, cpu_millis, hold_model, desk)
    capacity = Capacity(
        settings.slots,
        HostSlots(settings.store / "slots", settings.host_slots),
        HostSlots(settings.store / "engines", settings.host_engines),
        settings.at_once,
        settings.memory,
        settings.keep_s,
        settings.start_ahead,
    )
    return DockerRunner(context, site.workspaces, capacity, reader), ""
