"""Models as runs and fetches see them: while a container reads one, no process removes it.

A model that another node of the machine has removed just before is fetched again. A fetch waits while models are
removed: one that is about to leave the disk would count as here.
"""

import logging
import os
from collections.abc import Awaitable, Callable

import trio

from node.daemon.remover import ModelRemover
from node.performing import Adapter
from p2p.holdings import ModelHoldings
from p2p.store import StoreFull
from protocol.effects import ContainerEffect, FetchModel, ReplaySample, RunContainer
from protocol.errors import ExecutorError, P2PError
from protocol.events import Event, ModelAdded
from protocol.roles.machine import Machine
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import RunSpec
from protocol.wire.ids import Cid, TimestampMs

log = logging.getLogger(__name__)


class ModelFetch:
    """Performs FetchModel with the adapter of peers."""

    def __init__(
        self,
        peers: Adapter,
        machine: Machine,
        remover: ModelRemover,
        clock_ms: Callable[[], int],
        *,
        require_format: Callable[[ModelManifest], None],
        look_for_room: Callable[[], Awaitable[None]],
    ) -> None:
        self._peers = peers
        self._machine = machine
        self._remover = remover
        self._clock_ms = clock_ms
        self._require_format = require_format
        self._look_for_room = look_for_room

    async def perform(self, effect: FetchModel) -> Event:
        """Have the model in the store. Raises: P2PError, also for a model that is here and cannot be served."""
        await self._remover.pause()
        try:
            fetched = await self._peers.perform(effect)
        except StoreFull:
            # Nothing is offered that needs it until there is room.
            await self._look_for_room()
            raise
        if isinstance(fetched, ModelAdded):
            try:
                await trio.to_thread.run_sync(self._require_format, fetched.manifest)
            except ExecutorError as error:
                raise P2PError(str(error)) from error
        return fetched

    async def again(self, spec: RunSpec) -> None:
        """Have the model of a run that finds it gone. Raises: ExecutorError."""
        cid, member = Cid(spec.manifest), self._machine.member
        gone = f"model {cid.hex()[:12]} has left the store"
        if not member.may_fetch(cid, spec.class_id, spec.kind):
            raise ExecutorError(gone)
        log.warning("a model that a run needs has left the store: it is fetched", extra={"manifest": cid.hex()})
        try:
            await self.perform(FetchModel(cid, member.holders(cid, TimestampMs(self._clock_ms()))))
        except P2PError as error:
            raise ExecutorError(f"{gone}: {error}", transient=error.transient) from error


class ModelUse:
    """Performs container effects with an adapter; holds the model of each run, and notes its last use."""

    def __init__(self, adapter: Adapter, holdings: ModelHoldings, remover: ModelRemover, fetch: ModelFetch) -> None:
        self._adapter = adapter
        self._holdings = holdings
        self._remover = remover
        self._fetch = fetch

    async def perform(self, effect: ContainerEffect) -> Event:
        """Perform it to its end. Raises: ExecutorError."""
        if not isinstance(effect, RunContainer | ReplaySample):
            return await self._adapter.perform(effect)
        cid = Cid(effect.spec.manifest)
        descriptor = await self._hold(cid)
        try:
            if not await trio.to_thread.run_sync(self._holdings.is_whole, cid):
                await self._fetch.again(effect.spec)
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
