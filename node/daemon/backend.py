"""The node behind the control API: answers from its machine, questions to its chain, jobs for its driver."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from chain.tx.wallet import Key
from executor.models import ModelUnusable
from node.api import views as api
from node.api.backend import JobAsk, LaneStep, Measure
from node.api.faults import Fault, not_found
from node.api.prefix import complete
from node.daemon.answers import Answers
from node.daemon.asked_rules import AskedRules
from node.daemon.asking import admitted, measured
from node.daemon.following import FollowedJobs
from node.daemon.holding import HoldDesk
from node.daemon.leaves import Leaves
from node.daemon.parts import Parts
from node.daemon.proof import JobProofBuilder
from node.daemon.score import explain
from node.daemon.shelf import ModelShelf
from node.daemon.status import NodeStatus
from node.daemon.views import Views
from node.wallet import plans
from protocol.events import JobStopAsked, ModelAdded
from protocol.job import Stage
from protocol.stages.blob import ModelManifest
from protocol.stages.request import GENERATE
from protocol.wire import document
from protocol.wire.ids import BatchId, checksum


class NodeBackend:
    """Implements node.api.backend.Backend."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._machine = parts.machine
        self._views = Views(parts.machine, parts.known)
        self._answers = Answers(parts.store, parts.config.node.data_dir / "results")
        self.shelf = ModelShelf(parts, self._views)
        self.holds = HoldDesk(parts)
        self.status = NodeStatus(parts, self._views, self.holds)
        self.followed = FollowedJobs(
            parts.machine, parts.known, self._views, self._answers, AskedRules(parts.machine, parts.sealing)
        )
        self.ready = False
        """Set once the chain is known and everything runs."""

    async def snapshot(self) -> api.Snapshot:
        """See Backend."""
        return self.status.snapshot(ready=self.ready)

    # --- jobs -------------------------------------------------------------------------------------------------------
    async def ask_job(self, ask: JobAsk) -> str:
        """See Backend."""
        if not self.ready:
            raise Fault("not_ready", "the node is still starting", "try again in a moment")
        asked = await admitted(ask, self._parts, self._views, self.shelf, self._answers, self.status.account())
        await self._parts.driver.deliver(asked)
        return await self.followed.signed_id(asked.ask_id)

    async def measure(self, ask: JobAsk) -> Measure:
        """See Backend."""
        return await measured(ask, self.shelf, self._answers)

    async def jobs(self) -> tuple[api.JobView, ...]:
        """See Backend."""
        return tuple(self._views.jobs())

    async def job(self, prefix: str) -> api.JobView:
        """See Backend."""
        return await self.followed.with_text(self.followed.find(prefix))

    def follow(self, prefix: str) -> AbstractAsyncContextManager[AsyncIterator[api.JobUpdate]]:
        """See Backend."""
        return self.followed.follow(prefix)

    async def stop_job(self, prefix: str) -> api.JobView:
        """See Backend."""
        found = self.followed.find(prefix)
        if found.side != "requester":
            raise Fault("bad_request", f"job {found.id[:8]} is of another client, and only that one can stop it")
        job = next(job for job in self._machine.requester.jobs if job.shown_id.hex() == found.id)
        if job.kind != GENERATE and job.stage is Stage.RUNNING:
            raise Fault("bad_request", f"job {found.id[:8]} only reads: it is done as a whole", "wait for its answer")
        await self._parts.driver.deliver(JobStopAsked(job.ask_id, job.new_tokens))
        return await self.job(found.id)

    async def job_proof(self, prefix: str, *, with_content: bool) -> dict[str, Any]:
        """See Backend."""
        proof = await JobProofBuilder(self._parts).prove(self.followed.find(prefix), with_content=with_content)
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

    async def add_model(self, source: str, base: str = "") -> api.ModelView:
        """See Backend."""
        parts, runner = self._parts, self._parts.runner
        base_cid = (await self.shelf.find(base)).cid if base else None
        if source == "smollm2" and runner is None:
            raise Fault("preflight", "no container can be run to convert the model", "start Docker, then restart")

        def make() -> ModelManifest:
            if source == "smollm2" and runner is not None:
                return runner.add_small_model(parts.models)
            path = Path(source)
            if base_cid is not None:
                return parts.models.add_adapted(path, base_cid)
            return parts.models.add(path, path.stem if path.is_file() else path.name)

        try:
            manifest = await self.shelf.put(Path(source), make)
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
        await self.status.look_at_money()
        return self.status.account()

    async def deposit(self, amount_wei: int, *, dry_run: bool) -> api.PlanView:
        """See Backend."""
        network, key = self._parts.chain.network, self._client_key()
        return await self._carry_out_plan(await plans.deposit(network, key, amount_wei), dry_run=dry_run)

    async def withdraw(self, amount_wei: int, *, dry_run: bool) -> api.PlanView:
        """See Backend."""
        network, key = self._parts.chain.network, self._client_key()
        return await self._carry_out_plan(await plans.withdraw(network, key, amount_wei), dry_run=dry_run)

    async def move_lane(self, step: LaneStep, prefix: str, amount_wei: int, *, dry_run: bool) -> api.PlanView:
        """See Backend."""
        network, key, signer = self._parts.chain.network, self._client_key(), self._machine.identity.signer
        assert signer is not None
        node = checksum(complete(prefix, self._machine.member.nodes, "node"))
        match step:
            case LaneStep.OPEN:
                plan = await plans.open_lane(network, key, signer, node, amount_wei)
            case LaneStep.CLOSE:
                plan = await plans.close_lane(network, key, signer, node)
            case LaneStep.RECLAIM:
                plan = await plans.reclaim_lane(network, key, signer, node)
        return await self._carry_out_plan(plan, dry_run=dry_run)

    async def _carry_out_plan(self, plan: plans.TransactionPlan, *, dry_run: bool) -> api.PlanView:
        chain = self._parts.chain
        if dry_run:
            return await plans.simulate(chain.network, plan)
        done = await plans.send(chain.network, plan, chain.sender_of(plan.sender))
        await self.status.look_at_money()
        return done

    def _client_key(self) -> Key:
        key, client = self._parts.wallet.client, self._machine.identity.client
        if key is None or key.address != client:
            words = f"the key of {client} is not on this machine" if client else "this node has no client key"
            raise Fault("preflight", words, "move money with the wallet that holds the key")
        return key
