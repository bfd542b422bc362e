"""The plan of a batch: which finished jobs go to the chain together.

A batch takes from every lane an unbroken run of job numbers, because the contract counts leaves by the numbers and
leaves none out. All its paid leaves are of one kind.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from protocol.params import BATCH_AGE_MS, BPS, MAX_BATCH_LEAVES, MINE_WITHIN_MS, OPEN_VALUE_PER_STAKE, PROBATION_JOBS
from protocol.stages.commitment import (
    Batch,
    LaneClaim,
    LeafEntry,
    LeafStatus,
    claim_of,
    debit_of,
    mine_by,
    missing_leaf,
)
from protocol.stages.offer import NodeRecord
from protocol.wire.ids import Address, JobId, TimestampMs
from protocol.wire.merkle import root

LaneKey = tuple[Address, Address]
"""Client and signer of a lane to this node."""


@dataclass(frozen=True, slots=True)
class BatchKind:
    """Properties that all paid leaves of a batch share."""

    class_id: int
    unreceipted: bool
    uncalibrated: bool
    checked: bool


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A finished job, and since when it waits."""

    entry: LeafEntry
    job_id: JobId
    kind: BatchKind
    since_ms: TimestampMs

    @property
    def is_paid(self) -> bool:
        """Whether its client pays for it."""
        return self.entry.leaf.status == LeafStatus.OK


@dataclass(slots=True)
class LaneQueue:
    """One lane: numbers still at work, finished ones, and the last number that went into a batch."""

    submitted: int
    at_work: set[int] = field(default_factory=set)
    ready: dict[int, WaitingJob] = field(default_factory=dict)

    def take(self, last: int) -> "LaneQueue":
        """Take the jobs up to a number out: they are in a batch. Returns: the queue as it was."""
        before = LaneQueue(self.submitted, set(), self.ready)
        self.submitted, self.ready = last, {index: job for index, job in self.ready.items() if index > last}
        return before

    def put_back(self, before: "LaneQueue") -> None:
        """Put the jobs of a refused batch back; what came since, such as a receipt, is kept."""
        self.submitted, self.ready = before.submitted, {**before.ready, **self.ready}


