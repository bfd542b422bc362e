"""Stakes, accounts, lanes and batches as plain Python: the rules of the contracts, without a chain.

Left out: stake of others than the owner, rotated operators, permissions, what fills the ring of failures, what only
people call.
"""

from dataclasses import dataclass, field, replace

from eth_utils.crypto import keccak

from chain.abi.enums import BatchState
from chain.contracts.profiles import Profile
from chain.contracts.settlement import contents_of
from protocol.errors import BadSignature
from protocol.events import (
    AccountSeen,
    BatchRefunded,
    BatchSettled,
    BatchSubmitted,
    BatchVoided,
    Event,
    IntakeStopped,
    LaneSeen,
    NodeSeen,
    NodeSlashed,
    SeedRevealed,
)
from protocol.params import BATCH_SLOTS, MAX_BATCH_LEAVES, OPEN_VALUE_PER_STAKE, PRICE_PER_STAKE, PROBATION_JOBS
from protocol.stages.assignment import Account, Assignment, Lane, LaneOpen, verify_fee
from protocol.stages.commitment import Batch, BatchContents, LaneClaim, batch_id
from protocol.stages.offer import NodeRecord
from protocol.stages.reputation import ReputationRecord, score_terms
from protocol.stages.sampling import batch_seed, draw_samples, epoch_of, seed_block
from protocol.stages.settlement import split
from protocol.wire.envelope import Domain, require_signer
from protocol.wire.ids import Address, BatchId, Wei
from tests.support.jobs import sums_of

DAY_S = 86_400
COUNTED_A_DAY = 20
GRACE_DAYS = 7
GAP_DAYS = 3
LANE_MESSAGE_S = 3_600
START_S = 1_800_000_000


class Refused(Exception):
    """A contract's custom error, by its name."""


@dataclass
class MemoryNode:
    """A node's stake and record; penalty in hundredths of a point."""

    owner: Address
    stake: int
    class_mask: int
    day: int
    active: bool = True
    samples_left: int = PROBATION_JOBS
    successes: int = 0
    total: int = 0
    response_ms: int = 0
    check_ins: int = 0
    last_check_in: int = -1
    counted_today: int = 0
    counted_day: int = -1
    penalty: int = 0
    recent_failures: int = 0
    """Of the last 50 leaves; a test says how many."""

    @property
    def rate_bps(self) -> int:
        """The share of its leaves that is drawn."""
        if self.samples_left:
            return 10_000
        return 5_000 if self.recent_failures > 10 else 1_000


@dataclass
class MemoryBatch:
    """A batch in its slot."""

    batch: Batch
    contents: BatchContents
    batch_id: BatchId
    block: int
    timestamp: int
    score: int
    rate_bps: int
    leaf_count: int
    told: BatchSubmitted
    state: BatchState = BatchState.PENDING
    owed: int = 0
    """The pay of its node, at its end, for having convened it."""
    fee_kept: bool = False
    """Whether its clients pay for a check that ended in doubt."""

    @property
    def fee(self) -> int:
        return sum(verify_fee(claim.charge, checked=self.batch.checked) for claim in self.batch.claims)

    @property
    def value(self) -> int:
        return sum(debit.amount for debit in self.contents.debits)


