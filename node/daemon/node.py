"""A node while it runs: its parts side by side, and what this machine has to tell its machine."""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import trio

from chain.calibration.files import packaged_for
from chain.tx.pending import Recorded
from executor.adapter import Runner
from executor.models import ModelUnusable
from node.api.scrape import serve_metrics
from node.api.server import serve
from node.daemon.backend import NodeBackend
from node.daemon.gateway_care import GatewayCare
from node.daemon.owner_log import OwnerLog
from node.daemon.parts import Parts
from node.daemon.retention import Retention
from node.daemon.rule_log import RuleLog
from node.wallet.home import Home
from protocol.errors import AdapterError, ChainError, ConfigError, ExecutorError
from protocol.events import BlockSeen, CalibrationSeen, DeviceReported, Event, HpkeKeyRotated, ModelAdded, ModelRemoved
from protocol.roles.member import NO_DEVICE
from protocol.roles.role import Role
from protocol.stages.blob import ModelManifest
from protocol.wire.ids import Cid

log = logging.getLogger(__name__)

MEASURE_S = 10.0
ROTATION_LOOK_S = 600.0
SWEEP_S = 3_600.0


class Node:
    """Runs opened parts. Made once."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.backend = NodeBackend(parts)
        self._unusable: set[Cid] = set()

    @property
    def roles(self) -> frozenset[Role]:
        """The work of the node, which may be less than was configured."""
        return self.parts.machine.settings.roles

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Started, with the Node, once the chain is known and peers and user are answered.

        Raises: ConfigError, ChainError and what our own bugs raise.
        """
        parts = self.parts
        await parts.driver.fold()
        for manifest, class_id in list(parts.machine.member.calibrations):
            await self._learn_weights(manifest, class_id)
        if parts.runner is not None:
            await parts.runner.recover()
        await parts.chain.resume([Recorded(sent.raw, sent.effect) for sent in await parts.journal.transactions()])
        events = parts.driver.subscribe()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count, parts.driver.subscribe())
            nursery.start_soon(self.backend.followed.follow_events, events)
            await nursery.start(serve, self.backend, parts.config.api.socket)
            if parts.config.metrics.listen:
                await nursery.start(serve_metrics, self.backend, parts.config.metrics.listen)
            if parts.config.gateway.listen:
                await nursery.start(GatewayCare(self.backend, parts.config, parts.clock).serve)
            if parts.runner is not None:
                nursery.start_soon(parts.runner.serve)
            await nursery.start(parts.peers.run)
            await nursery.start(parts.driver.run)
            await self._tell_machine()
            await nursery.start(parts.chain.run, self._report_chain)
            nursery.start_soon(parts.chain.look_after)
            nursery.start_soon(parts.chain.give_signs, parts.machine.identity.node_id)
            if parts.runner is not None:
                nursery.start_soon(_every, MEASURE_S, self._report_device)
                nursery.start_soon(self._watch_cards, parts.runner)
            nursery.start_soon(_every, MEASURE_S, self._report_new_models)
            nursery.start_soon(_every, MEASURE_S, self._report_hours)
            nursery.start_soon(_every, ROTATION_LOOK_S, self._report_key)
            nursery.start_soon(self._sweep)
            await nursery.start(self.backend.status.watch_money)
            await parts.driver.settled()
            self.backend.ready = True
            task_status.started(self)

    # --- the chain --------------------------------------------------------------------------------------------------
    async def _report_chain(self, event: Event) -> None:
        driver, journal = self.parts.driver, self.parts.journal
        if isinstance(event, CalibrationSeen):
            await self._learn_weights(Cid(event.manifest), event.class_id)
        await driver.report(event)
        if isinstance(event, BlockSeen):
            # Everything up to its `final` was reported before it: once that is kept, it need not be read again.
            await driver.settled()
            if await journal.cursor() != event.final:
                await journal.move_cursor(event.final, self.parts.chain.watcher.cursor_hash)

    async def _learn_weights(self, manifest: Cid, class_id: int) -> None:
        """The weights of this release count only where the chain has their hash: all must whiten alike."""
        try:
            packaged = packaged_for(manifest)
            row = await self.parts.chain.network.params.row(manifest, class_id)
        except (ConfigError, ChainError) as error:
            log.warning("calibration not used: %s", error, extra={"manifest": manifest.hex()})
            return
        if packaged is not None and row is not None and row.act_weights_hash == packaged.act_weights_hash:
            self.parts.weights.put(manifest, packaged.act_weights)

    # --- this machine -----------------------------------------------------------------------------------------------
    async def _tell_machine(self) -> None:
        """The models that are already here when the node comes up."""
        await self._report_hours()
        await self._report_key()
        await self._report_models()
        await self.parts.remover.show_needs()
        if self.parts.runner is not None:
            await self._report_device()

    async def _report_hours(self) -> None:
        await self.backend.holds.look_at_hours(datetime.fromtimestamp)

    async def _report_models(self) -> None:
        """What has changed in the store: another node of the machine may have added or removed models."""
        parts = self.parts
        async with parts.remover.turn:
            await parts.known.look()
            known = frozenset(parts.machine.member.models)
            found = {each.cid: each for each in await trio.to_thread.run_sync(parts.models.manifests)}
            for manifest in found.values():
                if manifest.cid not in known and await self._is_usable(manifest):
                    await parts.driver.report(ModelAdded(manifest))
            for cid in known - found.keys():
                await parts.driver.report(ModelRemoved(cid))

    async def _is_usable(self, manifest: ModelManifest) -> bool:
        """Whether a model can be served; its files never change, so one that cannot is told once."""
        if manifest.cid in self._unusable:
            return False
        try:
            await trio.to_thread.run_sync(self.parts.models.require_format, manifest)
        except ModelUnusable as error:
            log.warning("a model in the store is not served: %s", error)
            self._unusable.add(manifest.cid)
            return False
        return True

    async def _report_new_models(self) -> None:
        try:
            await self._report_models()
            await self.parts.remover.show_needs()
            await self.parts.room.look()
        except (AdapterError, OSError) as error:
            log.error("the content store cannot be read: %s", error)

    async def _report_device(self) -> None:
        assert self.parts.runner is not None
        try:
            reported = await self.parts.runner.report()
        except ExecutorError as error:
            # A machine that cannot be measured takes no jobs.
            log.error("this machine cannot be measured: %s", error)
            reported = DeviceReported(NO_DEVICE)
        await self.parts.driver.report(reported)

    async def _watch_cards(self, runner: Runner) -> None:
        """A card that is hot, lost or in use is told to the network at once, and so is its recovery."""
        while True:
            await runner.card_news()
            await self._report_device()

    async def _sweep(self) -> None:
        parts = self.parts
        retention = Retention(parts.machine, parts.sealing, Home(parts.config.node.data_dir).work)
        while True:
            await retention.sweep(parts.clock())
            await parts.remover.enforce()
            await trio.sleep(SWEEP_S)

    async def _report_key(self) -> None:
        parts = self.parts
        try:
            key = await parts.sealing.public_key(parts.clock())
        except AdapterError as error:
            log.error("the encryption key cannot be renewed: %s", error)
            return
        if key != parts.machine.member.hpke_key:
            await parts.driver.report(HpkeKeyRotated(key))

    async def _count(self, events: trio.MemoryReceiveChannel[Event]) -> None:
        told = OwnerLog(self.parts.machine)
        rules = RuleLog(self.parts.machine, self.parts.metrics)
        async for event in events:
            self.parts.metrics.observe(event)
            rules.observe(event)
            self.backend.status.observe(event)
            told.observe(event)


async def _every(seconds: float, report: Callable[[], Awaitable[None]]) -> None:
    while True:
        await trio.sleep(seconds)
        await report()