@dataclass(frozen=True, slots=True)
class BatchTerms:
    """Limits of the contract for a node's next batch; amounts in wei.

    open_value: what its batches that are not over take from lanes. unsettled: lanes with a batch that is not final.
    totals: left and mark together of each lane that is final on chain.
    """

    slot: int
    record: NodeRecord
    open_value: int
    min_stake: int
    unsettled: frozenset[LaneKey]
    totals: Mapping[LaneKey, int]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A batch, its leaves in their order, and their jobs; None where the order of a number never arrived."""

    batch: Batch
    entries: tuple[LeafEntry, ...]
    job_ids: tuple[JobId | None, ...]


@dataclass(frozen=True, slots=True)
class Room:
    """Space left in a batch: leaves, and the wei that they take from their lanes; `enough`: after a paid one."""

    leaves: int
    value: int
    enough: int


def due_ms_of(waiting: WaitingJob, profile: str) -> int:
    """When a batch with a job is due, in ms since 1970: a job without a receipt has less time than others."""
    due_ms = waiting.since_ms + BATCH_AGE_MS[profile]
    late_s = mine_by(waiting.entry)
    return min(due_ms, late_s * 1000 - MINE_WITHIN_MS) if late_s else due_ms


def plan_batch(lanes: Mapping[LaneKey, LaneQueue], kinds: Iterable[BatchKind], terms: BatchTerms) -> BatchPlan | None:
    """The batch of the first of some kinds that any lane has a run for.

    Returns: None if every run is held up by a job still at work, by the stake, or by a batch that is not final.
    """
    plans = (_plan_of(lanes, kind, terms) for kind in dict.fromkeys(kinds))
    return next((plan for plan in plans if plan is not None), None)


def _plan_of(lanes: Mapping[LaneKey, LaneQueue], kind: BatchKind, terms: BatchTerms) -> BatchPlan | None:
    """The longest run of every lane whose paid leaves are of this kind, as one batch."""
    entries: list[LeafEntry] = []
    job_ids: list[JobId | None] = []
    claims: list[LaneClaim] = []
    room = _room(kind, terms)
    # The contract counts the leaves of a lane from those that it has: were a batch refused after a reorganisation, the
    # next one would have its leaves as well. Jobs without receipts have no time to wait for what is not final.
    waiting = frozenset() if kind.unreceipted else terms.unsettled
    for key in sorted((lanes.keys() & terms.totals.keys()) - waiting):
        run = _run(key, lanes[key], kind, room, terms.totals[key])
        if not run:
            continue
        claim = claim_of([entry for entry, _ in run])
        left = room.enough - debit_of(claim.charge, claim.bonus, checked=kind.checked)
        room = Room(room.leaves - len(run), left, left)
        entries += [entry for entry, _ in run]
        job_ids += [job_id for _, job_id in run]
        claims.append(claim)
    if not entries:
        return None
    return BatchPlan(_batch_of(entries, claims, kind, terms), tuple(entries), tuple(job_ids))


def _batch_of(entries: list[LeafEntry], claims: list[LaneClaim], kind: BatchKind, terms: BatchTerms) -> Batch:
    leaves = [entry.leaf for entry in entries]
    top = root([leaf.node for leaf in leaves])
    return Batch(
        node=terms.record.node_id,
        slot=terms.slot,
        class_id=kind.class_id,
        uncalibrated=kind.uncalibrated,
        checked=kind.checked,
        root=top.hash,
        price_sum=top.charge,
        bonus_sum=top.bonus,
        ms_sum=top.ms,
        ok_count=sum(leaf.status == LeafStatus.OK for leaf in leaves),
        failed_count=sum(leaf.status == LeafStatus.FAILED for leaf in leaves),
        max_leaf=max(leaf.charge for leaf in leaves),
        mine_by=min(filter(None, map(mine_by, entries)), default=0),
        claims=tuple(claims),
    )


def _run(
    key: LaneKey, lane: LaneQueue, kind: BatchKind, room: Room, total: int
) -> list[tuple[LeafEntry, JobId | None]]:
    """An unbroken run of numbers from the last one submitted, ending with a job whose papers are here.

    A job that the lane does not cover as it is final, `total` wei, waits: its lane was begun unconfirmed. So does one
    without pay, for its claim would move the mark past money that never came.
    One without a paid leaf waits for its first, unless it is so long that this one would not fit behind it.
    """
    run: list[tuple[LeafEntry, JobId | None]] = []
    kept = paid = charge = bonus = 0
    last = max(lane.ready, default=0)
    for index in range(lane.submitted + 1, min(last, lane.submitted + room.leaves) + 1):
        waiting = lane.ready.get(index)
        if waiting is None:
            if index in lane.at_work:
                break
            run.append((LeafEntry(missing_leaf(*key, index), None), None))
            continue
        leaf = waiting.entry.leaf
        charge, bonus = charge + leaf.charge, bonus + leaf.bonus
        debit = debit_of(charge, bonus, checked=kind.checked)
        if _claimed(waiting) > total:
            break
        if (waiting.is_paid and waiting.kind != kind) or debit > (room.enough if paid else room.value):
            break
        run.append((waiting.entry, waiting.job_id))
        kept, paid = len(run), paid + waiting.is_paid
    full = last - lane.submitted > room.leaves == len(run)
    return run[:kept] if paid or full else []


def _claimed(waiting: WaitingJob) -> int:
    """The cumulative wei that a job claims of its lane."""
    job = waiting.entry.job
    return job.assignment.cumulative if job is not None else 0


def _room(kind: BatchKind, terms: BatchTerms) -> Room:
    """The space of an empty batch; for checked jobs at most the least stake.

    Their fee is high: a seat could gain by never looking, if one batch brought it more than an audit takes.
    """
    # Unknown numbers are leaves, too, so the limit on probation does not shrink with the jobs that are left of it.
    leaves = PROBATION_JOBS if terms.record.rate_bps == BPS else MAX_BATCH_LEAVES
    value = terms.record.stake // OPEN_VALUE_PER_STAKE - terms.open_value
    return Room(leaves, value, min(value, terms.min_stake) if kind.checked else value)
