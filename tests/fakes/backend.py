"""A daemon in memory behind the real control API: jobs are answered by the test, money is numbers."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from node.api import views as views
from node.api.admission import Market, admit, find_model
from node.api.backend import HoldStep, JobAsk, LaneStep, Measure, ModelStep
from node.api.faults import Fault, not_found
from node.api.feed import Feed
from node.api.prefix import complete
from node.daemon.holding import STEPS
from protocol.errors import Reverted
from protocol.judging.reading import units_of
from protocol.roles.holds import HOLD_RULES
from protocol.stages.model_shape import ModelShape

VCN = 10**18
OWNER = "0x" + "11" * 20
CLIENT = "0x" + "22" * 20
PROVIDER = "0x" + "33" * 20
VERIFIER = "0x" + "44" * 20
STOPPED_WEI = VCN // 1_000
CLOSES_AT = 1_767_323_045
HELD_SINCE_MS = 1_767_323_045_000

SMOL = views.ModelView("ab" * 32, "SmolLM2-135M-Instruct", 269_000_000, 1_200_000_000, 8_192, "bf16", (1, 2), (1, 2))
ME = views.SelfView(
    node_id="0x" + "aa" * 20,
    peer_id="16Uiu2HAmExample",
    client=CLIENT,
    owner=OWNER,
    roles=("requester",),
    addresses=("/ip4/127.0.0.1/tcp/4701/p2p/16Uiu2HAmExample",),
    registered=True,
    active=True,
    stake_wei=5_000 * VCN,
    unbonding_wei=0,
    rewards_wei=3 * VCN // 2,
    score=4_500,
    rate_bps=10_000,
)
CHAIN = views.ChainView(31_337, "local", "http://127.0.0.1:8545", True, 120, 118, 1_000_000, "0xsettle", "0xstake")
MACHINE = views.MachineView(True, (1, 2), 4 * 2**30, 1, 0, ())

WATCHED = views.WatchedView(
    tasks=(views.CountView("ok", 3), views.CountView("job", 1)),
    task_ms=4_500,
    mean_task_ms=1_500,
    failure_percent=25,
    temperature_c=0,
    memory_used_bytes=3 * 2**30,
    daemon_bytes=150 * 2**20,
    delay_ms=12,
    cases=(views.CountView("pass", 2), views.CountView("review", 0), views.CountView("severe", 0)),
    pass_percent=100,
    alerts=(),
)
SERVED = views.ModelServedView(SMOL.manifest, SMOL.name, 4, 100, 2_000, 500, 96, 4_800, 20_000)
SERVING = views.ServingView(
    tokens_per_s_milli=13_400,
    streams=2,
    jobs_waiting=3,
    checks_waiting=1,
    longest_wait_ms=2_500,
    engines=1,
    engine_starts=4,
    engine_ends=(views.CountView("idle", 2), views.CountView("failed", 1)),
    model_evictions=5,
    models=(SERVED,),
)


def peer(node_id: str = PROVIDER, **changes: object) -> views.PeerView:
    """A provider that is there: 5,000 VCN of stake, 10 VCN for 1,000 tokens."""
    view = views.PeerView(
        node_id=node_id,
        peer_id="16Uiu2HAm" + node_id[-4:],
        owner="0x" + "55" * 20,
        active=True,
        online=True,
        heard_ms=999_000,
        class_ids=(1, 2),
        models=(SMOL.name,),
        price_wei=10 * VCN,
        stake_wei=5_000 * VCN,
        score=4_500,
        slots=1,
        queue=0,
        paused=False,
        draining=False,
        delay_ms=12,
        agent="vcoin/0.1.0",
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def job_of(ask: JobAsk, job_id: str) -> views.JobView:
    """A job as it looks right after it was asked."""
    return views.JobView(
        id=job_id,
        side="requester",
        state="requested",
        model=SMOL.name,
        manifest=SMOL.manifest,
        node="",
        job_id="",
        batch_id="",
        attempt=0,
        kind=ask.kind,
        max_new_tokens=ask.max_new_tokens,
        temperature_milli=ask.temperature_milli,
        checked=bool(ask.checked),
        scores_bps=(),
        tokens=0,
        finish="",
        text="",
        max_price_wei=ask.max_price_wei,
        price_wei=0,
        most_wei=0,
        charge_wei=0,
        fee_wei=0,
        bonus_wei=0,
        cost_wei=0,
        asked_ms=1_000_000,
        actual_ms=0,
        steps=(views.StepView("requested", 1_000_000, 0), views.StepView("offered", 0, 1_000_450)),
        failure=None,
    )


@dataclass
class FakeShelf:
    """Implements node.api.backend.ModelCare: a model in use is not removed, and one that is pulled comes in halves."""

    backend: FakeBackend

    async def models(self) -> tuple[views.ModelView, ...]:
        return tuple(self.backend.models_held)

    async def model(self, name: str) -> views.ModelView:
        found = find_model(name, tuple(self.backend.models_held))
        return replace(found, files=(views.ModelFileView("tokenizer.json", "cd" * 32, 2_104_556),))

    async def shape(self, name: str) -> ModelShape:
        found = find_model(name, tuple(self.backend.models_held))
        return ModelShape(
            *(found.dtype, found.size_bytes // 2, found.size_bytes, 576, 1_536, 49_152, found.context, 384, 1_536),
            *((0,) * 30, True),
        )

    async def take_step(self, step: ModelStep, name: str) -> views.ModelView:
        found = find_model(name, tuple(self.backend.models_held))
        if step is ModelStep.REMOVE and (found.in_use or found.pinned):
            raise Fault("in_use", f"{found.name} stays", "try again when they have ended: vcoin job list")
        self.backend.models_held.remove(found)
        if step is not ModelStep.REMOVE:
            found = replace(found, pinned=step is ModelStep.PIN)
            self.backend.models_held.append(found)
        return found

    @asynccontextmanager
    async def pull(self, name: str) -> AsyncIterator[AsyncIterator[views.PullView]]:
        model = find_model(name, tuple(self.backend.pullable))

        async def updates() -> AsyncIterator[views.PullView]:
            half, whole = model.size_bytes // 2, model.size_bytes
            first = views.PullView(model.manifest, model.name, half, whole, 10_000_000, 14, is_done=False)
            yield first
            if self.backend.pull_fault is not None:
                raise self.backend.pull_fault
            yield replace(first, done_bytes=whole, bytes_per_s=0, left_s=0, is_done=True)

        yield updates()


@dataclass
class FakeHolds:
    """Implements node.api.backend.HoldCare: work ends one job after the other, as fast as its reader looks."""

    found: views.HoldsView = field(default_factory=lambda: views.HoldsView((), 0, 0, 0))

    async def view(self) -> views.HoldsView:
        return self.found

    async def take_step(self, step: HoldStep) -> views.HoldsView:
        begins, ends = STEPS[step]
        held = {each.hold: each for each in self.found.holds if each.hold not in ends}
        for hold in begins:
            held.setdefault(hold, views.HoldView(hold, HOLD_RULES[hold].words, HELD_SINCE_MS))
        self.found = replace(self.found, holds=tuple(held.values()))
        return self.found

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[AsyncIterator[views.HoldsView]]:
        async def changes() -> AsyncIterator[views.HoldsView]:
            yield self.found
            while self.found.jobs_left:
                self.found = replace(self.found, jobs_left=self.found.jobs_left - 1)
                yield self.found

        yield changes()


@dataclass
class FakeBackend:
    """Implements node.api.backend.Backend."""

    models_held: list[views.ModelView] = field(default_factory=lambda: [SMOL])
    pullable: list[views.ModelView] = field(default_factory=lambda: [SMOL])
    pull_fault: Fault | None = None
    nodes: list[views.PeerView] = field(default_factory=lambda: [peer(), peer(VERIFIER)])
    free_wei: int = 1_000 * VCN
    wallet_wei: int = 500 * VCN
    state: str = "ready"
    machine: views.MachineView = MACHINE
    watched: views.WatchedView = WATCHED
    serving: views.ServingView = SERVING
    troubles: tuple[views.Trouble, ...] = ()
    held: dict[str, views.JobView] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    cases: dict[str, views.CaseView] = field(default_factory=dict)
    proofs: dict[str, dict[str, Any]] = field(default_factory=dict)
    leaves: dict[str, views.LeavesView] = field(default_factory=dict)
    lanes: dict[str, views.LaneView] = field(default_factory=dict)
    penalised: int = 0
    changes: tuple[views.ChangeView, ...] = ()
    asked: list[JobAsk] = field(default_factory=list)
    feed: Feed = field(default_factory=Feed)
    holds: FakeHolds = field(default_factory=FakeHolds)

    async def snapshot(self) -> views.Snapshot:
        return views.Snapshot(
            agent="vcoin/0.1.0",
            pid=4_242,
            data_dir="/data",
            state=self.state,
            started_ms=940_000,
            now_ms=1_000_000,
            me=ME,
            chain=CHAIN,
            machine=self.machine,
            work=views.WorkView(3, 0, 1, 0, 0, 0),
            watched=self.watched,
            serving=self.serving,
            account=await self.account(),
            peers=2,
            nodes=tuple(self.nodes),
            models=tuple(model.name for model in self.models_held),
            troubles=self.troubles,
            holds=self.holds.found,
        )

    async def ask_job(self, ask: JobAsk) -> str:
        model = find_model(ask.model, tuple(self.models_held))
        tokens = sum(len(text.split()) for text in (*(message.content for message in ask.messages), ask.prompt))
        admit(ask, model, tokens, Market(tuple(self.nodes), await self.account(), 10 * VCN, OWNER))
        self.asked.append(ask)
        job_id = hashlib.sha256(f"{len(self.asked)}".encode()).hexdigest()
        self.held[job_id] = job_of(ask, job_id)
        return job_id

    async def measure(self, ask: JobAsk) -> Measure:
        find_model(ask.model, tuple(self.models_held))
        written = (*(message.content for message in ask.messages), *ask.texts, ask.prompt)
        words = sum(len(text.split()) for text in written)
        return Measure(words, ask.max_new_tokens or units_of(len(text.split()) for text in ask.texts))

    def change(self, job_id: str, **changes: object) -> None:
        """The job goes on: a state update for its followers."""
        self.held[job_id] = replace(self.held[job_id], **changes)  # type: ignore[arg-type]
        self.feed.publish(job_id, views.JobUpdate("state", job=self.held[job_id]))

    def say(self, job_id: str, text: str) -> None:
        """Tokens arrive."""
        job = self.held[job_id]
        self.held[job_id] = replace(job, text=job.text + text)
        self.feed.publish(job_id, views.JobUpdate("text", text=text, attempt=job.attempt))

    async def jobs(self) -> tuple[views.JobView, ...]:
        return tuple(reversed(self.held.values()))

    async def job(self, prefix: str) -> views.JobView:
        return self.held[complete(prefix, self.held, "job")]

    async def stop_job(self, prefix: str) -> views.JobView:
        """A job that a node has written tokens of ends with these; any other ends for nothing."""
        job = self.held[complete(prefix, self.held, "job")]
        if job.side != "requester":
            raise Fault("bad_request", "only its client can stop it")
        self.stopped.append(job.id)
        if job.state == "running" and job.text:
            self.change(job.id, state="delivered", finish="stop_order", tokens=1, cost_wei=STOPPED_WEI)
        elif not job.ended and job.state not in views.ANSWERED:
            trouble = views.Trouble("job_failed", "stopped before its first token: it costs nothing", "")
            self.change(job.id, state="failed", failure=trouble)
        return self.held[job.id]

    def follow(self, prefix: str) -> AbstractAsyncContextManager[AsyncIterator[views.JobUpdate]]:
        job_id = complete(prefix, self.held, "job")
        return self.feed.follow(job_id, lambda: self.held[job_id], as_it_is)

    async def job_proof(self, prefix: str, *, with_content: bool) -> dict[str, Any]:
        proof = self.proofs[complete(prefix, self.proofs, "job")]
        return proof if with_content else {name: part for name, part in proof.items() if name != "content"}

    async def case(self, prefix: str) -> views.CaseView:
        return self.cases[complete(prefix, self.cases, "case")]

    async def case_leaves(self, prefix: str) -> views.LeavesView:
        return self.leaves[complete(prefix, self.leaves, "case")]

    @property
    def shelf(self) -> FakeShelf:
        return FakeShelf(self)

    async def add_model(self, source: str, base: str = "") -> views.ModelView:
        if base:
            found = find_model(base, tuple(self.models_held))
            name = source.rsplit("/", 1)[-1]
            made = replace(
                found, name=f"{found.name}+{name}", manifest="ef" * 32, base=found.manifest, adapter="1a" * 32
            )
            self.models_held.append(made)
            return made
        if source != "smollm2":
            raise Fault("bad_model", f"{source} holds no config.json", "give a Hugging Face model directory")
        return SMOL

    async def account(self) -> views.AccountView:
        return views.AccountView(CLIENT, self.free_wei, tuple(self.lanes.values()), self.wallet_wei, 10 * VCN)

    async def deposit(self, amount_wei: int, *, dry_run: bool) -> views.PlanView:
        if amount_wei > self.wallet_wei:
            raise Reverted(f"ERC20InsufficientBalance({CLIENT}, {self.wallet_wei}, {amount_wei})")
        return self._move("deposit", amount_wei, dry_run)

    async def withdraw(self, amount_wei: int, *, dry_run: bool) -> views.PlanView:
        if amount_wei > self.free_wei:
            raise Reverted(f"NotEnoughFree({amount_wei}, {self.free_wei})")
        return self._move("withdraw", -amount_wei, dry_run)

    async def move_lane(self, step: LaneStep, prefix: str, amount_wei: int, *, dry_run: bool) -> views.PlanView:
        node = complete(prefix, [peer.node_id for peer in self.nodes], "node")
        lane = self.lanes.get(node, views.LaneView(node, 0, 0, 0, closing=False))
        if step is LaneStep.OPEN and amount_wei > self.free_wei:
            raise Reverted(f"NotEnoughFree({amount_wei}, {self.free_wei})")
        if step is LaneStep.CLOSE and (lane.closing or node not in self.lanes):
            raise Reverted("LaneNotOpen()")
        if step is LaneStep.RECLAIM and not lane.closing:
            raise Reverted("LaneNotClosing()")
        change = {LaneStep.OPEN: amount_wei, LaneStep.CLOSE: 0, LaneStep.RECLAIM: -lane.left_wei}[step]
        if not dry_run:
            closing = step is not LaneStep.OPEN
            closes_at_s = CLOSES_AT if step is LaneStep.CLOSE else 0
            self.lanes[node] = replace(lane, left_wei=lane.left_wei + change, closing=closing, closes_at_s=closes_at_s)
            self.free_wei -= change
        call = views.CallView("Settlement", CHAIN.settlement, f"{step}Lane", (("node", node),), 50_000)
        held = views.BalanceView("lane", "VCN", lane.left_wei, lane.left_wei + change)
        return views.PlanView(CLIENT, (call,), 50_000 * 10**9, (held,), () if dry_run else ("0x" + "cd" * 32,))

    def _move(self, function: str, into_account: int, dry_run: bool) -> views.PlanView:
        free, wallet = self.free_wei, self.wallet_wei
        if not dry_run:
            self.free_wei, self.wallet_wei = free + into_account, wallet - into_account
        return views.PlanView(
            sender=CLIENT,
            calls=(
                views.CallView("Settlement", CHAIN.settlement, function, (("amount", f"{abs(into_account)}"),), 61_000),
            ),
            fee_wei=61_000 * 10**9,
            balances=(
                views.BalanceView("account", "VCN", free, free + into_account),
                views.BalanceView("wallet", "VCN", wallet, wallet - into_account),
            ),
            transactions=() if dry_run else ("0x" + "cd" * 32,),
        )

    async def score(self, prefix: str) -> views.ScoreView:
        node_id = ME.node_id if prefix == "me" else complete(prefix, [node.node_id for node in self.nodes], "node")
        if node_id == VERIFIER:
            raise not_found("node", prefix)
        return views.ScoreView(
            node_id=node_id,
            score=4_500,
            success=2_500,
            speed=1_000,
            uptime=500,
            stake=500,
            penalty=0,
            successes=0,
            total=0,
            response_ms=0,
            check_in_days=2,
            days_active=1,
            stake_wei=5_000 * VCN,
            recommended_stake_wei=10_000 * VCN,
            rate_bps=10_000,
            samples_left=20,
            recent_failures=0,
            penalised=self.penalised,
            healed=0,
            changes=self.changes,
            left_out=0,
        )


async def as_it_is(view: views.JobView) -> views.JobView:
    """All of a fake's text is in its views."""
    return view
