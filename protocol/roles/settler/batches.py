"""The life of this node's batches on chain: mined, final, drawn, judged, paid or refunded, each step asked for in time.

What the court does is read from the docket. Each step asks the chain once, and again after a while: a second request
does no harm.
"""

from dataclasses import dataclass, field

from protocol import effects as fx
from protocol import events as ev
from protocol.court.docket import Docket, DocketBatch, DocketCase
from protocol.court.drawing import drawn_leaves
from protocol.court.phases import CasePhase
from protocol.job import Stage, move, verdict_stage
from protocol.params import BPS
from protocol.roles.member import Member
from protocol.roles.settler.plan import BatchPlan, LaneKey, LaneQueue
from protocol.stages.commitment import Batch, LeafEntry
from protocol.stages.sampling import epoch_of, seed_block
from protocol.wire.ids import BatchId, JobId, TimestampMs

ASK_AGAIN_BLOCKS = 20
ANSWER_BLOCKS = 3
DONE_KEPT = 2_048
"""Batches whose money has reached its place: more than a provider keeps jobs."""
SEEDS_KEPT = 4_096
_ENDS = {ev.BatchVoided: Stage.FAILED, ev.BatchSettled: Stage.SPENDABLE, ev.BatchRefunded: Stage.REFUNDED}


@dataclass(slots=True)
class OwnBatch:
    """A batch of this node, from its plan to its end."""

    batch: Batch
    entries: tuple[LeafEntry, ...]
    job_ids: tuple[JobId | None, ...]
    before: dict[LaneKey, LaneQueue]
    """Its lanes as they were, should it be refused."""
    batch_id: BatchId | None = None
    block: int = 0
    is_final: bool = False
    """Whether a final block has it: the docket tells of it from then on."""
    all_committed_at_s: int = 0
    """The chain's time, in seconds, when this node saw that every seat has committed; 0 before."""
    answer: bytes = b""
    """The answer on chain to a seat's demand for data."""
    stage: Stage = Stage.DELIVERED
    done: bool = False
    asked: dict[type[fx.Effect], int] = field(default_factory=dict)
    """The heads when each step was asked for last."""
    history: list[tuple[Stage, TimestampMs]] = field(default_factory=list)