@dataclass
class Contracts:
    """The storage of the contracts, and `events` of the block that is being made."""

    profile: Profile
    domain: Domain
    block: int = 0
    timestamp: int = START_S
    events: list[Event] = field(default_factory=list)
    free: dict[Address, int] = field(default_factory=dict)
    lanes: dict[tuple[Address, Address, Address], Lane] = field(default_factory=dict)
    nodes: dict[Address, MemoryNode] = field(default_factory=dict)
    batches: dict[tuple[Address, int], MemoryBatch] = field(default_factory=dict)
    seeds: dict[int, bytes] = field(default_factory=dict)
    hashes: dict[int, bytes] = field(default_factory=dict)
    """Of blocks whose hash a test has chosen; they outlive every fork."""
    rewards: dict[Address, int] = field(default_factory=dict)
    burned: int = 0
    pool: int = 0
    intake_until_s: int = 0
    """Before then nothing new is taken, in seconds."""

    def emit(self, event: Event) -> None:
        self.events.append(event)

    # ---- the brake

    def pause_intake(self, until: int) -> None:
        """Acts of the guardian for the keeper or the governor; its rules are not told here."""
        self.intake_until_s = until
        self.emit(IntakeStopped(until if until > self.timestamp else 0))

    def require_intake(self) -> None:
        self.require(self.timestamp >= self.intake_until_s, "IntakePaused")

    # ---- stakes

    def register(self, node: Address, owner: Address, stake: int) -> None:
        self.require_intake()
        self.require(node not in self.nodes, "NodeExists")
        self.require(stake >= self.profile.min_stake, "StakeTooLow")
        self.nodes[node] = MemoryNode(owner, stake, 1 << 1, self._today)
        self.show(node)

    def check_in(self, sender: Address, node: Address) -> None:
        known = self.node(node)
        self.require(sender == node, "NotOperator")
        self.require(known.last_check_in != self._today, "SameDay")
        self._count_day(known)
        self.show(node)

    def slash(self, node: Address, case: BatchId, bps: int) -> None:
        known = self.node(node)
        lost = -(-known.stake * bps // 10_000)
        known.stake -= lost
        self.pool += lost // 10
        self.burned += lost - lost // 10
        self.emit(NodeSlashed(node, lost, case))

    def record(self, node: Address, ok: int, ms_sum: int, burned: int) -> None:
        known = self.node(node)
        if known.counted_day != self._today:
            known.counted_day, known.counted_today = self._today, 0
        count = min(ok, burned // self.profile.min_burn, COUNTED_A_DAY - known.counted_today)
        if count:
            known.successes += count
            known.total += count
            known.response_ms += ms_sum * count // ok
            known.counted_today += count
            known.penalty = max(0, known.penalty - 10 * count)
            known.samples_left = max(0, known.samples_left - count)
        if known.last_check_in != self._today:
            self._count_day(known)
        self.show(node)

    def penalise(self, node: Address, hundredths: int, lost_case: bool) -> None:
        known = self.node(node)
        known.penalty = min(10_000, known.penalty + hundredths)
        if lost_case:
            known.total += 1
            known.samples_left = PROBATION_JOBS
        self.show(node)

    def node(self, node: Address) -> MemoryNode:
        self.require(node in self.nodes, "UnknownNode")
        return self.nodes[node]

    def score(self, node: Address) -> int:
        known = self.node(node)
        record = ReputationRecord(
            known.successes,
            known.total,
            known.response_ms,
            known.check_ins,
            self._today - known.day,
            known.penalty,
        )
        return score_terms(record, known.stake, self.profile.recommended_stake).score

    def show(self, node: Address) -> None:
        known = self.node(node)
        self.emit(
            NodeSeen(
                NodeRecord(
                    node_id=node,
                    owner=known.owner,
                    operator=node,
                    payout=known.owner,
                    active=known.active,
                    class_mask=known.class_mask,
                    stake=Wei(known.stake),
                    unbonding=Wei(0),
                    score=self.score(node),
                    rate_bps=known.rate_bps,
                )
            )
        )

    def reward(self, node: Address, amount: int) -> None:
        self.rewards[node] = self.rewards.get(node, 0) + amount

    # ---- accounts and lanes

    def deposit(self, client: Address, amount: int) -> None:
        self.require(amount >= self.profile.min_deposit, "DepositTooLow")
        self.add_free(client, amount)

    def add_free(self, client: Address, amount: int) -> None:
        self.free[client] = self.free.get(client, 0) + amount
        self.emit(AccountSeen(Account(client, Wei(self.free[client]))))

    def lane(self, client: Address, signer: Address, node: Address) -> Lane:
        return self.lanes.get((client, signer, node), Lane(client, signer, node, 0, 0, 0))

    def set_lane(self, lane: Lane) -> None:
        self.lanes[lane.client, lane.signer, lane.node] = lane
        self.emit(LaneSeen(lane))

    def open_lane(self, sender: Address, order: LaneOpen, signature: bytes) -> None:
        self.require(order.amount > 0, "ZeroAmount")
        self.require(self.timestamp <= order.deadline, "DeadlinePassed")
        self.require(order.deadline <= self.timestamp + LANE_MESSAGE_S, "DeadlineTooFar")
        self.require_intake()
        self.node(order.node)
        if sender != order.client:
            self.require_signed(order, signature, order.client, "BadLaneSignature")
        lane = self.lane(order.client, order.signer, order.node)
        self.require(lane.left + lane.mark == order.prev_total, "LaneMoved")
        self.require(order.amount <= self.free.get(order.client, 0), "NotEnoughFree")
        self.set_lane(replace(lane, left=lane.left + order.amount, closing=False))
        self.add_free(order.client, -order.amount)

    # ---- batches

    def submit(self, sender: Address, batch: Batch) -> None:
        self.require(batch.slot < BATCH_SLOTS, "SlotOutOfRange")
        self._make_room(batch.node, batch.slot)
        self.require_intake()
        known = self.node(batch.node)
        self.require(sender == batch.node, "NotOperator")
        self.require(known.active, "NodeNotActive")
        self.require(known.stake >= self.profile.min_stake, "StakeTooLow")
        self.require(batch.class_id < 32 and known.class_mask >> batch.class_id & 1 == 1, "ClassNotRun")
        self.require(not batch.unreceipted or self.timestamp <= batch.mine_by, "StaleJob")
        self.require(bool(batch.claims), "NoClaims")
        score, rate = self.score(batch.node), known.rate_bps
        leaves = tuple(self._take(batch.node, *part) for part in zip(batch.claims, batch.debits, strict=True))
        self._require_sums(batch, sum(leaves))
        self._require_limits(batch, sum(leaves), known)
        claims = tuple(replace(claim, leaves=count) for claim, count in zip(batch.claims, leaves, strict=True))
        name = batch_id(batch.node, batch.slot, self.block)
        told = BatchSubmitted(
            batch_id=name,
            node=batch.node,
            slot=batch.slot,
            class_id=batch.class_id,
            block=self.block,
            timestamp=self.timestamp,
            rate_bps=10_000 if batch.unreceipted or batch.uncalibrated or batch.checked else rate,
            leaf_count=sum(leaves),
            unreceipted=batch.unreceipted,
            uncalibrated=batch.uncalibrated,
            checked=batch.checked,
            sums=sums_of(batch),
            contents=contents_of(replace(batch, claims=claims)),
            lane_jobs=tuple(claim.jobs for claim in batch.claims),
        )
        self.batches[batch.node, batch.slot] = MemoryBatch(
            batch=batch,
            contents=told.contents,
            batch_id=name,
            block=self.block,
            timestamp=self.timestamp,
            score=score,
            rate_bps=told.rate_bps,
            leaf_count=told.leaf_count,
            told=told,
        )
        self.emit(told)

    def _make_room(self, node: Address, slot: int) -> None:
        """A batch that is ready to be final becomes so and leaves its slot to the next."""
        if not self.is_open(node, slot):
            return
        try:
            self.finalize(node, slot)
        except Refused as refused:
            raise Refused("SlotBusy") from refused

    def seal(self, epoch: int) -> None:
        self.require(epoch not in self.seeds, "AlreadySealed")
        source = seed_block(epoch, self.profile.epoch_blocks, self.profile.lag_blocks)
        self.require(self.block > source, "SeedNotYet")
        self.seeds[epoch] = self.hash_of(source)
        self.emit(SeedRevealed(epoch, self.seeds[epoch]))

    def hash_of(self, block: int) -> bytes:
        return self.hashes.get(block) or keccak(f"block {block}".encode())

    def drawn(self, batch: MemoryBatch) -> tuple[int, ...]:
        seed = self.seeds.get(epoch_of(batch.block, self.profile.epoch_blocks))
        self.require(seed is not None, "NoSeed")
        assert seed is not None
        rate = batch.rate_bps
        if batch.state is BatchState.PENDING and not (self.node(batch.batch.node).active and self.is_clear(batch)):
            rate = 10_000
        return draw_samples(batch_seed(seed, batch.batch_id), batch.leaf_count, rate)

    def is_clear(self, batch: MemoryBatch) -> bool:
        """Whether no case accuses the node of a batch; without a court none does."""
        return True

    def finalize(self, node: Address, slot: int) -> None:
        batch = self.batch(node, slot)
        self.require(batch.state in (BatchState.PENDING, BatchState.PASSED), "WrongState")
        self.require(self.timestamp >= batch.timestamp + self.profile.challenge_seconds, "WindowOpen")
        self.require(batch.state is BatchState.PASSED or not self.drawn(batch), "NeedsCourt")
        paid = split(batch.batch.price_sum, batch.fee, batch.batch.bonus_sum, batch.score)
        # A court that let it pass has paid its seats out of the fee already.
        self.pool += paid.pooled - (batch.fee if batch.state is BatchState.PASSED else 0)
        batch.state = BatchState.FINAL
        self.burned += paid.burned
        self.reward(node, paid.reward + paid.bonus)
        self._pay_owed(batch)
        self.record(node, batch.batch.ok_count, batch.batch.ms_sum, paid.burned)
        self.emit(
            BatchSettled(batch.batch_id, node, batch.batch.price_sum, paid.burned, paid.reward, paid.bonus, paid.pooled)
        )

    def void(self, batch: MemoryBatch) -> None:
        batch.state = BatchState.VOID
        self._pay_owed(batch)
        self.emit(BatchVoided(batch.batch_id, batch.batch.node))

    def _pay_owed(self, batch: MemoryBatch) -> None:
        if batch.owed <= self.pool:
            self.pool -= batch.owed
            self.reward(batch.batch.node, batch.owed)

    def refund(self, node: Address, slot: int, contents: BatchContents) -> None:
        batch = self.batch(node, slot)
        self.require(batch.state is BatchState.VOID, "WrongState")
        self.require(contents == batch.contents, "WrongContents")
        batch.state, total = BatchState.REFUNDED, 0
        for debit in contents.debits:
            kept = debit.amount * batch.fee // batch.value if batch.fee_kept else 0
            self.pool += kept
            total += debit.amount - kept
            lane = self.lane(debit.client, debit.signer, node)
            self.set_lane(replace(lane, left=lane.left + debit.amount - kept))
        self.emit(BatchRefunded(batch.batch_id, node, total))

    def batch(self, node: Address, slot: int) -> MemoryBatch:
        self.require((node, slot) in self.batches, "WrongState")
        return self.batches[node, slot]

    def is_open(self, node: Address, slot: int) -> bool:
        found = self.batches.get((node, slot))
        return found is not None and found.state not in (BatchState.FINAL, BatchState.REFUNDED)

    # ---- inside

    def require(self, holds: bool, error: str) -> None:
        if not holds:
            raise Refused(error)

    def require_signed(self, message: object, signature: bytes, signer: Address, error: str) -> None:
        try:
            require_signer(message, signature, self.domain, signer)
        except BadSignature as bad:
            raise Refused(error) from bad

    @property
    def _today(self) -> int:
        return self.timestamp // DAY_S

    def _count_day(self, known: MemoryNode) -> None:
        last = max(known.last_check_in, known.day)
        lost = known.stake - decayed(known.stake, max(0, self._today - last - GRACE_DAYS))
        known.stake -= lost
        self.burned += lost
        if self._today >= last + GAP_DAYS:
            known.samples_left = PROBATION_JOBS
        known.last_check_in = self._today
        known.check_ins += 1

    def _take(self, node: Address, claim: LaneClaim, debit: int) -> int:
        """Debit a lane; how many leaves the claim counts for."""
        lane = self.lane(claim.client, claim.signer, node)
        order = Assignment(claim.client, claim.signer, node, claim.jobs, claim.cumulative, claim.details)
        self.require_signed(order, claim.signature, claim.signer, "BadAssignmentSignature")
        self.require((claim.client, claim.signer, node) in self.lanes, "LaneNotOpen")
        self.require(claim.jobs > lane.jobs, "IndexNotAbove")
        self.require(claim.cumulative >= lane.mark, "BelowMark")
        self.require(debit <= claim.cumulative - lane.mark, "OverSigned")
        self.require(debit <= lane.left, "OverLane")
        self.set_lane(replace(lane, left=lane.left - debit, mark=claim.cumulative, jobs=claim.jobs))
        return claim.jobs - lane.jobs

    def _require_sums(self, batch: Batch, leaves: int) -> None:
        charge, bonus = sum(each.charge for each in batch.claims), sum(each.bonus for each in batch.claims)
        self.require((charge, bonus) == (batch.price_sum, batch.bonus_sum), "SumMismatch")
        self.require(batch.ok_count + batch.failed_count <= leaves, "BadCounts")
        self.require(charge <= batch.max_leaf * batch.ok_count and batch.max_leaf <= charge, "BadMaxLeaf")
        self.require(bonus <= (0 if batch.unreceipted else charge * 9 // 100), "BonusTooHigh")

    def _require_limits(self, batch: Batch, leaves: int, known: MemoryNode) -> None:
        self.require(leaves <= (PROBATION_JOBS if known.samples_left else MAX_BATCH_LEAVES), "TooManyLeaves")
        self.require(batch.max_leaf * PRICE_PER_STAKE <= known.stake, "LeafTooBig")
        value = sum(batch.debits)
        value += sum(each.value for (node, slot), each in self.batches.items() if self._counts(node, slot, batch))
        self.require(value * OPEN_VALUE_PER_STAKE <= known.stake, "OpenValueTooHigh")

    def _counts(self, node: Address, slot: int, batch: Batch) -> bool:
        return node == batch.node and self.batches[node, slot].state in (
            BatchState.PENDING,
            BatchState.IN_COURT,
            BatchState.PASSED,
            BatchState.AUDITED,
        )


def decayed(total: int, days: int) -> int:
    """The rest of a stake that loses a hundredth a day; rounded down. As PoolLib.decayed."""
    left, factor = 1 << 128, (99 << 128) // 100
    while days:
        if days & 1:
            left = left * factor >> 128
        factor, days = factor * factor >> 128, days >> 1
    return total * left >> 128
