"""Runs as the content store sees them: while a container reads a model, no process removes it."""

import logging
import os

import trio

from executor.adapter import ContainerAdapter
from node.daemon.remover import ModelRemover
from p2p.holdings import ModelHoldings
from protocol.effects import ContainerEffect, ReplaySample, RunContainer
from protocol.events import Event
from protocol.wire.ids import Cid

log = logging.getLogger(__name__)


class ModelUse:
    """Performs container effects with an adapter; holds the model of each run, and notes its last use."""

    def __init__(self, adapter: ContainerAdapter, holdings: ModelHoldings, remover: ModelRemover) -> None:
        self._adapter = adapter
        self._holdings = holdings
        self._remover = remover

    async def perform(self, effect: ContainerEffect) -> Event:
        """Perform it to its end. Raises: ExecutorError."""
        if not isinstance(effect, RunContainer | ReplaySample):
            return await self._adapter.perform(effect)
        cid = Cid(effect.spec.manifest)
        descriptor = await self._hold(cid)
        try:
            return await self._adapter.perform(effect)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    async def _hold(self, cid: Cid) -> int | None:
        await self._remover.touch(cid)
        try:
            return await trio.to_thread.run_sync(self._holdings.hold, cid)
        except OSError as error:
            log.warning("a model in use cannot be locked: %s", error, extra={"manifest": cid.hex()})
            return None
