"""The settler: takes finished jobs to the chain in batches, and each batch through its draw and court to its money.

A batch takes from every lane an unbroken run of job numbers, since the contract counts leaves by the numbers and
nothing may be left out. Each step asks the chain once and again after a while; asking twice does no harm.
"""

from dataclasses import dataclass, field, replace

from protocol import effects as fx
from protocol.effects import (
    AnswerDemand,
    AwaitDeadline,
    ConveneCourt,
    Effect,
    FinalizeBatch,
    ReplaceSeat,
    ResolveCase,
    SealEpoch,
    SubmitBatch,
)
from protocol.events import (
    BatchChallenged,
    BatchMined,
    BatchRefunded,
    BatchSettled,
    BatchSubmitted,
    BatchVoided,
    BlockSeen,
    CaseConvened,
    CaseDecided,
    CaseGrown,
    CaseResolved,
    DataAnswered,
    DataDemanded,
    DeadlinePassed,
    EffectFailed,
    Event,
    IntakeStopped,
    LaneSeen,
    NodeSeen,
    SeatAdded,
    SeatCommitted,
    SeatRevealed,
    SeatSilenced,
    SeedRevealed,
    TransactionMined,
)
from protocol.job import Stage, move, verdict_stage
from protocol.params import (
    BATCH_AGE_MS,
    BATCH_JOBS,
    BATCH_SLOTS,
    BPS,
    MAX_BATCH_LEAVES,
    MINE_WITHIN_MS,
    OPEN_VALUE_PER_STAKE,
    PROBATION_JOBS,
)
from protocol.roles.identity import Identity, Settings
from protocol.roles.member import Member
from protocol.stages.assignment import AssignmentOrder, is_reclaimed, kind_of
from protocol.stages.commitment import (
    Batch,
    LaneClaim,
    Leaf,
    LeafEntry,
    LeafStatus,
    SettledJob,
    claim_of,
    debit_of,
    mine_by,
    missing_leaf,
    unpaid_leaf,
)
from protocol.stages.sampling import batch_seed, draw_samples, epoch_of, seed_block
from protocol.stages.verification import Verdict
from protocol.timers import BatchTimer
from protocol.wire.ids import Address, BatchId, Cid, JobId, TimestampMs
from protocol.wire.merkle import root

LaneKey = tuple[Address, Address]
ASK_AGAIN_BLOCKS = 20
ANSWER_BLOCKS = 3
SUBMIT_AGAIN_MS = 10_000
LONGEST_REST_MS = 60_000
"""Between two tries after refusals: each waits twice as long as the one before, up to this."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What all paid leaves of a batch have in common."""

    class_id: int
    unreceipted: bool
    uncalibrated: bool
    checked: bool


@dataclass(slots=True)
class Waiting:
    """A finished job and since when it waits."""

    entry: LeafEntry
    job_id: JobId
    kind: Kind
    since_ms: TimestampMs


@dataclass(frozen=True, slots=True)
class Room:
    """What still goes into a batch: leaves, and the wei that they take from their lanes; `enough`: after a paid one."""

    leaves: int
    value: int
    enough: int


@dataclass(slots=True)
class LaneQueue:
    """One lane: numbers still at work, finished ones, and the last number that went into a batch."""

    submitted: int
    at_work: set[int] = field(default_factory=set)
    ready: dict[int, Waiting] = field(default_factory=dict)


@dataclass(slots=True)
class OwnBatch:
    """A batch of this node, from its submission to its end."""

    batch: Batch
    entries: list[LeafEntry]
    job_ids: list[JobId | None]
    before: dict[LaneKey, LaneQueue]
    batch_id: BatchId | None = None
    block: int = 0
    submitted: BatchSubmitted | None = None
    drawn: tuple[int, ...] | None = None
    seats: dict[int, Address] = field(default_factory=dict)
    seats_told: int = 0
    """How many seats the case ever had: a seat that was silenced does not come back when it is told again."""
    seated_at: dict[int, int] = field(default_factory=dict)
    all_committed_at: int = 0
    """The chain's time, in seconds, when this node saw that every seat has committed; 0 before."""
    committed: set[int] = field(default_factory=set)
    revealed: set[int] = field(default_factory=set)
    convened: bool = False
    round: int = 0
    appeal_until: int = 0
    """When a finding of fraud has waited long enough, in seconds of the chain; 0 while there is none."""
    demanded: bool = False
    stopped: bool = False
    """Whether a seat has asked for data on chain, which it may once, and the case waits for the answer."""
    answer: bytes = b""
    verdict: Verdict = Verdict.NONE
    stage: Stage = Stage.DELIVERED
    done: bool = False
    asked: dict[type[Effect], int] = field(default_factory=dict)
    history: list[tuple[Stage, TimestampMs]] = field(default_factory=list)


