"""The settler: takes finished jobs to the chain in batches, by `plan`, and has `batches` see each to its money."""

from dataclasses import dataclass, field, replace

from protocol import effects as fx
from protocol import events as ev
from protocol.court.docket import Docket
from protocol.job import Stage
from protocol.params import BATCH_JOBS, BATCH_SLOTS
from protocol.roles.member import Member
from protocol.roles.settler.batches import OwnBatch, OwnBatches
from protocol.roles.settler.plan import BatchKind, BatchTerms, LaneKey, LaneQueue, WaitingJob, due_ms_of, plan_batch
from protocol.stages.assignment import Assignment, AssignmentOrder, is_reclaimed, kind_of
from protocol.stages.commitment import Leaf, LeafEntry, LeafStatus, SettledJob, mine_by, unpaid_leaf
from protocol.stages.offer import NodeRecord
from protocol.timers import BatchTimer
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import Address, Cid, JobId, TimestampMs

SUBMIT_AGAIN_MS = 10_000
LEAVES_KEPT = 8_192
"""Leaves that are shown with their jobs: more than a provider keeps jobs."""
LONGEST_REST_MS = 60_000
"""Between two tries after refusals: each waits twice as long as the one before, up to this."""


@dataclass(slots=True)
class Settler:
    """Finished jobs of this node, and its batches."""

    member: Member
    docket: Docket
    own: OwnBatches = field(init=False)
    _lanes: dict[LaneKey, LaneQueue] = field(default_factory=dict)
    _leaves: dict[JobId, Leaf] = field(default_factory=dict)
    _submit_after: TimestampMs = TimestampMs(0)
    _refusals: int = 0
    """Batches refused since the last one that was mined."""
    _due_ms: TimestampMs | None = None

    def __post_init__(self) -> None:
        self.own = OwnBatches(self.member, self.docket)

    def batch(self, batch_id: bytes) -> OwnBatch | None:
        """A mined batch of this node."""
        return self.own.batch(batch_id)

    def expect(self, client: Address, signer: Address, index: int) -> None:
        """A job of a lane was taken: nothing above its number settles before it has ended."""
        self._lane(client, signer).at_work.add(index)

    def submitted(self, client: Address, signer: Address) -> int:
        """The last number of a lane that went into a batch."""
        return self._lane(client, signer).submitted

    def add(self, leaf: Leaf, job: SettledJob, order: AssignmentOrder, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """A job has ended, well or not; asks for the moment at which a batch is due."""
        lane = self._lane(leaf.client, leaf.signer)
        held = lane.ready.get(leaf.index)
        if leaf.index <= lane.submitted or (held and not (held.kind.unreceipted and job.receipt)):
            return ()
        class_id = order.offer.offer.class_id
        uncalibrated = not self.member.calibrated(Cid(order.details.manifest), class_id, kind_of(order.details))
        unreceipted = leaf.status == LeafStatus.OK and job.receipt is None
        kind = BatchKind(class_id, unreceipted, uncalibrated, order.details.checked)
        lane.at_work.discard(leaf.index)
        since_ms = held.since_ms if held else now_ms
        lane.ready[leaf.index] = WaitingJob(LeafEntry(leaf, job), JobId(job.job_id), kind, since_ms)
        keep_newest(self._leaves, JobId(job.job_id), leaf, LEAVES_KEPT)
        return self._submit(now_ms)

    def handle(self, event: ev.Event, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Return the effects that an event calls for."""
        match event:
            case ev.DeadlinePassed(BatchTimer()):
                self._due_ms = None
                return self._submit(now_ms)
            case ev.BatchMined():
                if self.own.mine(event, now_ms):
                    self._refusals = 0
                return self._submit(now_ms)
            case ev.EffectFailed(effect=fx.SubmitBatch):
                self._put_back(event, now_ms)
                return self._submit(now_ms)
            case ev.EffectFailed(about=about, effect=effect) if (batch := self.batch(about)) is not None:
                batch.asked.pop(effect, None)
            case ev.NodeSeen(record) if record.node_id == self.member.identity.node_id:
                return self._submit(now_ms)
            case ev.IntakeStopped():
                return self._submit(now_ms)
            case ev.LaneSeen(lane) if lane.node == self.member.identity.node_id:
                return self._submit(now_ms)
            case ev.BatchSubmitted(node=node) if node == self.member.identity.node_id:
                self.own.finish(event, now_ms)
            case ev.SeedRevealed(epoch, seed):
                return self.own.reveal_seed(epoch, seed)
            case ev.TransactionMined(effect=fx.SealEpoch, about=about):
                return self.own.seal(int.from_bytes(about, "big"))
            case ev.BlockSeen():
                return self.own.step()
            case _:
                return self.own.follow(event, now_ms)
        return ()

    # --- read by other roles ---------------------------------------------------------------------------------------
    def stage_of(self, job_id: JobId) -> Stage | None:
        """The stage of a job on chain; None while it is in no batch."""
        batch = self.own.batch_with(job_id)
        return batch.stage if batch and batch.stage is not Stage.DELIVERED else None

    def leaf_of(self, job_id: JobId) -> Leaf | None:
        """The leaf of a job that has ended."""
        return self._leaves.get(job_id)

    def forgo(self, assignment: Assignment) -> bool:
        """Charge nothing for a finished job whose lane never came. Returns: whether it waits for a batch."""
        lane = self._lane(assignment.client, assignment.signer)
        waiting = lane.ready.get(assignment.index)
        if waiting is None or waiting.entry.job is None:
            return False
        leaf = self._leaves[waiting.job_id] = unpaid_leaf(assignment, LeafStatus.CLIENT_FAULT)
        lane.ready[assignment.index] = replace(waiting, entry=LeafEntry(leaf, waiting.entry.job))
        return True

    # --- into a batch -----------------------------------------------------------------------------------------------
    def _forgo(self, now_ms: TimestampMs) -> None:
        """Charge nothing where no batch can have the job paid any more; the job keeps its place in the lane.

        Either no receipt came, and no batch was mined in time; or the client has reclaimed the lane.
        """
        for (client, signer), lane in self._lanes.items():
            known = self.member.money.lanes.get((client, signer, self.member.identity.node_id))
            for index, waiting in lane.ready.items():
                job, late_s = waiting.entry.job, mine_by(waiting.entry)
                if job is None or not waiting.is_paid:
                    continue
                reclaimed = known is not None and is_reclaimed(index, job.assignment.cumulative, known)
                if reclaimed or (late_s and late_s * 1000 <= now_ms):
                    leaf = self._leaves[waiting.job_id] = unpaid_leaf(job.assignment, LeafStatus.CLIENT_FAULT)
                    lane.ready[index] = replace(waiting, entry=LeafEntry(leaf, job))

    def _submit(self, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Send a batch if one is due, else ask for the moment when one will be."""
        self._forgo(now_ms)
        record = self.member.record
        if record is None or not record.active:
            # The contract takes nothing of a node that is in jail or gone, and tells when that is over.
            return ()
        waiting = [job for lane in self._lanes.values() for job in lane.ready.values()]
        paid = sorted((job for job in waiting if job.is_paid), key=self._due_ms_of)
        if not paid or any(batch.batch_id is None for batch in self.own.all):
            return ()
        if self.member.is_intake_stopped(now_ms):
            # The contract takes no batch before that; a job without a receipt may be too late by then.
            lates_ms = (late_s * 1000 for job in paid if (late_s := mine_by(job.entry)))
            return self._look_again(min(self.member.intake_until_s * 1000, *lates_ms, 2**64 - 1), now_ms)
        due_ms = max(self._submit_after, self._due_ms_of(paid[0]))
        terms = self._terms(record)
        if terms is not None and (now_ms >= due_ms or len(waiting) >= BATCH_JOBS):
            plan = plan_batch(self._lanes, [job.kind for job in paid], terms)
            if plan is not None:
                claims = {(claim.client, claim.signer): claim.jobs for claim in plan.batch.claims}
                return self.own.add(plan, {key: self._lanes[key].take(jobs) for key, jobs in claims.items()})
            due_ms = now_ms + SUBMIT_AGAIN_MS
        return self._look_again(due_ms, now_ms)

    def _look_again(self, due_ms: int, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Ask for the moment of the next look, unless an earlier one was asked for."""
        if self._due_ms is not None and self._due_ms <= due_ms:
            return ()
        self._due_ms = TimestampMs(max(due_ms, now_ms))
        return (fx.AwaitDeadline(BatchTimer(), self._due_ms),)

    def _due_ms_of(self, waiting: WaitingJob) -> int:
        return due_ms_of(waiting, self.member.settings.profile)

    def _terms(self, record: NodeRecord) -> BatchTerms | None:
        """Limits of the next batch; None while no slot is free."""
        used = {batch.batch.slot for batch in self.own.open}
        slot = next((slot for slot in range(BATCH_SLOTS) if slot not in used), None)
        if slot is None:
            return None
        open_value = sum(sum(batch.batch.debits) for batch in self.own.open)
        pending = (batch.batch for batch in self.own.all if not batch.is_final)
        unsettled = frozenset((claim.client, claim.signer) for batch in pending for claim in batch.claims)
        return BatchTerms(slot, record, open_value, self.member.rules.min_stake, unsettled, self._totals())

    def _totals(self) -> dict[LaneKey, int]:
        """What each lane holds and has settled by its final state, in wei: a claim above it would revert the batch."""
        known = {key: self.member.money.lanes.get((*key, self.member.identity.node_id)) for key in self._lanes}
        return {key: lane.left + lane.mark for key, lane in known.items() if lane is not None}

    def _put_back(self, failed: ev.EffectFailed, now_ms: TimestampMs) -> None:
        """Put the jobs of a refused batch back into their lanes, and wait a little."""
        batch = self.own.refuse(failed.about)
        if batch is None:
            return
        for key, before in batch.before.items():
            self._lanes[key].put_back(before)
        self._refusals += 1
        # The refusal clears with time or by the operator: more stake, fewer classes.
        rest_ms = min(SUBMIT_AGAIN_MS << min(self._refusals - 1, 16), LONGEST_REST_MS)
        self._submit_after = TimestampMs(now_ms + rest_ms)

    def _lane(self, client: Address, signer: Address) -> LaneQueue:
        known = self.member.money.lanes.get((client, signer, self.member.identity.node_id))
        return self._lanes.setdefault((client, signer), LaneQueue(known.jobs if known else 0))
