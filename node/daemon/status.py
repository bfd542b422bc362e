"""The state of the node at a glance: one snapshot for the command line, its JSON and the metrics."""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import trio

from chain.rpc.clock import HINT
from chain.tx.gas import GasMoney, gas_money
from executor.cards.card_desk import CardsReport
from executor.scheduler.serving import ModelServed, ServingReport
from node.api import views as api
from node.daemon.card_views import card_troubles, cards_view
from node.daemon.holding import HoldDesk
from node.daemon.parts import AGENT, Parts
from node.daemon.rule_log import FAILING_RATE_BPS
from node.daemon.telemetry import memory_used
from node.daemon.views import Views
from protocol.errors import ChainError
from protocol.events import BlockSeen, Event
from protocol.roles.requester.hiring import why_stopped
from protocol.wire.ids import Address, Cid, TimestampMs

log = logging.getLogger(__name__)
MONEY_LOOK_S = 5.0
SHOW_ASIDE_MS = 7 * 86_400_000
"""How long the snapshot speaks of an event that was set aside."""


class NodeStatus:
    """Answers at once; what only the chain knows is read beside it every few seconds."""

    def __init__(self, parts: Parts, views: Views, holds: HoldDesk) -> None:
        self._parts = parts
        self._holds = holds
        self._machine = parts.machine
        self._views = views
        self._started_ms = parts.clock()
        self._block_ms = 0
        self._read = api.AccountView(self._machine.identity.client or "", 0, (), 0, 0)
        self._closes: dict[Address, int] = {}
        """When the rest of each closing lane may be taken back, in seconds since 1970."""
        self._rewards = 0
        self._gas: tuple[GasMoney, ...] = ()
        self.gateway_trouble: api.Trouble | None = None
        """Why the gateway is closed though it should be open."""

    def observe(self, event: Event) -> None:
        """Take notice of an event."""
        if isinstance(event, BlockSeen):
            self._block_ms = self._parts.clock()

    def snapshot(self, *, ready: bool) -> api.Snapshot:
        """Everything at a glance, from what is known without asking anybody."""
        now = TimestampMs(self._parts.clock())
        views, machine, member = self._views, self._machine, self._machine.member
        is_paused = member.paused or member.holds.stops_runs
        state = "paused" if is_paused else "ready" if member.holds.is_offering else "draining"
        return api.Snapshot(
            agent=AGENT,
            pid=os.getpid(),
            data_dir=str(self._parts.config.node.data_dir),
            state=state if ready else "starting",
            started_ms=self._started_ms,
            now_ms=now,
            me=self._me(),
            chain=self._chain(),
            machine=self._machine_view(),
            work=views.work(now),
            watched=self._watched(),
            serving=self._serving(),
            account=self.account(),
            peers=len(self._parts.peers.connected),
            nodes=views.nodes(now),
            models=tuple(manifest.name for manifest in machine.member.models.values()),
            troubles=tuple(self._troubles()),
            holds=self._holds.look(),
        )

    def _me(self) -> api.SelfView:
        identity, record = self._machine.identity, self._machine.member.record
        return api.view_of(
            api.SelfView,
            identity,
            record,
            client=identity.client or "",
            roles=tuple(sorted(self._machine.settings.roles)),
            registered=record is not None,
            rewards_wei=self._rewards,
        )

    def _chain(self) -> api.ChainView:
        return api.view_of(
            api.ChainView,
            self._machine.rules,
            self._machine.member,
            rpc=self._parts.config.chain.rpc_urls[0],
            connected=not self._parts.chain.watcher.trouble,
            block_ms=self._block_ms,
        )

    def _machine_view(self) -> api.MachineView:
        device = self._machine.member.device
        busy = self._parts.driver.pending.get("RunContainer", 0) + self._parts.driver.pending.get("ReplaySample", 0)
        slots = self._machine.settings.slots if self._parts.runner else 0
        return api.view_of(
            api.MachineView,
            device,
            engine=self._parts.runner is not None,
            slots=slots,
            slots_busy=min(busy, slots),
            gpus=tuple(api.view_of(api.GpuView, gpu, utilisation_percent=gpu.utilisation) for gpu in device.gpus),
            cards=cards_view(self._cards()),
        )

    def _cards(self) -> CardsReport:
        runner = self._parts.runner
        return runner.cards() if runner is not None else CardsReport()

    def _watched(self) -> api.WatchedView:
        metrics = self._parts.metrics
        machine_bytes, daemon_bytes = memory_used()
        return api.view_of(
            api.WatchedView,
            metrics,
            tasks=tuple(api.CountView(outcome.value, count) for outcome, count in metrics.tasks.items()),
            memory_used_bytes=machine_bytes,
            daemon_bytes=daemon_bytes,
            delay_ms=metrics.mean_delay_ms,
            cases=tuple(api.CountView(verdict.name.lower(), count) for verdict, count in metrics.cases.items()),
            alerts=tuple(alert.name for alert in metrics.alerts()),
        )

    def _serving(self) -> api.ServingView:
        runner = self._parts.runner
        report = runner.serving() if runner is not None else ServingReport()
        return api.view_of(
            api.ServingView,
            report,
            tokens_per_s_milli=round(report.tokens_per_s * 1000),
            longest_wait_ms=round(report.longest_wait_ms),
            engine_ends=tuple(api.CountView(why.value, count) for why, count in report.engine_ends),
            model_evictions=self._parts.remover.evictions,
            models=tuple(self._served(each) for each in report.models),
        )

    def _served(self, served: ModelServed) -> api.ModelServedView:
        manifest = self._machine.member.models.get(Cid(served.manifest))
        return api.view_of(
            api.ModelServedView,
            served,
            manifest=served.manifest.hex(),
            # A model that was removed meanwhile has no name here.
            name=manifest.name if manifest else served.manifest.hex()[:12] or "other",
            first_token_ms=round(served.first_token_ms),
            mean_first_token_ms=round(served.first_token_ms / max(served.answers, 1)),
            writing_ms=round(served.writing_ms),
            stream_tokens_per_s_milli=round(served.later_tokens * 1e6 / max(served.writing_ms, 1)),
        )

    def _troubles(self) -> Iterator[api.Trouble]:
        parts = self._parts
        if parts.no_runner:
            words = f"this machine runs no containers, so the node only asks for jobs: {parts.no_runner}"
            yield api.Trouble("preflight", words, "start Docker and build the runner image, then restart")
        if parts.chain.watcher.trouble:
            hint = "vcoin config show: chain.rpc_urls"
            yield api.Trouble("unavailable", f"the chain is not followed: {parts.chain.watcher.trouble}", hint)
        if parts.chain.clock.trouble:
            yield api.Trouble("unavailable", parts.chain.clock.trouble, HINT)
        if parts.machine.member.is_intake_stopped(TimestampMs(parts.clock())):
            hint = "what is under way goes on; what is done by then is brought on chain afterwards"
            yield api.Trouble("unavailable", why_stopped(parts.machine.member), hint)
        yield from (api.Trouble("unavailable", money.trouble, money.hint) for money in self._gas if money.trouble)
        record = parts.machine.member.record
        if record is not None and record.rate_bps == FAILING_RATE_BPS:
            words = "over 20 % of this node's last 50 jobs failed, and half of its jobs are checked"
            yield api.Trouble("unavailable", words, "vcoin job list shows why they failed")
        if self.gateway_trouble is not None:
            yield self.gateway_trouble
        yield from (api.Trouble("unavailable", alert.words, "") for alert in parts.metrics.alerts())
        yield from card_troubles(self._cards())
        aside = [each for each in parts.journal.aside if each.at_ms > parts.clock() - SHOW_ASIDE_MS]
        if aside:
            words = f"{len(aside)} events could not be handled and were set aside; the last: {aside[-1].event}"
            yield api.Trouble("internal", f"{words}, {aside[-1].reason}", "vcoin node journal")

    # --- money ------------------------------------------------------------------------------------------------------
    async def watch_money(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Keep what the snapshot says of money fresh, until cancelled. Started once it was read, or cannot be."""
        while True:
            # The watcher says that the chain does not answer; old figures stay until it does.
            with suppress(ChainError):
                await self.look_at_money()
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(MONEY_LOOK_S)

    async def look_at_money(self) -> None:
        """Read account, wallet and rewards at the newest block. Raises: ChainError."""
        network, identity = self._parts.chain.network, self._machine.identity
        if self._machine.member.record is not None:
            self._rewards = (await network.settlement.book_of(identity.node_id)).rewards
        await self._look_at_gas()
        if identity.client is None:
            return
        lanes = [lane for lane in self._machine.member.money.lanes.values() if lane.client == identity.client]
        closing = [lane for lane in lanes if lane.closing and lane.left]
        self._closes = {lane.node: await network.settlement.lane_closes_at(lane) for lane in closing}
        self._read = api.AccountView(
            client=identity.client,
            free_wei=(await network.settlement.account_of(identity.client)).free,
            lanes=(),
            wallet_wei=await network.token.balance_of(identity.client),
            gas_wei=await network.ethereum.balance(identity.client),
        )

    async def _look_at_gas(self) -> None:
        """Of the keys that have something to send; said once when it is low, and once more when it is out."""
        member, identity = self._machine.member, self._machine.identity
        keys = [identity.operator] if member.record is not None else []
        if identity.signer is not None and (self._read.free_wei or self._read.wallet_wei):
            keys += [identity.signer] if identity.signer not in keys else []
        was = {money.address: money for money in self._gas}
        self._gas = tuple([await gas_money(self._parts.chain.network.ethereum, key) for key in keys])
        for money in self._gas:
            before = was.get(money.address)
            if money.is_out and not (before and before.is_out):
                log.error("%s", money.trouble, extra={"hint": money.hint})
            elif money.trouble and not (before and before.trouble):
                log.warning("%s", money.trouble, extra={"hint": money.hint})

    def account(self) -> api.AccountView:
        """The client's money as it was last read, with its lanes as they are final."""
        client = self._machine.identity.client
        lanes = self._views.lanes(client, self._closes) if client else ()
        return replace(self._read, lanes=lanes)