@dataclass(slots=True)
class OwnBatches:
    """All batches of this node, oldest first."""

    member: Member
    docket: Docket
    all: list[OwnBatch] = field(default_factory=list)
    _by_job: dict[JobId, OwnBatch] = field(default_factory=dict)
    _seeds: dict[int, bytes] = field(default_factory=dict)
    _sealed: dict[int, int] = field(default_factory=dict)
    """Epochs that were sealed in a block that may still fall out, and the head at that moment."""

    @property
    def open(self) -> tuple[OwnBatch, ...]:
        """Those whose money has not reached its place."""
        return tuple(batch for batch in self.all if not batch.done)

    def batch(self, batch_id: bytes) -> OwnBatch | None:
        """A mined batch."""
        return next((batch for batch in self.all if batch.batch_id == batch_id), None)

    def batch_with(self, job_id: JobId) -> OwnBatch | None:
        """The newest batch that a job is in."""
        return self._by_job.get(job_id)

    def add(self, plan: BatchPlan, before: dict[LaneKey, LaneQueue]) -> tuple[fx.Effect, ...]:
        """A batch is planned; `before`: its lanes as they were."""
        batch = OwnBatch(plan.batch, plan.entries, plan.job_ids, before)
        self.all.append(batch)
        self._by_job.update((job_id, batch) for job_id in batch.job_ids if job_id is not None)
        return (fx.SubmitBatch(plan.batch),)

    def mine(self, mined: ev.BatchMined, now_ms: TimestampMs) -> bool:
        """Whether a block has a batch that waited for one."""
        found = [batch for batch in self.all if batch.batch_id is None and batch.batch.root == mined.root]
        for batch in found:
            batch.batch_id, batch.block = BatchId(mined.batch_id), mined.block
            move(batch, mined, Stage.IN_BATCH, now_ms)
        return bool(found)

    def refuse(self, batch_root: bytes) -> OwnBatch | None:
        """Forget a batch that the contract refused. Returns: that batch."""
        for batch in self.all:
            if batch.batch_id is None and batch.batch.root == batch_root:
                self._forget(batch)
                return batch
        return None

    def finish(self, final: ev.BatchSubmitted, now_ms: TimestampMs) -> None:
        """A final block has a batch: by its root, since a reorg gives it another id, and its answer may come later."""
        for batch in self.all if final.leaf_count and 0 < final.rate_bps <= BPS else ():
            if batch.batch.root == final.contents.root and not batch.is_final:
                batch.batch_id, batch.block, batch.is_final = BatchId(final.batch_id), final.block, True
                self.docket.hold(final.batch_id)
                move(batch, final, Stage.IN_BATCH, now_ms)

    def reveal_seed(self, epoch: int, seed: bytes) -> tuple[fx.Effect, ...]:
        """The seed of an epoch is final."""
        if self._seeds.get(epoch) == seed:
            return ()
        self._seeds[epoch] = seed
        while len(self._seeds) > SEEDS_KEPT:
            # An open batch whose leaves are drawn needs no seed any more.
            oldest = next(iter(self._seeds))
            del self._seeds[oldest]
            self._sealed.pop(oldest, None)
        return self.step()

    def seal(self, epoch: int) -> tuple[fx.Effect, ...]:
        """A block has the seed of an epoch, and may still fall out."""
        self._sealed.setdefault(epoch, self.member.head)
        return self.step()

    def follow(self, event: ev.Event, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Take what the docket has just learned of a batch of this node, and go on."""
        batch_id = getattr(event, "batch_id", None)
        batch = self.batch(batch_id) if batch_id else None
        if batch is None:
            return ()
        match event:
            case ev.CaseConvened():
                move(batch, event, Stage.DRAWN, now_ms)
            case ev.SeatAdded() | ev.CaseGrown() | ev.CaseDecided() | ev.DataAnswered():
                # Turns begin anew, or there is something else to ask for.
                batch.all_committed_at_s = 0
                batch.asked.clear()
            case ev.CaseResolved(verdict=verdict):
                move(batch, event, verdict_stage(verdict), now_ms)
            case ev.BatchVoided() | ev.BatchSettled() | ev.BatchRefunded():
                self._end(batch, event, _ENDS[type(event)], now_ms)
        return self.step()

    def step(self) -> tuple[fx.Effect, ...]:
        """Ask for the next thing that each open batch needs."""
        effects: list[fx.Effect] = []
        for batch in self.open:
            if batch.batch_id is None:
                continue
            if not batch.is_final and self.member.is_overdue(batch.block):
                batch.batch_id = None
                effects.append(fx.SubmitBatch(batch.batch))
                continue
            effect = self._next(batch)
            if effect is not None and self._may_ask(batch, type(effect)):
                effects.append(effect)
        return tuple(effects)

    def _end(self, batch: OwnBatch, event: ev.Event, stage: Stage, now_ms: TimestampMs) -> None:
        batch.done = True
        batch.before.clear()
        move(batch, event, stage, now_ms)
        done = [each for each in self.all if each.done]
        for each in done[: max(0, len(done) - DONE_KEPT)]:
            self._forget(each)

    def _forget(self, batch: OwnBatch) -> None:
        self.all = [kept for kept in self.all if kept is not batch]
        for job_id in batch.job_ids:
            if job_id is not None:
                self._by_job.pop(job_id, None)

    def _next(self, own: OwnBatch) -> fx.Effect | None:
        assert own.batch_id is not None
        rules = self.member.rules
        epoch = epoch_of(own.block, rules.epoch)
        seed = self._seeds.get(epoch)
        if seed is None and (epoch not in self._sealed or self.member.is_overdue(self._sealed[epoch])):
            return fx.SealEpoch(epoch) if self.member.head > seed_block(epoch, rules.epoch, rules.lag) else None
        batch = self.docket.batch(own.batch_id) if own.is_final else None
        drawn = drawn_leaves(batch, seed) if batch else None
        if batch is None or drawn is None or batch.is_condemned:
            return None
        if drawn and batch.case is None:
            return fx.ConveneCourt(batch.batch_id, own.batch.node, own.batch.slot, batch.submitted.contents)
        if drawn and batch.case is not None and batch.case.is_open:
            return self._judge(own, batch, batch.case)
        window_over = self.member.timestamp >= batch.submitted.timestamp + rules.challenge_window_s
        return fx.FinalizeBatch(batch.batch_id, own.batch.node, own.batch.slot) if window_over else None

    def _judge(self, own: OwnBatch, batch: DocketBatch, case: DocketCase) -> fx.Effect | None:
        """See that a case moves on: all seats revealed, or one silent for a whole turn."""
        now_s, contents = self.member.timestamp, batch.submitted.contents
        if case.phase is CasePhase.STOPPED:
            return fx.AnswerDemand(batch.batch_id, own.answer) if own.answer else None
        if case.phase is CasePhase.DECIDED:
            return fx.ResolveCase(batch.batch_id, contents) if now_s > case.appeal_until_s else None
        sitting = case.sitting
        if sitting and case.have_all_revealed:
            return fx.ResolveCase(batch.batch_id, contents)
        # A turn is commit, then reveal; a seat may use a whole window for each. An answer on chain begins it anew.
        turn_s = self.member.rules.seat_window_s
        if not case.are_all_bound:
            # Seats that have committed wait for the others.
            drawn = (number for number in sorted(sitting) if not sitting[number].is_bound)
            late = [number for number in drawn if now_s > max(sitting[number].since, case.answered_at_s) + turn_s]
        else:
            # Blocks are not in the journal: after a restart the turn is counted anew.
            own.all_committed_at_s = own.all_committed_at_s or now_s
            hidden = (number for number in sorted(sitting) if not sitting[number].has_revealed)
            late = list(hidden) if now_s > own.all_committed_at_s + turn_s else []
        return fx.ReplaceSeat(batch.batch_id, late[0], contents) if late else None

    def _may_ask(self, batch: OwnBatch, what: type[fx.Effect]) -> bool:
        head = self.member.head
        asked = batch.asked.get(what, -ASK_AGAIN_BLOCKS)
        # An answer that fell out costs stake if it is not sent again in time: as soon as it should have been told.
        answers = what is fx.AnswerDemand
        if head < asked + (self.member.rules.final_depth + ANSWER_BLOCKS if answers else ASK_AGAIN_BLOCKS):
            return False
        batch.asked[what] = head
        return True