@dataclass(slots=True)
class Settler:
    """Batches of this node."""

    identity: Identity
    settings: Settings
    member: Member
    _lanes: dict[LaneKey, LaneQueue] = field(default_factory=dict)
    _batches: list[OwnBatch] = field(default_factory=list)
    _seeds: dict[int, bytes] = field(default_factory=dict)
    _sealed: dict[int, int] = field(default_factory=dict)
    """Epochs that were sealed in a block that may still fall out, and the head at that moment."""
    _leaves: dict[JobId, Leaf] = field(default_factory=dict)
    _submit_after: TimestampMs = TimestampMs(0)
    _refusals: int = 0
    """Batches refused since the last one that was mined."""
    _due_ms: TimestampMs | None = None

    @property
    def batches(self) -> tuple[OwnBatch, ...]:
        """Every batch of this node, oldest first."""
        return tuple(self._batches)

    def batch(self, batch_id: bytes) -> OwnBatch | None:
        """A mined batch of this node."""
        return next((batch for batch in self._batches if batch.batch_id == batch_id), None)

    def expect(self, client: Address, signer: Address, index: int) -> None:
        """A job of a lane was taken: nothing above its number settles before it has ended."""
        self._lane(client, signer).at_work.add(index)

    def submitted(self, client: Address, signer: Address) -> int:
        """The last number of a lane that went into a batch."""
        return self._lane(client, signer).submitted

    def add(self, leaf: Leaf, job: SettledJob, order: AssignmentOrder, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """A job has ended, well or not; asks for the moment at which a batch is due."""
        lane = self._lane(leaf.client, leaf.signer)
        held = lane.ready.get(leaf.index)
        if leaf.index <= lane.submitted or (held and not (held.kind.unreceipted and job.receipt)):
            return ()
        class_id = order.offer.offer.class_id
        uncalibrated = not self.member.calibrated(Cid(order.details.manifest), class_id, kind_of(order.details))
        unreceipted = leaf.status == LeafStatus.OK and job.receipt is None
        kind = Kind(class_id, unreceipted, uncalibrated, order.details.checked)
        lane.at_work.discard(leaf.index)
        since_ms = held.since_ms if held else now_ms
        lane.ready[leaf.index] = Waiting(LeafEntry(leaf, job), JobId(job.job_id), kind, since_ms)
        self._leaves[JobId(job.job_id)] = leaf
        return self._submit(now_ms)

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """What an event makes the settler want."""
        match event:
            case DeadlinePassed(BatchTimer()):
                self._due_ms = None
                return self._submit(now_ms)
            case BatchMined():
                self._mined(event, now_ms)
                return self._submit(now_ms)
            case EffectFailed(effect=fx.SubmitBatch):
                self._not_mined(event, now_ms)
                return self._submit(now_ms)
            case EffectFailed(about=about, effect=effect):
                batch = self.batch(about)
                if batch is not None:
                    batch.asked.pop(effect, None)
            case NodeSeen(record) if record.node_id == self.identity.node_id:
                return self._submit(now_ms)
            case IntakeStopped():
                return self._submit(now_ms)
            case LaneSeen(lane) if lane.node == self.identity.node_id:
                return self._submit(now_ms)
            case BatchSubmitted():
                self._submitted(event, now_ms)
            case SeedRevealed(epoch, seed) if self._seeds.get(epoch) != seed:
                self._seeds[epoch] = seed
                return self._step()
            case TransactionMined(effect=fx.SealEpoch, about=about):
                self._sealed.setdefault(int.from_bytes(about, "big"), self.member.head)
                return self._step()
            case BlockSeen():
                return self._step()
            case _:
                return self._follow(event, now_ms)
        return ()

    # --- what others show of a job ----------------------------------------------------------------------------------
    def stage_of(self, job_id: JobId) -> Stage | None:
        """Where a job stands on chain; None while it is in no batch."""
        batch = self._batch_with(job_id)
        return batch.stage if batch and batch.stage is not Stage.DELIVERED else None

    def batch_of(self, job_id: JobId) -> BatchId | None:
        """The mined batch that a job is in."""
        batch = self._batch_with(job_id)
        return batch.batch_id if batch else None

    def position_of(self, job_id: JobId) -> int | None:
        """The place of a job among the leaves of its mined batch."""
        batch = self._batch_with(job_id)
        return batch.job_ids.index(job_id) if batch and batch.batch_id else None

    def history_of(self, job_id: JobId) -> tuple[tuple[Stage, TimestampMs], ...]:
        """The stages that a job reached in its batch."""
        batch = self._batch_with(job_id)
        return tuple(batch.history) if batch else ()

    def leaf_of(self, job_id: JobId) -> Leaf | None:
        """The leaf of a job that has ended."""
        return self._leaves.get(job_id)

    # --- into a batch -----------------------------------------------------------------------------------------------
    def _forgo(self, now_ms: TimestampMs) -> None:
        """Charge nothing where no batch can have the job paid any more; the job keeps its place in the lane.

        Either no receipt came, and no batch was mined in time; or the client has reclaimed the lane.
        """
        for (client, signer), lane in self._lanes.items():
            known = self.member.lanes.get((client, signer, self.identity.node_id))
            for index, waiting in lane.ready.items():
                job, late_s = waiting.entry.job, mine_by(waiting.entry)
                if job is None or waiting.entry.leaf.status != LeafStatus.OK:
                    continue
                reclaimed = known is not None and is_reclaimed(index, job.assignment.cumulative, known)
                if reclaimed or (late_s and late_s * 1000 <= now_ms):
                    leaf = self._leaves[waiting.job_id] = unpaid_leaf(job.assignment, LeafStatus.CLIENT_FAULT)
                    lane.ready[index] = replace(waiting, entry=LeafEntry(leaf, job))

    def _submit(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Send a batch if one is due, else ask for the moment when one will be."""
        self._forgo(now_ms)
        record = self.member.record
        if record is None or not record.active:
            # The contract takes nothing of a node that is in jail or gone, and tells when that is over.
            return ()
        waiting = [job for lane in self._lanes.values() for job in lane.ready.values()]
        paid = sorted((job for job in waiting if job.entry.leaf.status == LeafStatus.OK), key=self._due_of)
        if not paid or any(batch.batch_id is None for batch in self._batches):
            return ()
        if self.member.is_intake_stopped(now_ms):
            # The contract takes no batch before that; who has no receipt may be too late by then.
            lates_ms = (late_s * 1000 for job in paid if (late_s := mine_by(job.entry)))
            return self._look_again(min(self.member.intake_until * 1000, *lates_ms, 2**64 - 1), now_ms)
        due_ms = max(self._submit_after, self._due_of(paid[0]))
        slot = self._free_slot()
        if slot is not None and (now_ms >= due_ms or len(waiting) >= BATCH_JOBS):
            for kind in dict.fromkeys(job.kind for job in paid):
                batch = self._gather(kind, slot)
                if batch is not None:
                    self._batches.append(batch)
                    return (SubmitBatch(batch.batch),)
            # Every run is held up by a job still at work, by the stake, or by a full ring.
            due_ms = now_ms + SUBMIT_AGAIN_MS
        return self._look_again(due_ms, now_ms)

    def _look_again(self, due_ms: int, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Ask for the moment of the next look, unless an earlier one was asked for."""
        if self._due_ms is not None and self._due_ms <= due_ms:
            return ()
        self._due_ms = TimestampMs(max(due_ms, now_ms))
        return (AwaitDeadline(BatchTimer(), self._due_ms),)

    def _due_of(self, waiting: Waiting) -> int:
        """When a batch with a job is due, in ms since 1970: one without a receipt has less time than others."""
        due_ms = waiting.since_ms + BATCH_AGE_MS[self.settings.profile]
        late_s = mine_by(waiting.entry)
        return min(due_ms, late_s * 1000 - MINE_WITHIN_MS) if late_s else due_ms

    def _gather(self, kind: Kind, slot: int) -> OwnBatch | None:
        """The longest run of every lane whose paid leaves are of this kind, as one batch."""
        entries: list[LeafEntry] = []
        job_ids: list[JobId | None] = []
        claims: list[LaneClaim] = []
        before: dict[LaneKey, LaneQueue] = {}
        room = self._room(kind)
        # Jobs without receipts have no time to wait for what is not final.
        waiting = frozenset() if kind.unreceipted else self._unsettled()
        for key in sorted(self._lanes.keys() - waiting):
            lane = self._lanes[key]
            run = self._run(key, lane, kind, room)
            if not run:
                continue
            claim = claim_of([entry for entry, _ in run])
            debit = debit_of(claim.charge, claim.bonus, checked=kind.checked)
            room = Room(room.leaves - len(run), room.enough - debit, room.enough - debit)
            before[key] = LaneQueue(lane.submitted, set(), dict(lane.ready))
            entries += [entry for entry, _ in run]
            job_ids += [job_id for _, job_id in run]
            claims.append(claim)
            lane.submitted = claim.jobs
            lane.ready = {index: job for index, job in lane.ready.items() if index > claim.jobs}
        if not entries:
            return None
        leaves = [entry.leaf for entry in entries]
        top = root([leaf.node for leaf in leaves])
        batch = Batch(
            node=self.identity.node_id,
            slot=slot,
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
        return OwnBatch(batch, entries, job_ids, before)

    def _unsettled(self) -> frozenset[LaneKey]:
        """Lanes with a batch that is not final.

        The contract counts the leaves of a lane from those that it has: were that batch refused after a
        reorganisation, the next one would have its leaves as well.
        """
        open_batches = (batch.batch for batch in self._batches if not batch.submitted)
        return frozenset((claim.client, claim.signer) for batch in open_batches for claim in batch.claims)

    def _run(self, key: LaneKey, lane: LaneQueue, kind: Kind, room: Room) -> list[tuple[LeafEntry, JobId | None]]:
        """An unbroken run of numbers from the last one submitted, ending with a job whose papers are here.

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
            ok = leaf.status == LeafStatus.OK
            charge, bonus = charge + leaf.charge, bonus + leaf.bonus
            debit = debit_of(charge, bonus, checked=kind.checked)
            if (ok and waiting.kind != kind) or debit > (room.enough if paid else room.value):
                break
            run.append((waiting.entry, waiting.job_id))
            kept, paid = len(run), paid + ok
        full = last - lane.submitted > room.leaves == len(run)
        return run[:kept] if paid or full else []

    def _room(self, kind: Kind) -> Room:
        """What the contract takes in the next batch; of checked jobs the least stake is enough.

        Their fee is high: a seat could gain by never looking, if one batch brought it more than an audit takes.
        """
        record = self.member.record
        assert record is not None
        # Unknown numbers are leaves, too, so the limit on probation does not shrink with the jobs that are left of it.
        leaves = PROBATION_JOBS if record.rate_bps == BPS else MAX_BATCH_LEAVES
        open_value = sum(sum(batch.batch.debits) for batch in self._batches if not batch.done)
        value = record.stake // OPEN_VALUE_PER_STAKE - open_value
        return Room(leaves, value, min(value, self.member.rules.min_stake) if kind.checked else value)

    def _free_slot(self) -> int | None:
        used = {batch.batch.slot for batch in self._batches if not batch.done}
        return next((slot for slot in range(BATCH_SLOTS) if slot not in used), None)

    def _mined(self, mined: BatchMined, now_ms: TimestampMs) -> None:
        for batch in self._batches:
            if batch.batch_id is None and batch.batch.root == mined.root:
                batch.batch_id, batch.block = BatchId(mined.batch_id), mined.block
                self._refusals = 0
                move(batch, mined, Stage.IN_BATCH, now_ms)

    def _submitted(self, final: BatchSubmitted, now_ms: TimestampMs) -> None:
        """A final block has a batch: by its root, since a reorg gives it another id, and its answer may come later."""
        if final.node != self.identity.node_id:
            return
        for batch in self._batches:
            if batch.batch.root == final.contents.root and batch.submitted is None:
                batch.batch_id, batch.block, batch.submitted = BatchId(final.batch_id), final.block, final
                move(batch, final, Stage.IN_BATCH, now_ms)

    def _not_mined(self, failed: EffectFailed, now_ms: TimestampMs) -> None:
        """Put the jobs of a batch back into their lanes, and wait a little."""
        for batch in self._batches:
            if batch.batch_id is None and batch.batch.root == failed.about:
                for key, lane in batch.before.items():
                    self._lanes[key].submitted = lane.submitted
                    self._lanes[key].ready.update(lane.ready)
                self._batches.remove(batch)
                self._refusals += 1
                # Nothing but time may help, or the operator: by stake, or by a class that was given up.
                rest_ms = min(SUBMIT_AGAIN_MS << min(self._refusals - 1, 16), LONGEST_REST_MS)
                self._submit_after = TimestampMs(now_ms + rest_ms)
                return

    # --- from batch to money ----------------------------------------------------------------------------------------
    def _step(self) -> tuple[Effect, ...]:
        """Ask for the next thing that each open batch needs."""
        effects: list[Effect] = []
        for batch in self._batches:
            if batch.done or batch.batch_id is None:
                continue
            if batch.submitted is None and self.member.is_overdue(batch.block):
                batch.batch_id = None
                effects.append(SubmitBatch(batch.batch))
                continue
            effect = self._next(batch)
            if effect is not None and self._may_ask(batch, type(effect)):
                effects.append(effect)
        return tuple(effects)

    def _next(self, batch: OwnBatch) -> Effect | None:
        assert batch.batch_id is not None
        rules, mined = self.member.rules, batch.submitted
        epoch = epoch_of(batch.block, rules.epoch)
        seed = self._seeds.get(epoch)
        if seed is None and (epoch not in self._sealed or self.member.is_overdue(self._sealed[epoch])):
            return SealEpoch(epoch) if self.member.head > seed_block(epoch, rules.epoch, rules.lag) else None
        if mined is None:
            return None
        if batch.drawn is None and mined.rate_bps == BPS:
            # Everything is drawn, whatever the seed: the court may meet as soon as it is on the chain.
            batch.drawn = tuple(range(mined.leaf_count))
        if batch.drawn is None:
            if seed is None:
                return None
            batch.drawn = draw_samples(batch_seed(seed, batch.batch_id), mined.leaf_count, mined.rate_bps)
        if batch.drawn and not batch.convened:
            return ConveneCourt(batch.batch_id, batch.batch.node, batch.batch.slot, mined.contents)
        if batch.drawn and batch.verdict is Verdict.NONE:
            return self._judge(batch, mined)
        window_over = self.member.timestamp >= mined.timestamp + rules.challenge_window_s
        if window_over and (not batch.drawn or batch.verdict is Verdict.PASS):
            return FinalizeBatch(batch.batch_id, batch.batch.node, batch.batch.slot)
        return None

    def _judge(self, batch: OwnBatch, mined: BatchSubmitted) -> Effect | None:
        """See that a case moves on: all seats revealed, or one silent for a whole turn."""
        assert batch.batch_id is not None
        if batch.stopped:
            return AnswerDemand(batch.batch_id, batch.answer) if batch.answer else None
        if batch.appeal_until:
            over = self.member.timestamp > batch.appeal_until
            return ResolveCase(batch.batch_id, mined.contents) if over else None
        if batch.seats and batch.revealed >= set(batch.seats):
            return ResolveCase(batch.batch_id, mined.contents)
        # A turn is commit, then reveal; a seat may use a whole window for each.
        now, turn = self.member.timestamp, self.member.rules.seat_window_s
        waiting = set(batch.seats) - batch.committed
        if waiting:
            # Who has committed waits for them.
            late = [seat for seat in sorted(waiting) if now > batch.seated_at[seat] + turn]
        else:
            # Blocks are not in the journal: after a restart the turn is counted anew.
            batch.all_committed_at = batch.all_committed_at or now
            late = sorted(set(batch.seats) - batch.revealed) if now > batch.all_committed_at + turn else []
        return ReplaceSeat(batch.batch_id, late[0], mined.contents) if late else None

    def _follow(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        batch = self.batch(getattr(event, "batch_id", b""))
        if batch is None:
            return ()
        match event:
            case CaseConvened(seats=seats, timestamp=timestamp, drawn=drawn) if not batch.convened:
                batch.convened, batch.drawn = True, drawn
                batch.seats, batch.seats_told = dict(enumerate(seats)), len(seats)
                batch.seated_at = dict.fromkeys(batch.seats, timestamp)
                move(batch, event, Stage.DRAWN, now_ms)
            case BatchChallenged() if batch.submitted is not None and not batch.convened:
                batch.drawn = tuple(range(batch.submitted.leaf_count))
            case SeatAdded(seat=seat, node=node, timestamp=timestamp) if seat >= batch.seats_told:
                batch.seats[seat], batch.seats_told = node, seat + 1
                batch.seated_at[seat] = timestamp
                batch.all_committed_at = 0
                batch.asked.clear()
            case SeatSilenced(seat=seat) if seat in batch.seats:
                del batch.seats[seat], batch.seated_at[seat]
            case CaseGrown(round=number) if number > batch.round:
                # Its seats follow; those before them have had their say.
                batch.round, batch.appeal_until, batch.all_committed_at = number, 0, 0
                batch.seats.clear()
                batch.seated_at.clear()
                batch.asked.clear()
            case CaseDecided(until=until) if not batch.round and not batch.appeal_until:
                batch.appeal_until = until
                batch.asked.clear()
            case SeatCommitted(seat=seat) if seat not in batch.committed:
                batch.committed.add(seat)
            case SeatRevealed(seat=seat) if seat not in batch.revealed:
                batch.revealed.add(seat)
            case DataDemanded() if not batch.demanded:
                batch.demanded = batch.stopped = True
            case DataAnswered(timestamp=timestamp) if batch.stopped:
                batch.stopped, batch.all_committed_at = False, 0
                batch.seated_at = dict.fromkeys(batch.seated_at, timestamp)
                batch.asked.clear()
            case CaseResolved(verdict=verdict) if batch.verdict in {Verdict.NONE, Verdict.PASS} - {verdict}:
                # A proof overrules the court that let it pass; that it had passed may be told again after it.
                batch.verdict = verdict
                move(batch, event, verdict_stage(verdict), now_ms)
            case BatchVoided():
                batch.done = True
                move(batch, event, Stage.FAILED, now_ms)
            case BatchSettled():
                batch.done = True
                move(batch, event, Stage.SPENDABLE, now_ms)
            case BatchRefunded():
                batch.done = True
                move(batch, event, Stage.REFUNDED, now_ms)
            case _:
                return ()
        return self._step()

    def _may_ask(self, batch: OwnBatch, what: type[Effect]) -> bool:
        head = self.member.head
        asked = batch.asked.get(what, -ASK_AGAIN_BLOCKS)
        # An answer that fell out costs stake if it is not sent again in time: as soon as it should have been told.
        answers = what is AnswerDemand
        if head < asked + (self.member.rules.final_depth + ANSWER_BLOCKS if answers else ASK_AGAIN_BLOCKS):
            return False
        batch.asked[what] = head
        return True

    def _batch_with(self, job_id: JobId) -> OwnBatch | None:
        return next((batch for batch in reversed(self._batches) if job_id in batch.job_ids), None)

    def _lane(self, client: Address, signer: Address) -> LaneQueue:
        known = self.member.lanes.get((client, signer, self.identity.node_id))
        return self._lanes.setdefault((client, signer), LaneQueue(known.jobs if known else 0))
