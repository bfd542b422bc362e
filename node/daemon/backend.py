"""What the control API asks of the node: answers from its machine, questions to its chain, jobs for its driver."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from chain.rpc.clock import HINT
from chain.tx.wallet import Key
from executor.models import ModelUnusable
from node.api import views as api
from node.api.admission import Market, admit, find_model
from node.api.asks import default_timeout_ms
from node.api.backend import JobAsk, LaneStep
from node.api.faults import Fault, not_found
from node.api.feed import Feed
from node.api.prefix import complete
from node.daemon.answers import Answers
from node.daemon.leaves import Leaves
from node.daemon.parts import Parts
from node.daemon.proof import JobProofBuilder
from node.daemon.score import explain
from node.daemon.status import NodeStatus
from node.daemon.views import Views
from node.wallet import plans
from protocol.errors import AdapterError
from protocol.events import Event, FrameOpened, JobAsked, ModelAdded
from protocol.job import Stage
from protocol.judging.reading import MAX_NUMBERS, units_of
from protocol.params import (
    DEADLINE_GRACE_MS,
    MAX_INLINE_BYTES,
    MAX_RETRIES,
    MAX_UNITS,
    RETRY_AFTER_DEADLINE_S,
    TOKENS_PER_PRICE,
)
from protocol.roles.requester.hiring import why_stopped
from protocol.roles.role import Role
from protocol.stages.blob import ModelManifest
from protocol.stages.offer import FETCH_MS
from protocol.stages.request import GENERATE, KINDS
from protocol.wire import document
from protocol.wire.ids import ZERO_ADDRESS, BatchId, Cid, TimestampMs, checksum

SIGNED_WITHIN_S = 30.0
"""How long the signature of a request may take before the user is told to look later."""


class NodeBackend:
    """Implements node.api.backend.Backend."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._machine = parts.machine
        self._views = Views(parts.machine)
        self._answers = Answers(parts.config.executor.store / "models", parts.config.node.data_dir / "results")
        self._feed = Feed()
        self._shown: dict[str, api.JobView] = {}
        self._changed = trio.Event()
        self._status = NodeStatus(parts, self._views)
        self.ready = False
        """Set once the chain is known and everything runs."""

    async def snapshot(self) -> api.Snapshot:
        """See Backend."""
        return self._status.snapshot(ready=self.ready)

    # --- jobs -------------------------------------------------------------------------------------------------------
    async def ask_job(self, ask: JobAsk) -> str:
        """See Backend."""
        client = self._machine.identity.client
        if ask.checked is None:
            ask = replace(ask, checked=self._parts.config.node.checked)
        if not self.ready:
            raise Fault("not_ready", "the node is still starting", "try again in a moment")
        if client is None or Role.REQUESTER not in self._machine.settings.roles:
            raise Fault("preflight", "this node asks for no jobs", "node.roles needs requester, and a client key")
        if trouble := self._parts.chain.clock.trouble:
            raise Fault("preflight", trouble, HINT)
        if self._machine.member.is_intake_stopped(self._now()):
            hint = "ask again then: vcoin treasury show says more of it"
            raise Fault("unavailable", why_stopped(self._machine.member), hint)
        manifest = self._manifest(find_model(ask.model, self._views.models()).manifest)
        now, member = self._now(), self._machine.member
        nodes = self._views.nodes(now)
        record = member.record
        market = Market(
            nodes,
            # What is final, for that is what its lanes can be opened from.
            replace(self._status.account(), free_wei=member.accounts.get(client, 0)),
            self._machine.rules.min_deposit,
            # Without a node of its own the client has no owner whose nodes it must not hire.
            record.owner if record else ZERO_ADDRESS,
        )
        ask, count = await self._measured(ask, manifest)
        classes = admit(ask, self._views.model(manifest), count, market)
        timeout_ms = ask.timeout_ms or default_timeout_ms(ask.max_new_tokens)
        stored = await self._parts.sealing.store_input(_input_of(ask))
        asked = JobAsked(
            ask_id=secrets.token_bytes(16),
            manifest=manifest.cid,
            kind=KINDS.index(ask.kind),
            max_new_tokens=ask.max_new_tokens,
            temperature=ask.temperature_milli,
            input_cid=stored.input_cid,
            input_bytes=len(stored.sealed),
            content_key_hash=stored.content_key_hash,
            max_price=ask.max_price_wei or _dearest(nodes, ask.max_new_tokens),
            max_memory=manifest.needs_bytes,
            classes=classes,
            timeout_ms=timeout_ms,
            deadline=now // 1000 + _seconds_for(timeout_ms),
            min_reputation=ask.min_reputation,
            with_bonus=ask.with_bonus,
            uncalibrated=ask.uncalibrated,
            checked=bool(ask.checked),
            nonce=secrets.randbits(63),
            sealed_input=stored.sealed if len(stored.sealed) <= MAX_INLINE_BYTES else b"",
        )
        await self._parts.driver.deliver(asked)
        return await self._named(asked.ask_id)

    async def _measured(self, ask: JobAsk, manifest: ModelManifest) -> tuple[JobAsk, int]:
        """What is asked, with what it costs where it did not say, and the tokens that the model must hold at once.

        Raises: Fault prompt_too_long where more is to be read than was allowed for.
        """
        if ask.kind == KINDS[GENERATE]:
            return ask, await self._answers.count_prompt(manifest, [message.content for message in ask.messages])
        counts = await self._answers.count_reading(manifest, ask.texts, ask.labels)
        units, most = units_of(counts), ask.max_new_tokens or MAX_UNITS
        if units > most:
            raise Fault("prompt_too_long", f"the texts are up to {units} units of 32 tokens, {most} may be asked for")
        width = len(ask.labels) or manifest.hidden
        if len(ask.texts) * width > MAX_NUMBERS:
            raise Fault("too_large", f"{len(ask.texts)} texts are too many: {MAX_NUMBERS // width} fit one job")
        return replace(ask, max_new_tokens=ask.max_new_tokens or units), max(counts)

    async def _named(self, ask_id: bytes) -> str:
        """The id of a job once its request is signed."""
        with trio.move_on_after(SIGNED_WITHIN_S):
            while True:
                view = self._views.requested(ask_id)
                if view is not None and view.stage is Stage.UNSERVED:
                    raise Fault("job_failed", view.reason)
                if view is not None and view.request_id is not None:
                    return view.request_id.hex()
                await self._changed.wait()
        raise Fault("busy", "the request is not signed yet", "vcoin job list shows it once it is")

    async def jobs(self) -> tuple[api.JobView, ...]:
        """See Backend."""
        return tuple(self._views.jobs())

    async def job(self, prefix: str) -> api.JobView:
        """See Backend."""
        return await self._with_text(self._find_job(prefix))

    def follow(self, prefix: str) -> AbstractAsyncContextManager[AsyncIterator[api.JobUpdate]]:
        """See Backend."""
        job_id = self._find_job(prefix).id
        return self._feed.follow(job_id, lambda: self._look(job_id), self._answered)

    def _look(self, job_id: str) -> api.JobView:
        """A job with the text that is known without waiting for the disk."""
        view = next(job for job in self._views.jobs() if job.id == job_id)
        self._shown[job_id] = view
        if view.side != "requester" or not view.job_id:
            return view
        return replace(view, text=self._answers.streamed(bytes.fromhex(view.job_id)))

    async def _answered(self, view: api.JobView) -> api.JobView:
        """With the text of its result where there is one: frames may be lost, or be of a run that was begun again."""
        return await self._with_text(view) if view.ended or view.state in api.ANSWERED else view

    def _find_job(self, prefix: str) -> api.JobView:
        jobs = {job.id: job for job in self._views.jobs()}
        return jobs[complete(prefix, jobs, "job")]

    async def _with_text(self, view: api.JobView) -> api.JobView:
        if view.side != "requester" or not view.job_id:
            return view
        manifest = self._machine.member.models.get(Cid(bytes.fromhex(view.manifest)))
        return replace(view, text=await self._answers.text(manifest, bytes.fromhex(view.job_id)))

    async def watch_money(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Keep what the snapshot says of money fresh, until cancelled. Started once it was read."""
        await self._status.watch_money(task_status)

    # --- what the driver tells --------------------------------------------------------------------------------------
    async def follow_events(self, events: trio.MemoryReceiveChannel[Event]) -> None:
        """Keep texts and followers up to date, until cancelled."""
        async for event in events:
            self._changed.set()
            self._changed = trio.Event()
            self._status.observe(event)
            if isinstance(event, FrameOpened):
                await self._frame(event)
            await self._publish_changes()

    async def _frame(self, event: FrameOpened) -> None:
        view = next((view for view in self._machine.requester.jobs if view.job_id == event.job_id), None)
        manifest = self._machine.member.models.get(Cid(view.manifest)) if view else None
        if view is None or manifest is None:
            return
        try:
            text = await self._answers.add_frame(manifest, event.job_id, event.seq, event.ids)
        except AdapterError:
            return
        if text and view.request_id:
            self._feed.publish(view.request_id.hex(), api.JobUpdate("text", text=text, attempt=view.attempt))

    async def _publish_changes(self) -> None:
        followed = self._feed.followed
        self._shown = {job_id: view for job_id, view in self._shown.items() if job_id in followed}
        if not followed:
            return
        for view in self._views.jobs():
            # Tokens come as text; only a step of the job is news.
            if view.id in followed and _step_of(view) != _step_of(self._shown.get(view.id)):
                self._shown[view.id] = view
                self._feed.publish(view.id, api.JobUpdate("state", job=await self._with_text(view)))

    async def job_proof(self, prefix: str, *, with_content: bool) -> dict[str, Any]:
        """See Backend."""
        proof = await JobProofBuilder(self._parts).prove(self._find_job(prefix), with_content=with_content)
        held: dict[str, Any] = document.plain(proof)
        return held

    # --- cases, models, scores --------------------------------------------------------------------------------------
    async def case(self, prefix: str) -> api.CaseView:
        """See Backend."""
        batches = self._machine.docket.batches
        jobs = {job.id: job.batch_id for job in self._views.jobs() if job.batch_id}
        found = complete(prefix, [*(name.hex() for name in batches), *jobs], "case")
        batch_id = BatchId(bytes.fromhex(jobs.get(found, found)))
        batch = batches.get(batch_id)
        if batch is None:
            raise not_found("case", prefix)
        return self._views.case(batch)

    async def case_leaves(self, prefix: str) -> api.LeavesView:
        """See Backend."""
        case = await self.case(prefix)
        found = await Leaves(self._parts, self._answers).of_case(BatchId(bytes.fromhex(case.id)))
        return api.LeavesView(case.id, found)

    async def models(self) -> tuple[api.ModelView, ...]:
        """See Backend."""
        return self._views.models()

    async def add_model(self, source: str) -> api.ModelView:
        """See Backend."""
        parts, runner = self._parts, self._parts.runner
        if source == "smollm2" and runner is None:
            raise Fault("preflight", "no container can be run to convert the model", "start Docker, then restart")

        def make() -> ModelManifest:
            if source == "smollm2" and runner is not None:
                return runner.add_small_model(parts.models)
            return parts.models.add(Path(source), Path(source).name)

        try:
            manifest = await trio.to_thread.run_sync(make)
        except (ModelUnusable, OSError) as error:
            raise Fault("bad_model", str(error)) from error
        await parts.driver.deliver(ModelAdded(manifest))
        return self._views.model(manifest)

    async def score(self, prefix: str) -> api.ScoreView:
        """See Backend."""
        own = self._machine.identity.node_id
        nodes = self._machine.member.nodes
        address = checksum(own if prefix == "me" else complete(prefix, [*nodes, own], "node"))
        jobs: dict[str, list[str]] = {}
        for job in self._views.jobs():
            jobs.setdefault(job.batch_id, []).append(job.id)
        found = await explain(self._parts.chain, address, self._machine.rules.recommended_stake, jobs)
        if found is None:
            raise not_found("node", prefix)
        return found

    # --- money ------------------------------------------------------------------------------------------------------
    async def account(self) -> api.AccountView:
        """See Backend."""
        await self._status.look_at_money()
        return self._status.account()

    async def deposit(self, amount_wei: int, *, dry_run: bool) -> api.MoveView:
        """See Backend."""
        network, key = self._parts.chain.network, self._client_key()
        return await self._move(await plans.deposit(network, key, amount_wei), dry_run=dry_run)

    async def withdraw(self, amount_wei: int, *, dry_run: bool) -> api.MoveView:
        """See Backend."""
        network, key = self._parts.chain.network, self._client_key()
        return await self._move(await plans.withdraw(network, key, amount_wei), dry_run=dry_run)

    async def move_lane(self, step: LaneStep, prefix: str, amount_wei: int, *, dry_run: bool) -> api.MoveView:
        """See Backend."""
        network, key, signer = self._parts.chain.network, self._client_key(), self._machine.identity.signer
        assert signer is not None
        node = checksum(complete(prefix, self._machine.member.nodes, "node"))
        match step:
            case LaneStep.OPEN:
                move = await plans.open_lane(network, key, signer, node, amount_wei)
            case LaneStep.CLOSE:
                move = await plans.close_lane(network, key, signer, node)
            case LaneStep.RECLAIM:
                move = await plans.reclaim_lane(network, key, signer, node)
        return await self._move(move, dry_run=dry_run)

    async def _move(self, move: plans.Move, *, dry_run: bool) -> api.MoveView:
        chain = self._parts.chain
        if dry_run:
            return await plans.simulate(chain.network, move)
        done = await plans.send(chain.network, move, chain.sender_of(move.sender))
        await self._status.look_at_money()
        return done

    def _client_key(self) -> Key:
        key, client = self._parts.wallet.client, self._machine.identity.client
        if key is None or key.address != client:
            words = f"the key of {client} is not on this machine" if client else "this node has no client key"
            raise Fault("preflight", words, "move money with the wallet that holds the key")
        return key

    def _manifest(self, manifest: str) -> ModelManifest:
        return self._machine.member.models[Cid(bytes.fromhex(manifest))]

    def _now(self) -> TimestampMs:
        return TimestampMs(self._parts.clock())


def _input_of(ask: JobAsk) -> bytes:
    """input.json of a job."""
    if ask.kind == KINDS[GENERATE]:
        said: dict[str, Any] = {
            "messages": [{"role": message.role, "content": message.content} for message in ask.messages]
        }
    else:
        said = {"texts": ask.texts} | ({"labels": ask.labels} if ask.labels else {})
    plain = {"v": 1, "salt": secrets.token_hex(16), **said}
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def _step_of(view: api.JobView | None) -> tuple[object, ...]:
    return () if view is None else (view.state, view.attempt, view.node, view.batch_id, view.cost_wei, view.finish)


def _dearest(nodes: tuple[api.PeerView, ...], max_new_tokens: int) -> int:
    """A cap that no present node would exceed: a job without a cap takes any hired node."""
    prices = [node.price_wei for node in nodes if node.online and node.active]
    return -(-max(prices, default=0) * max_new_tokens // TOKENS_PER_PRICE)


def _seconds_for(timeout_ms: int) -> int:
    """Until when all attempts together must have ended: each may take its whole time and then stay silent."""
    attempt_ms = FETCH_MS + 2 * timeout_ms + DEADLINE_GRACE_MS
    return MAX_RETRIES * (attempt_ms // 1000 + RETRY_AFTER_DEADLINE_S)
