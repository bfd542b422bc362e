"""What every ledger does for a node, whether it is the contracts on Anvil or their rules in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pytest
import trio

from chain.tx.wallet import Key
from protocol.effects import (
    AbstainSeat,
    AnswerDemand,
    ChallengeLeaf,
    CheckIn,
    CloseAudit,
    CommitAudit,
    CommitSeat,
    ConveneAudit,
    ConveneCourt,
    DemandData,
    EndChallenge,
    FinalizeBatch,
    OpenLane,
    ProveFraud,
    RefundBatch,
    ReplaceSeat,
    ResolveCase,
    RevealAudit,
    RevealSeat,
    SealEpoch,
    SignMessage,
    SubmitBatch,
    VoidStarved,
)
from protocol.errors import ChainError, Reverted
from protocol.events import (
    AccountSeen,
    AuditCommitted,
    AuditConvened,
    AuditEnded,
    AuditNotDrawn,
    AuditRevealed,
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
    Event,
    IntakeStopped,
    LaneSeen,
    MessageSigned,
    NodeSeen,
    NodeSlashed,
    SeatAdded,
    SeatCommitted,
    SeatRevealed,
    SeatSilenced,
    SeedRevealed,
    TransactionMined,
)
from protocol.judging.evidence import Lie, OpenedLeaf, Papers, SignedResult
from protocol.judging.margins import HEAD_START, RUNNING_ALARM, Running
from protocol.params import AUDIT_LATEST_EPOCHS, AUDITORS, PROBATION_JOBS, VCN, ChainRules
from protocol.stages.assignment import Accept, verify_fee
from protocol.stages.commitment import Batch, BatchContents, batch_id
from protocol.stages.sampling import ListSlot, batch_seed, draw_order, draw_samples, epoch_of
from protocol.stages.settlement import convene_pay, split
from protocol.stages.verification import NOTHING_SHOWN_BPS, Verdict, audit_commitment, seat_commitment
from protocol.wire.envelope import Domain, require_signer
from protocol.wire.ids import Address, BatchId
from protocol.wire.merkle import path
from tests.fakes.ledger import MemoryLedger
from tests.support.anvil_ledger import open_anvil_ledger
from tests.support.event_recorder import Story, told_by
from tests.support.jobs import PRICE, Orders, batch_of, key, named, sums_of

NODE, CLIENT = key("node"), key("client")
VERIFIERS = [key(f"verifier {index}") for index in range(10)]
LANE = 50 * VCN
OPEN_S = 100
OPEN = {"challenge_seconds": OPEN_S, "unbonding_seconds": 800}
"""A window that a test does not outlive, and stakes that outlive it."""
FRESH_SCORE = 4_500
"""Half of the success term, half of the speed term, the whole stake term."""


class Ledger(Protocol):
    """What a test needs of a ledger."""

    rules: ChainRules

    @property
    def domain(self) -> Domain: ...

    async def mine(self, blocks: int = 1) -> None: ...

    async def warp(self, seconds: int) -> None: ...

    async def now(self) -> tuple[int, int]: ...

    async def register(self, operator: Key, stake: int = ...) -> None: ...

    async def join(self, operator: Key) -> None: ...

    async def deposit(self, client: Key, amount: int) -> None: ...

    async def appeal(self, operator: Key, name: BatchId, contents: BatchContents) -> None: ...

    async def demand(self, adapter: Any, verifier: str, name: BatchId, seat: int, leaf: int) -> None: ...

    async def graduate(self, operator: Key) -> None: ...

    async def challenge(
        self, client: Key, node: Address, slot: int, contents: BatchContents, position: int
    ) -> None: ...

    async def end_challenge(self, node: Address, slot: int, block: int) -> None: ...

    async def prove(
        self, node: Address, slot: int, contents: BatchContents, lie: Lie, opened: OpenedLeaf, papers: Papers
    ) -> None: ...

    async def pool(self) -> int: ...

    async def running(self, node: Address) -> Running: ...

    async def verifiers(self) -> list[ListSlot]: ...

    async def draw_audit(self, name: BatchId, *, drawn: bool = True) -> int: ...

    async def pause(self, seconds: int) -> None: ...

    async def resume(self) -> None: ...

    def adapter(
        self, operator: Key, client: Key | None = None, *, cursor: int | None = None
    ) -> AbstractAsyncContextManager[Any]: ...


OpenLedger = Callable[..., AbstractAsyncContextManager[Ledger]]


@asynccontextmanager
async def in_memory(**changes: int) -> AsyncIterator[Ledger]:
    yield MemoryLedger(**changes)


@pytest.fixture(params=["memory", pytest.param("anvil", marks=pytest.mark.anvil)])
def open_ledger(request: pytest.FixtureRequest) -> OpenLedger:
    """Opens a ledger of the local profile, with changes to its numbers."""
    return open_anvil_ledger if request.param == "anvil" else in_memory


@dataclass
class Scene:
    """A provider with a client's lane, verifiers, and what the provider's adapter does and tells."""

    ledger: Ledger
    adapter: Any
    story: Story
    orders: Orders
    seats: list[Any] = field(default_factory=list)

    async def final(self) -> None:
        """Until all that has happened counts as final and was told."""
        head, _ = await self.ledger.now()
        await self.ledger.mine(self.ledger.rules.final_depth)
        await self.story.until_block(head)

    async def open_lane(self, amount: int = LANE) -> None:
        _, now = await self.ledger.now()
        await self.adapter.perform(OpenLane(*self.orders.lane_open(amount, now + 600)))

    async def open_more(self, amount: int) -> None:
        """Takes so much more from the account into the lane."""
        _, now = await self.ledger.now()
        await self.adapter.perform(OpenLane(*self.orders.lane_open(amount, now + 600, prev_total=LANE)))

    async def submit(self, jobs: int = 3, **terms: Any) -> tuple[Batch, BatchMined]:
        for _ in range(jobs):
            self.orders.finish(**terms)
        batch = batch_of(NODE.address, 0, self.orders, checked=terms.get("checked", False))
        return batch, await self.adapter.perform(SubmitBatch(batch))

    async def seal(self, mined: BatchMined) -> None:
        rules = self.ledger.rules
        await self.ledger.mine(rules.epoch + rules.lag + 1)
        await self.adapter.perform(SealEpoch(epoch_of(mined.block, rules.epoch)))

    async def convene(self, **terms: Any) -> tuple[BatchId, BatchContents, CaseConvened]:
        """A batch in court."""
        _, mined = await self.submit(**terms)
        return await self.bring_to_court(mined)

    async def bring_to_court(self, mined: BatchMined) -> tuple[BatchId, BatchContents, CaseConvened]:
        await self.seal(mined)
        await self.final()
        name = BatchId(mined.batch_id)
        contents = (await self.story.until(BatchSubmitted, lambda told: told.batch_id == name)).contents
        await self.adapter.perform(ConveneCourt(name, NODE.address, mined.slot, contents))
        _, opened_at = await self.ledger.now()
        await self.final()
        case = await self.story.until(CaseConvened, lambda told: told.batch_id == name)
        assert case.timestamp == opened_at
        return name, contents, case

    def seat(self, node: str) -> Any:
        """The adapter of a verifier."""
        return self.seats[[verifier.address for verifier in VERIFIERS].index(node)]  # type: ignore[arg-type]

    async def commit(self, name: BatchId, seat: int, node: str, round_number: int = 0, evidence: int = 0) -> None:
        commitment = seat_commitment(name, round_number, seat, named(f"digest {seat}"), named("salt"), evidence)
        await self.seat(node).perform(CommitSeat(name, seat, commitment))

    async def reveal(self, name: BatchId, seat: int, node: str, scores: tuple[int, ...], evidence: int = 0) -> None:
        effect = RevealSeat(name, seat, named(f"digest {seat}"), scores, named("salt"), evidence)
        await self.seat(node).perform(effect)

    async def judge(self, name: BatchId, case: CaseConvened, *scores: int, evidence: int = 0) -> None:
        """Every seat commits, then every seat gives its score, the last of `scores` where there are fewer."""
        for seat, node in enumerate(case.seats):
            await self.commit(name, seat, node, evidence=evidence)
        for seat, node in enumerate(case.seats):
            score = scores[min(seat, len(scores) - 1)]
            await self.reveal(name, seat, node, (score,) * len(case.drawn), evidence)

    async def resolve_again(self, name: BatchId, contents: BatchContents) -> None:
        """By another node: to one that has asked before, the same wish is the same transaction until that is final."""
        await self.seats[0].perform(ResolveCase(name, contents))

    async def judge_again(self, name: BatchId, case: CaseConvened, score: int) -> dict[int, str]:
        """The seats of the second round, once they are told, give this score."""
        await self.final()
        grown = await self.story.until(CaseGrown)
        seats = {added.seat: str(added.node) for added in self.story.all(SeatAdded) if added.seat >= grown.first_seat}
        for seat, node in seats.items():
            await self.commit(name, seat, node, grown.round)
        for seat, node in seats.items():
            await self.reveal(name, seat, node, (score,) * len(case.drawn))
        return seats


@asynccontextmanager
async def scene(open_ledger: OpenLedger, *, verifiers: int = 0, **changes: int) -> AsyncIterator[Scene]:
    """One node, one client with 100 VCN, and so many verifiers."""
    with trio.fail_after(60):
        async with open_ledger(**changes) as ledger:
            await ledger.register(NODE)
            await ledger.deposit(CLIENT, 100 * VCN)
            for verifier in VERIFIERS[:verifiers]:
                await ledger.register(verifier)
                await ledger.join(verifier)
            async with ledger.adapter(NODE, CLIENT) as adapter, told_by(adapter) as story:
                made = Scene(ledger, adapter, story, Orders(CLIENT, NODE, ledger.domain))
                async with _adapters(ledger, VERIFIERS[:verifiers], made.seats):
                    yield made


@asynccontextmanager
async def _adapters(ledger: Ledger, keys: list[Key], into: list[Any]) -> AsyncIterator[None]:
    if not keys:
        yield
        return
    async with ledger.adapter(keys[0]) as first:
        into.append(first)
        async with _adapters(ledger, keys[1:], into):
            yield


async def refused(adapter: Any, effect: Any, error: str) -> Reverted:
    """Performs an effect that must be refused with this error."""
    with pytest.raises(Reverted, match=rf": {error}\(") as caught:
        await adapter.perform(effect)
    return caught.value


# --- money into lanes -----------------------------------------------------------------------------------------------
async def test_a_new_node_and_account_are_told_once_final(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.final()
        record = (await play.story.until(NodeSeen)).record
        assert (record.node_id, record.operator, record.active) == (NODE.address, NODE.address, True)
        assert (record.stake, record.score, record.rate_bps) == (10_000 * VCN, FRESH_SCORE, 10_000)
        assert (await play.story.until(AccountSeen)).account.free == 100 * VCN


async def test_a_lane_is_told_at_final_depth_and_not_before(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        block, _ = await play.ledger.now()
        await play.ledger.mine()
        await play.story.until(BlockSeen, lambda seen: seen.head > block)
        assert play.story.all(LaneSeen) == []
        await play.final()
        lane = (await play.story.until(LaneSeen)).lane
        assert (lane.client, lane.signer, lane.node) == (CLIENT.address, CLIENT.address, NODE.address)
        assert (lane.left, lane.mark, lane.jobs, lane.closing) == (LANE, 0, 0, False)
        await play.story.until(AccountSeen, lambda seen: seen.account.free == 100 * VCN - LANE)


async def test_a_lane_asked_for_twice_is_opened_once(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        _, now = await play.ledger.now()
        effect = OpenLane(*play.orders.lane_open(LANE, now + 600))
        first, again = await play.adapter.perform(effect), await play.adapter.perform(effect)
        assert isinstance(first, TransactionMined)
        assert isinstance(again, TransactionMined)
        await play.final()
        assert {seen.lane.left for seen in play.story.all(LaneSeen)} == {LANE}


async def test_a_lane_of_somebody_else_is_not_opened(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        _, now = await play.ledger.now()
        order, _ = play.orders.lane_open(LANE, now + 600)
        forged = NODE.sign(order, play.ledger.domain)
        async with play.ledger.adapter(NODE) as thief:
            await refused(thief, OpenLane(order, forged), "BadLaneSignature")


async def test_a_lane_takes_no_more_than_is_free(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        _, now = await play.ledger.now()
        await refused(play.adapter, OpenLane(*play.orders.lane_open(101 * VCN, now + 600)), "NotEnoughFree")


async def test_an_order_for_more_than_a_lane_had_is_refused(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        _, now = await play.ledger.now()
        await play.open_lane(10 * VCN)
        order = play.orders.lane_open(20 * VCN, now + 600, prev_total=10 * VCN + 1)
        await refused(play.adapter, OpenLane(*order), "LaneMoved")


async def test_a_lane_that_a_batch_moved_is_opened_further_once(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        batch, _ = await play.submit(1, delivered=1)
        (claim,), (debit,) = batch.claims, batch.debits
        # A bill below what was ordered lets mark and left together rise.
        assert claim.cumulative > debit
        _, now = await play.ledger.now()
        effect = OpenLane(*play.orders.lane_open(20 * VCN, now + 600, prev_total=LANE))
        for _ in range(2):
            assert isinstance(await play.adapter.perform(effect), TransactionMined)
        await play.final()
        lane = (await play.story.until(LaneSeen, lambda seen: seen.lane.left > LANE)).lane
        assert lane.left == LANE - debit + 20 * VCN
        await play.story.until(AccountSeen, lambda seen: seen.account.free == 100 * VCN - LANE - 20 * VCN)


# --- batches --------------------------------------------------------------------------------------------------------
async def test_a_batch_is_named_by_its_block_and_told_with_its_contents(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        batch, mined = await play.submit(3)
        assert mined.batch_id == batch_id(NODE.address, 0, mined.block)
        assert (mined.slot, mined.root) == (0, batch.root)
        await play.final()
        told = await play.story.until(BatchSubmitted)
        assert (told.batch_id, told.block, told.leaf_count, told.rate_bps) == (mined.batch_id, mined.block, 3, 10_000)
        assert (told.contents.root, told.contents.max_leaf, told.lane_jobs) == (batch.root, PRICE, (3,))
        assert told.sums == sums_of(batch)
        (debit,) = told.contents.debits
        assert (debit.client, debit.leaves, debit.amount) == (CLIENT.address, 3, batch.debits[0])
        lane = (await play.story.until(LaneSeen, lambda seen: seen.lane.jobs == 3)).lane
        assert (lane.left, lane.mark) == (LANE - debit.amount, batch.claims[0].cumulative)


async def test_a_batch_asked_for_twice_is_mined_once(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        batch, mined = await play.submit(2)
        assert await play.adapter.perform(SubmitBatch(batch)) == mined


async def test_a_batch_without_receipts_is_refused_once_it_is_too_late(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        _, now = await play.ledger.now()
        play.orders.finish(receipted=False)
        late = batch_of(NODE.address, 0, play.orders, mine_by=now - 1)
        await refused(play.adapter, SubmitBatch(late), "StaleJob")
        await play.adapter.perform(SubmitBatch(replace(late, mine_by=now + 600)))
        await play.final()
        assert (await play.story.until(BatchSubmitted)).unreceipted


async def test_a_batch_of_another_node_is_refused(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=1) as play:
        await play.open_lane()
        play.orders.finish()
        await refused(play.seats[0], SubmitBatch(batch_of(NODE.address, 0, play.orders)), "NotOperator")


async def test_a_batch_over_the_clients_order_is_refused(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        play.orders.finish()
        entry = play.orders.jobs[0]
        assert entry.job is not None
        play.orders.cumulative = 0
        play.orders.finish(price=VCN)
        await refused(play.adapter, SubmitBatch(batch_of(NODE.address, 0, play.orders)), "OverSigned")


async def test_a_batch_of_a_lane_that_was_never_opened_is_refused(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        play.orders.finish()
        await refused(play.adapter, SubmitBatch(batch_of(NODE.address, 0, play.orders)), "LaneNotOpen")


async def test_a_price_above_the_stakes_share_is_refused(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.ledger.deposit(CLIENT, 400 * VCN)
        await play.open_lane(400 * VCN)
        play.orders.finish(price=251 * VCN)
        await refused(play.adapter, SubmitBatch(batch_of(NODE.address, 0, play.orders)), "LeafTooBig")


async def test_a_batch_on_probation_has_at_most_twenty_leaves(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        for _ in range(PROBATION_JOBS):
            play.orders.finish(price=VCN)
        full = batch_of(NODE.address, 0, play.orders)
        play.orders.finish(price=VCN)
        await refused(play.adapter, SubmitBatch(batch_of(NODE.address, 0, play.orders)), "TooManyLeaves")
        mined = await play.adapter.perform(SubmitBatch(full))
        assert mined.root == full.root


async def test_a_slot_holds_one_open_batch(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        await play.submit(1)
        play.orders.finish()
        await refused(play.adapter, SubmitBatch(batch_of(NODE.address, 0, play.orders)), "SlotBusy")


async def test_a_batch_that_is_ready_leaves_its_slot_to_the_next(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        play.orders.finish()
        following = SubmitBatch(batch_of(NODE.address, 0, play.orders))
        await refused(play.adapter, following, "SlotBusy")
        await play.judge(name, case, 10_000)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        mined = await play.adapter.perform(following)
        await play.final()
        await play.story.until(BatchSettled, lambda told: told.batch_id == name)
        told = await play.story.until(BatchSubmitted, lambda told: told.batch_id == mined.batch_id)
        assert told.slot == 0


# --- the draw -------------------------------------------------------------------------------------------------------
async def test_a_seed_comes_after_its_block_and_once(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        _, mined = await play.submit(1)
        epoch = epoch_of(mined.block, play.ledger.rules.epoch)
        assert (await refused(play.adapter, SealEpoch(epoch), "SeedNotYet")).transient
        await play.seal(mined)
        await play.adapter.perform(SealEpoch(epoch))
        await play.final()
        seed = await play.story.until(SeedRevealed)
        assert (seed.epoch, len(seed.seed), len(play.story.all(SeedRevealed))) == (epoch, 32, 1)


async def test_the_court_checks_the_leaves_that_anyone_can_foresee(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=4) as play:
        await play.open_lane()
        name, _, case = await play.convene(jobs=3)
        seed, told = await play.story.until(SeedRevealed), await play.story.until(BatchSubmitted)
        assert case.drawn == draw_samples(batch_seed(seed.seed, name), told.leaf_count, told.rate_bps)
        assert (case.batch_id, case.node, case.slot, case.class_id) == (name, NODE.address, 0, 1)
        assert len(set(case.seats)) == 3
        assert set(case.seats) <= {verifier.address for verifier in VERIFIERS}


async def test_a_case_opened_by_somebody_else_counts_as_done(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, _ = await play.convene()
        again = await play.seats[0].perform(ConveneCourt(name, NODE.address, 0, contents))
        assert isinstance(again, TransactionMined)


# --- a case that passes ---------------------------------------------------------------------------------------------
async def test_a_batch_that_passes_is_paid_as_the_split_says(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene(jobs=3)
        batch_told = await play.story.until(BatchSubmitted)
        await play.judge(name, case, 9_800)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.adapter.perform(ResolveCase(name, contents))
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        await play.adapter.perform(FinalizeBatch(name, NODE.address, 0))
        await play.adapter.perform(FinalizeBatch(name, NODE.address, 0))
        await play.final()
        committed = [(seen.seat, seen.batch_id) for seen in play.story.all(SeatCommitted)]
        assert committed == [(0, name), (1, name), (2, name)]
        revealed = play.story.all(SeatRevealed)
        assert [(seen.node, seen.scores) for seen in revealed] == [(node, (9_800,) * 3) for node in case.seats]
        resolved = await play.story.until(CaseResolved)
        assert (resolved.batch_id, resolved.verdict, resolved.median) == (name, Verdict.PASS, 9_800)
        charge, bonus = 3 * PRICE, 3 * (PRICE * 9 // 100)
        fee = batch_told.contents.debits[0].amount - charge - bonus
        expected = split(charge, fee, bonus, FRESH_SCORE)
        settled = await play.story.until(BatchSettled)
        assert (settled.price, settled.burned, settled.reward) == (charge, expected.burned, expected.reward)
        assert (settled.bonus, settled.pooled) == (bonus, expected.pooled)
        assert settled.burned + settled.reward + settled.bonus + settled.pooled == charge + fee + bonus
        before = next(seen.record for seen in play.story.all(NodeSeen) if seen.record.node_id == NODE.address)
        after = [seen.record for seen in play.story.all(NodeSeen) if seen.record.node_id == NODE.address][-1]
        assert after.score > before.score


async def test_a_batch_is_not_final_before_its_window_and_its_court(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3, challenge_seconds=100, unbonding_seconds=800) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.judge(name, case, 9_800)
        await play.adapter.perform(ResolveCase(name, contents))
        early = await refused(play.adapter, FinalizeBatch(name, NODE.address, 0), "WindowOpen")
        assert early.transient


async def test_a_drawn_batch_needs_its_court(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        _, mined = await play.submit()
        await play.seal(mined)
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        await refused(play.adapter, FinalizeBatch(mined.batch_id, NODE.address, 0), "NeedsCourt")


# --- seats ----------------------------------------------------------------------------------------------------------
async def test_no_seat_reveals_before_all_are_bound(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, _, case = await play.convene()
        await play.commit(name, 0, case.seats[0])
        effect = RevealSeat(name, 0, named("digest 0"), (9_800,) * 3, named("salt"))
        assert (await refused(play.seat(case.seats[0]), effect, "SeatsMissing")).transient


async def test_a_seat_reveals_what_it_committed_to(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, _, case = await play.convene()
        for seat, node in enumerate(case.seats):
            await play.commit(name, seat, node)
        effect = RevealSeat(name, 0, named("another digest"), (9_800,) * 3, named("salt"))
        await refused(play.seat(case.seats[0]), effect, "CommitmentMismatch")


async def test_a_seat_is_taken_by_its_own_node(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, _, case = await play.convene()
        await refused(play.seat(case.seats[1]), CommitSeat(name, 0, named("commitment")), "NotSeated")


async def test_a_commitment_sent_twice_counts_once(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, _, case = await play.convene()
        await play.commit(name, 0, case.seats[0])
        await play.commit(name, 0, case.seats[0])
        other = CommitSeat(name, 0, named("another commitment"))
        await refused(play.seat(case.seats[0]), other, "AlreadyCommitted")


async def test_a_silent_seat_is_replaced_by_the_next_of_the_order(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=4) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.commit(name, 0, case.seats[0])
        await play.commit(name, 2, case.seats[2])
        early = await refused(play.adapter, ReplaceSeat(name, 1, contents), "SeatStillHasTime")
        assert early.transient
        await play.ledger.warp(play.ledger.rules.seat_window_s + 1)
        await play.adapter.perform(ReplaceSeat(name, 1, contents))
        _, replaced_at = await play.ledger.now()
        await play.adapter.perform(ReplaceSeat(name, 1, contents))
        await play.final()
        silent, added = await play.story.until(SeatSilenced), await play.story.until(SeatAdded)
        assert (silent.seat, silent.node) == (1, case.seats[1])
        assert added.timestamp == replaced_at
        slashed = await play.story.until(NodeSlashed)
        assert (slashed.node, slashed.amount, slashed.batch_id) == (silent.node, 50 * VCN, name)
        assert (added.seat, added.node) == (3, ({v.address for v in VERIFIERS[:4]} - set(case.seats)).pop())
        await play.commit(name, 3, added.node)
        for seat, node in ((0, case.seats[0]), (2, case.seats[2]), (3, added.node)):
            await play.reveal(name, seat, node, (9_900,) * 3)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.final()
        assert (await play.story.until(CaseResolved)).verdict is Verdict.PASS


async def test_a_seat_steps_down_for_the_next_of_the_order_and_loses_nothing(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=4) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.commit(name, 0, case.seats[0])
        for _ in range(2):
            stepped = await play.seat(case.seats[1]).perform(AbstainSeat(name, 1, contents))
            assert isinstance(stepped, TransactionMined)
        _, left_at = await play.ledger.now()
        await refused(play.seat(case.seats[0]), AbstainSeat(name, 0, contents), "AlreadyCommitted")
        await refused(play.seat(case.seats[0]), AbstainSeat(name, 2, contents), "NotSeated")
        await play.final()
        silent, added = await play.story.until(SeatSilenced), await play.story.until(SeatAdded)
        assert (silent.seat, silent.node) == (1, case.seats[1])
        assert (added.seat, added.node) == (3, ({v.address for v in VERIFIERS[:4]} - set(case.seats)).pop())
        assert added.timestamp <= left_at
        assert play.story.all(NodeSlashed) == []
        records = [seen.record for seen in play.story.all(NodeSeen) if seen.record.node_id == silent.node]
        assert {(record.score, record.stake) for record in records} == {(FRESH_SCORE, 10_000 * VCN)}


async def test_a_node_steps_down_once_a_day(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene(jobs=1)
        await play.seat(case.seats[0]).perform(AbstainSeat(name, 0, contents))
        play.orders.finish()
        mined = await play.adapter.perform(SubmitBatch(batch_of(NODE.address, 1, play.orders)))
        name, contents, again = await play.bring_to_court(mined)
        seat = again.seats.index(case.seats[0])
        effect = AbstainSeat(name, seat, contents)
        late = await refused(play.seat(case.seats[0]), effect, "AbstainedToday")
        assert (late.transient, "stepped down once today and stays" in str(late)) == (False, True)
        # Another node may still.
        other = (seat + 1) % 3
        await play.seat(again.seats[other]).perform(AbstainSeat(name, other, contents))
        await play.commit(name, seat, case.seats[0])


async def test_a_seat_steps_down_in_the_first_quarter_of_its_turn(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.ledger.warp(play.ledger.rules.seat_window_s // 4 + 1)
        late = await refused(play.seat(case.seats[0]), AbstainSeat(name, 0, contents), "TooLateToAbstain")
        assert not late.transient


async def test_one_seat_can_only_pass(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3, court_value=1_000 * VCN) as play:
        await play.open_lane()
        name, contents, case = await play.convene(jobs=1)
        assert len(case.seats) == 1
        await play.judge(name, case, 8_000)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.final()
        assert play.story.all(CaseResolved) == []
        assert [seen.seat for seen in play.story.all(SeatAdded)] == [1, 2]


# --- margins --------------------------------------------------------------------------------------------------------
async def judged_with(play: Scene, slot: int, evidence: int) -> tuple[BatchId, BatchContents, CaseConvened]:
    """One more case, whose seats find nothing but what they say of the margins; whoever may counts it."""
    play.orders.finish()
    mined = await play.adapter.perform(SubmitBatch(batch_of(NODE.address, slot, play.orders)))
    name, contents, case = await play.bring_to_court(mined)
    await play.judge(name, case, 9_900, evidence=evidence)
    await play.adapter.perform(ResolveCase(name, contents))
    await play.final()
    return name, contents, case


async def test_margins_add_up_over_cases_until_they_are_fraud(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        sums = []
        for slot, evidence in enumerate((-20_000, 3_000, 6_000, 6_000, -500, 6_000)):
            await judged_with(play, slot, evidence)
            sums.append((await play.ledger.running(NODE.address)).confirmed)
        assert sums == [0, 3_000, 8_355, 13_710, 13_210, 18_565]
        assert {seen.evidence for seen in play.story.all(SeatRevealed)} == {-20_000, 3_000, 6_000, -500}
        assert {seen.verdict for seen in play.story.all(CaseResolved)} == {Verdict.PASS}
        assert play.story.all(NodeSlashed) == []
        name, _, _ = await judged_with(play, 6, 2_852)
        resolved = await play.story.until(CaseResolved, lambda told: told.batch_id == name)
        assert (resolved.verdict, resolved.median) == (Verdict.SEVERE, 9_900)
        assert (await play.story.until(NodeSlashed)).amount == 5_000 * VCN
        assert await play.ledger.running(NODE.address) == Running()


async def test_a_new_node_has_a_head_start_and_is_found_in_two_cases(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        assert await play.ledger.running(NODE.address) == Running(HEAD_START, HEAD_START)
        await judged_with(play, 0, -700)
        assert await play.ledger.running(NODE.address) == Running(HEAD_START - 700, HEAD_START - 700)
        await judged_with(play, 1, 6_000)
        assert await play.ledger.running(NODE.address) == Running(HEAD_START + 4_655, HEAD_START + 4_655)
        name, _, _ = await judged_with(play, 2, RUNNING_ALARM - HEAD_START - 4_655)
        resolved = await play.story.until(CaseResolved, lambda told: told.batch_id == name)
        assert resolved.verdict is Verdict.SEVERE
        assert await play.ledger.running(NODE.address) == Running(HEAD_START, HEAD_START)


async def test_margins_that_are_fraud_may_be_appealed(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=10) as play:
        await play.open_lane()
        # Two are enough of a node that has a head start.
        await judged_with(play, 0, 6_000)
        name, contents, case = await judged_with(play, 1, 6_000)
        decided = await play.story.until(CaseDecided)
        assert (decided.batch_id, decided.verdict, decided.median) == (name, Verdict.SEVERE, 9_900)
        await play.ledger.appeal(NODE, name, contents)
        await play.judge_again(name, case, 9_800)
        await play.resolve_again(name, contents)
        await play.final()
        resolved = await play.story.until(CaseResolved, lambda told: told.batch_id == name)
        assert resolved.verdict is Verdict.PASS
        assert (await play.ledger.running(NODE.address)).confirmed == HEAD_START + 5_355


async def test_one_seat_confirms_nothing_and_is_joined_by_two_where_it_says_too_much(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3, court_value=1_000 * VCN) as play:
        await play.open_lane()
        await judged_with(play, 0, -HEAD_START)
        assert await play.ledger.running(NODE.address) == Running(0, 0)
        await judged_with(play, 1, 4_604)
        assert await play.ledger.running(NODE.address) == Running(4_604, 0)
        name, contents, _ = await judged_with(play, 2, 1)
        added = {seen.seat: seen.node for seen in play.story.all(SeatAdded) if seen.batch_id == name}
        assert sorted(added) == [1, 2]
        for seat, node in added.items():
            await play.commit(name, seat, node, evidence=-seat)
        for seat, node in added.items():
            await play.reveal(name, seat, node, (9_900,), -seat)
        await play.resolve_again(name, contents)
        await play.final()
        assert (await play.story.until(CaseResolved, lambda told: told.batch_id == name)).verdict is Verdict.PASS
        assert await play.ledger.running(NODE.address) == Running(4_603, 0)


# --- a case that goes on --------------------------------------------------------------------------------------------
async def test_a_quarrel_is_decided_by_seven_others(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=10) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.judge(name, case, 2_000, 9_900)
        await play.adapter.perform(ResolveCase(name, contents))
        seats = await play.judge_again(name, case, 9_800)
        grown = play.story.all(CaseGrown)[0]
        assert (grown.round, grown.first_seat, grown.standing, grown.median) == (1, 3, Verdict.PASS, 9_900)
        assert set(seats) == set(range(3, 10))
        assert len({*seats.values(), *case.seats}) == 10
        await play.resolve_again(name, contents)
        await play.final()
        resolved = await play.story.until(CaseResolved)
        assert (resolved.verdict, resolved.median) == (Verdict.PASS, 9_800)
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        await play.adapter.perform(FinalizeBatch(name, NODE.address, 0))


async def test_with_five_verifiers_old_seats_sit_again(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=5) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.judge(name, case, 9_500)
        await play.adapter.perform(ResolveCase(name, contents))
        seats = await play.judge_again(name, case, 9_600)
        assert list(seats.values())[2:] == list(case.seats)
        await play.resolve_again(name, contents)
        await play.final()
        assert (await play.story.until(CaseResolved)).verdict is Verdict.PASS


async def test_fraud_that_three_seats_find_waits_for_an_appeal(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=10) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.judge(name, case, 2_000)
        await play.adapter.perform(ResolveCase(name, contents))
        _, decided_at = await play.ledger.now()
        assert (await refused(play.seats[1], ResolveCase(name, contents), "RulingWaits")).transient
        effect = VoidStarved(name, NODE.address, 0, contents)
        assert (await refused(play.adapter, effect, "NotStarved")).transient
        await play.final()
        decided = await play.story.until(CaseDecided)
        assert (decided.verdict, decided.median, decided.until) == (Verdict.SEVERE, 2_000, decided_at + 20)
        assert play.story.all(NodeSlashed) == []
        await play.ledger.warp(21)
        await play.resolve_again(name, contents)
        await play.resolve_again(name, contents)
        await play.final()
        resolved = await play.story.until(CaseResolved)
        assert (resolved.verdict, resolved.median) == (Verdict.SEVERE, 2_000)
        assert (await play.story.until(NodeSlashed)).amount == 5_000 * VCN


@pytest.mark.parametrize(("score", "verdict"), [(9_900, Verdict.PASS), (1_000, Verdict.SEVERE)])
async def test_an_appeal_is_decided_by_seven_others(open_ledger: OpenLedger, score: int, verdict: Verdict) -> None:
    async with scene(open_ledger, verifiers=10) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.judge(name, case, 2_000)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.ledger.appeal(NODE, name, contents)
        await play.judge_again(name, case, score)
        await play.resolve_again(name, contents)
        await play.final()
        assert (await play.story.until(CaseResolved)).verdict is verdict
        assert bool(play.story.all(NodeSlashed)) is (verdict is Verdict.SEVERE)


async def test_what_a_seat_demands_is_answered_on_chain(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        _, before = await play.ledger.now()
        await play.ledger.demand(play.seat(case.seats[1]), case.seats[1], name, 1, case.drawn[0])
        effect = CommitSeat(name, 0, named("commitment"))
        assert (await refused(play.seat(case.seats[0]), effect, "CaseWaits")).transient
        answer = AnswerDemand(name, b"the leaf and its papers")
        for _ in range(2):
            assert isinstance(await play.adapter.perform(answer), TransactionMined)
        _, answered_at = await play.ledger.now()
        await play.final()
        demanded, answered = await play.story.until(DataDemanded), await play.story.until(DataAnswered)
        assert (demanded.seat, demanded.leaf_index, demanded.hpke_key) == (1, case.drawn[0], named("key"))
        assert before + 20 <= demanded.until <= answered_at + 20
        assert (answered.data, answered.timestamp) == (answer.data, answered_at)
        await play.judge(name, case, 9_800)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.final()
        assert (await play.story.until(CaseResolved)).verdict is Verdict.PASS


async def test_a_case_takes_one_demand_from_whichever_seat_is_first(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, _, case = await play.convene()
        first = DemandData(name, 1, case.drawn[0], named("key"))
        late = DemandData(name, 0, case.drawn[1], named("another key"))
        await refused(play.seat(case.seats[1]), replace(first, leaf_index=99), "LeafNotDrawn")
        await refused(play.seat(case.seats[0]), first, "NotSeated")
        # Again while the case waits, and once it was answered.
        for node, effect in ((1, first), (1, first), (0, late)):
            assert isinstance(await play.seat(case.seats[node]).perform(effect), TransactionMined)
        await play.adapter.perform(AnswerDemand(name, b"the leaf and its papers"))
        for node, effect in ((1, first), (0, late)):
            assert isinstance(await play.seat(case.seats[node]).perform(effect), TransactionMined)
        await play.judge(name, case, 9_800)
        await play.final()
        (demanded,) = play.story.all(DataDemanded)
        assert (demanded.seat, demanded.leaf_index, demanded.hpke_key) == (1, case.drawn[0], named("key"))
        assert len(play.story.all(DataAnswered)) == 1


async def test_fingerprints_are_demanded_once_all_are_bound(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, _, case = await play.convene()
        await play.commit(name, 0, case.seats[0])
        effect = DemandData(name, 0, case.drawn[0], named("key"))
        assert (await refused(play.seat(case.seats[0]), effect, "SeatsMissing")).transient
        for seat in (1, 2):
            await play.commit(name, seat, case.seats[seat])
        await play.reveal(name, 1, case.seats[1], (9_800,) * 3)
        await refused(play.seat(case.seats[1]), replace(effect, seat=1), "AlreadyRevealed")
        await play.seat(case.seats[0]).perform(effect)
        await play.final()
        assert (await play.story.until(DataDemanded)).seat == 0


async def test_a_node_that_withholds_loses_ten_times_its_batch(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.ledger.demand(play.seat(case.seats[0]), case.seats[0], name, 0, case.drawn[0])
        assert (await refused(play.adapter, ResolveCase(name, contents), "RulingWaits")).transient
        await play.ledger.warp(21)
        await refused(play.adapter, AnswerDemand(name, b"too late"), "TooLate")
        await play.adapter.perform(ResolveCase(name, contents))
        await play.final()
        assert (await play.story.until(CaseResolved)).verdict is Verdict.WITHHELD
        value, stake = sum(debit.amount for debit in contents.debits), 10_000 * VCN
        bps = -(-10 * value * 10_000 // stake)
        slashed = await play.story.until(NodeSlashed)
        assert (slashed.node, slashed.amount) == (NODE.address, -(-stake * bps // 10_000))
        assert (
            await play.story.until(NodeSeen, lambda seen: not seen.record.active)
        ).record.stake == stake - slashed.amount


# --- a case that ends badly -----------------------------------------------------------------------------------------
async def test_fraud_costs_the_stake_and_pays_the_client_back(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene(jobs=3)
        await play.judge(name, case, 2_000)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.final()
        resolved = await play.story.until(CaseResolved)
        assert (resolved.verdict, resolved.median) == (Verdict.SEVERE, 2_000)
        slashed = await play.story.until(NodeSlashed)
        assert (slashed.node, slashed.amount, slashed.batch_id) == (NODE.address, 5_000 * VCN, name)
        assert (await play.story.until(BatchVoided)).batch_id == name
        record = (await play.story.until(NodeSeen, lambda seen: not seen.record.active)).record
        assert (record.node_id, record.stake) == (NODE.address, 5_000 * VCN)
        await refused(play.adapter, FinalizeBatch(name, NODE.address, 0), "WrongState")
        await play.adapter.perform(RefundBatch(name, NODE.address, 0, contents))
        await play.adapter.perform(RefundBatch(name, NODE.address, 0, contents))
        await play.final()
        assert (await play.story.until(BatchRefunded)).batch_id == name
        lane = play.story.all(LaneSeen)[-1].lane
        assert (lane.left, lane.jobs) == (LANE, 3)
        play.orders.finish()
        await refused(play.adapter, SubmitBatch(batch_of(NODE.address, 0, play.orders)), "NodeNotActive")


async def test_a_doubtful_batch_is_void_and_not_slashed(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.judge(name, case, 9_500)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.final()
        assert (await play.story.until(CaseResolved)).verdict is Verdict.REVIEW
        assert play.story.all(NodeSlashed) == []
        assert (await play.story.until(BatchVoided)).batch_id == name


# --- checks that clients pay for -----------------------------------------------------------------------------------
async def test_a_checked_batch_of_a_proven_node_is_drawn_whole_and_pays_its_seats_by_half(
    open_ledger: OpenLedger,
) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        await play.ledger.graduate(NODE)
        before = await play.ledger.pool()
        name, contents, case = await play.convene(checked=True)
        told = await play.story.until(BatchSubmitted)
        assert (told.checked, told.unreceipted, told.rate_bps, case.drawn) == (True, False, 10_000, (0, 1, 2))
        charge, bonus = told.sums.charge, told.sums.bonus
        fee = -(-charge // 2)
        assert contents.debits[0].amount == charge + fee + bonus
        await play.judge(name, case, 10_000)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.ledger.warp(OPEN_S)
        await play.adapter.perform(FinalizeBatch(name, NODE.address, 0))
        await play.final()
        settled = await play.story.until(BatchSettled)
        # All of the fee is with the seats and the node that convened; a wei a seat stays.
        assert 0 <= await play.ledger.pool() - before - (settled.pooled - fee) < 3


async def test_an_order_that_pays_a_twentieth_pays_for_no_checked_batch(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        play.orders.finish()
        await refused(play.adapter, SubmitBatch(batch_of(NODE.address, 0, play.orders, checked=True)), "OverSigned")


async def test_a_doubt_about_a_checked_batch_costs_its_client_the_fee(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene(checked=True)
        await play.judge(name, case, 9_500)
        await play.adapter.perform(ResolveCase(name, contents))
        before = await play.ledger.pool()
        await play.adapter.perform(RefundBatch(name, NODE.address, 0, contents))
        await play.final()
        told, back = await play.story.until(BatchSubmitted), await play.story.until(BatchRefunded)
        fee = -(-told.sums.charge // 2)
        assert back == BatchRefunded(name, NODE.address, contents.debits[0].amount - fee)
        assert play.story.all(LaneSeen)[-1].lane.left == LANE - fee
        assert await play.ledger.pool() - before == fee


async def test_fraud_in_a_checked_batch_costs_its_client_nothing(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene(checked=True)
        await play.judge(name, case, 0)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.adapter.perform(RefundBatch(name, NODE.address, 0, contents))
        await play.final()
        assert (await play.story.until(BatchRefunded)).amount == contents.debits[0].amount
        assert play.story.all(LaneSeen)[-1].lane.left == LANE


@pytest.mark.parametrize(
    ("ordered", "lie", "other"),
    [(True, Lie.NOT_CHECKED, Lie.FEE_NOT_AGREED), (False, Lie.FEE_NOT_AGREED, Lie.NOT_CHECKED)],
)
async def test_a_batch_that_is_checked_otherwise_than_ordered_is_condemned(
    open_ledger: OpenLedger, ordered: bool, lie: Lie, other: Lie
) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        # Of what the first one leaves in the lane a false fee would be paid.
        entries = [play.orders.finish(delivered=1), play.orders.finish(checked=ordered)]
        batch = batch_of(NODE.address, 0, play.orders, checked=not ordered)
        mined = await play.adapter.perform(SubmitBatch(batch))
        await play.final()
        contents = (await play.story.until(BatchSubmitted)).contents
        opened = OpenedLeaf(1, entries[1].leaf, path([entry.leaf.node for entry in entries], 1))
        job = entries[1].job
        assert job is not None
        papers = Papers(details=job.details)
        for wrong in (other, Lie.NOT_AGREED):
            with pytest.raises(Reverted, match=r": NoLie\("):
                await play.ledger.prove(NODE.address, 0, contents, wrong, opened, papers)
        await play.ledger.prove(NODE.address, 0, contents, lie, opened, papers)
        await play.final()
        assert (await play.story.until(BatchVoided)).batch_id == mined.batch_id
        assert (await play.story.until(NodeSlashed)).amount == 5_000 * VCN


async def test_contents_of_another_batch_are_refused(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        _, mined = await play.submit()
        await play.seal(mined)
        await play.final()
        true = (await play.story.until(BatchSubmitted)).contents
        false = BatchContents(true.root, true.max_leaf + 1, true.debits)
        await refused(play.adapter, ConveneCourt(mined.batch_id, NODE.address, 0, false), "WrongContents")


async def test_a_batch_that_nobody_brings_to_court_starves(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        _, mined = await play.submit()
        await play.seal(mined)
        await play.final()
        contents = (await play.story.until(BatchSubmitted)).contents
        effect = VoidStarved(mined.batch_id, NODE.address, 0, contents)
        assert (await refused(play.adapter, effect, "NotStarved")).transient
        await play.ledger.warp(play.ledger.rules.starved_s + 1)
        await play.adapter.perform(effect)
        await play.adapter.perform(effect)
        await play.final()
        assert (await play.story.until(CaseResolved)).verdict is Verdict.STARVED
        assert (await play.story.until(BatchVoided)).batch_id == mined.batch_id


async def test_nobody_to_judge_opens_no_case(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        _, mined = await play.submit()
        await play.seal(mined)
        await play.final()
        contents = (await play.story.until(BatchSubmitted)).contents
        await refused(play.adapter, ConveneCourt(mined.batch_id, NODE.address, 0, contents), "NoSeats")


# --- a batch that nobody would have checked -----------------------------------------------------------------------
@dataclass
class Unchecked:
    """A batch of a node that is trusted: few of its leaves are drawn, or none."""

    play: Scene
    name: BatchId
    block: int
    contents: BatchContents

    @classmethod
    async def of(cls, play: Scene, jobs: int = 3) -> "Unchecked":
        await play.open_lane()
        await play.ledger.graduate(NODE)
        _, mined = await play.submit(jobs)
        await play.final()
        told = await play.story.until(BatchSubmitted)
        assert told.rate_bps == 1_000
        return cls(play, BatchId(mined.batch_id), mined.block, told.contents)

    async def challenge(self, client: Key = CLIENT, position: int = 0) -> None:
        await self.play.ledger.challenge(client, NODE.address, 0, self.contents, position)

    async def end(self) -> None:
        await self.play.ledger.end_challenge(NODE.address, 0, self.block)

    async def is_refused(self, error: str, client: Key = CLIENT, position: int = 0) -> None:
        with pytest.raises(Reverted, match=rf": {error}\("):
            await self.challenge(client, position)

    async def never_ends(self, error: str) -> None:
        with pytest.raises(Reverted, match=rf": {error}\("):
            await self.end()

    async def judge(self, score: int) -> CaseConvened:
        """Brings it to court, where every seat gives this score."""
        mined = BatchMined(self.name, 0, self.block, self.contents.root)
        _, _, case = await self.play.bring_to_court(mined)
        await self.play.judge(self.name, case, score)
        await self.play.adapter.perform(ResolveCase(self.name, self.contents))
        return case


def account(story: Story) -> int:
    """What the client has free, as it was told last."""
    return story.all(AccountSeen)[-1].account.free


@pytest.mark.parametrize("smallest", [1, 10 * VCN])
async def test_a_challenged_batch_is_drawn_in_full_for_a_bond(open_ledger: OpenLedger, smallest: int) -> None:
    async with scene(open_ledger, verifiers=3, min_deposit=smallest, **OPEN) as play:
        batch = await Unchecked.of(play)
        await batch.challenge(position=2)
        await play.final()
        told = await play.story.until(BatchChallenged)
        assert told == BatchChallenged(batch.name, NODE.address, CLIENT.address, 2)
        bond = max(smallest, 10 * 3 * verify_fee(PRICE))
        assert account(play.story) == 100 * VCN - LANE - bond
        await play.seal(BatchMined(batch.name, 0, batch.block, batch.contents.root))
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        await refused(play.adapter, FinalizeBatch(batch.name, NODE.address, 0), "NeedsCourt")
        await play.adapter.perform(ConveneCourt(batch.name, NODE.address, 0, batch.contents))
        await play.final()
        assert (await play.story.until(CaseConvened)).drawn == (0, 1, 2)
        async with play.ledger.adapter(VERIFIERS[0]) as late, told_by(late) as story:
            assert await story.until(BatchChallenged) == told


async def test_the_bond_of_a_batch_that_passes_goes_to_the_pool(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3, **OPEN) as play:
        batch = await Unchecked.of(play)
        await batch.challenge()
        await batch.never_ends("StillOpen")
        await batch.judge(9_800)
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        await batch.never_ends("StillOpen")
        await play.adapter.perform(FinalizeBatch(batch.name, NODE.address, 0))
        before = await play.ledger.pool()
        await batch.end()
        assert await play.ledger.pool() == before + 10 * VCN
        await batch.never_ends("NoChallenge")
        await play.final()
        assert account(play.story) == 100 * VCN - LANE - 10 * VCN


async def test_the_bond_of_a_batch_that_is_void_comes_back(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3, **OPEN) as play:
        batch = await Unchecked.of(play)
        await batch.challenge()
        await batch.judge(2_000)
        before = await play.ledger.pool()
        await batch.end()
        assert await play.ledger.pool() == before
        await play.final()
        assert (await play.story.until(CaseResolved)).verdict is Verdict.SEVERE
        assert account(play.story) == 100 * VCN - LANE


@pytest.mark.parametrize(("score", "kept"), [(9_800, True), (9_400, False)])
async def test_a_bond_is_settled_by_its_case_where_the_slot_is_used_again(
    open_ledger: OpenLedger, score: int, kept: bool
) -> None:
    async with scene(open_ledger, verifiers=3, **OPEN) as play:
        batch = await Unchecked.of(play)
        await batch.challenge()
        await batch.judge(score)
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        if kept:
            await play.adapter.perform(FinalizeBatch(batch.name, NODE.address, 0))
        else:
            await play.adapter.perform(RefundBatch(batch.name, NODE.address, 0, batch.contents))
        _, mined = await play.submit(1)
        with pytest.raises(Reverted, match=r": NoChallenge\("):
            await play.ledger.end_challenge(NODE.address, 0, mined.block)
        before = await play.ledger.pool()
        await batch.end()
        assert await play.ledger.pool() - before == (10 * VCN if kept else 0)


async def test_a_client_that_has_a_batch_checked_and_was_right_has_its_bond_back(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3, **OPEN) as play:
        batch = await Unchecked.of(play)
        effect = ChallengeLeaf(batch.name, NODE.address, 0, batch.contents, 1)
        back = EndChallenge(batch.name, NODE.address, 0, batch.block)
        for _ in range(2):
            mined = await play.adapter.perform(effect)
            assert (mined.effect, mined.about) == (ChallengeLeaf, batch.name)
        await refused(play.adapter, back, "StillOpen")
        case = await batch.judge(0)
        assert case.drawn == (0, 1, 2)
        told = await play.story.until(BatchChallenged)
        assert told == BatchChallenged(batch.name, NODE.address, CLIENT.address, 1)
        await play.story.until(AccountSeen, lambda seen: seen.account.free == 100 * VCN - LANE - 10 * VCN)
        await play.adapter.perform(ResolveCase(batch.name, batch.contents))
        for _ in range(2):
            mined = await play.adapter.perform(back)
            assert (mined.effect, mined.about) == (EndChallenge, batch.name)
        await play.final()
        free = [seen.account.free for seen in play.story.all(AccountSeen)]
        assert free[-1] == 100 * VCN - LANE


async def test_a_challenge_that_is_none_is_refused(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3, **OPEN) as play:
        stranger = key("stranger")
        await play.ledger.deposit(stranger, 100 * VCN)
        batch = await Unchecked.of(play)
        await batch.is_refused("NotOwnLeaf", client=stranger)
        await batch.is_refused("PositionOutOfRange", position=3)
        await play.open_more(100 * VCN - LANE - 10 * VCN + 1)
        await batch.is_refused("NotEnoughFree")
        true, batch.contents = batch.contents, replace(batch.contents, max_leaf=batch.contents.max_leaf + 1)
        await batch.is_refused("WrongContents")
        batch.contents = true
        await play.ledger.deposit(CLIENT, 10 * VCN)
        await batch.never_ends("NoChallenge")
        await batch.challenge()
        await batch.is_refused("DrawnAnyway")


async def test_a_batch_with_a_whole_stratum_is_drawn_anyway(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, **OPEN) as play:
        batch = await Unchecked.of(play, jobs=10)
        await batch.is_refused("DrawnAnyway")


async def test_a_challenge_comes_within_the_window_and_before_the_court(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3, **OPEN) as play:
        batch = await Unchecked.of(play)
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        await batch.is_refused("WindowOver")


async def test_a_batch_in_court_cannot_be_challenged(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3, **OPEN) as play:
        batch = await Unchecked.of(play)
        await batch.challenge()
        await batch.judge(9_800)
        await batch.is_refused("WrongState")


# --- what code alone can prove --------------------------------------------------------------------------------------
@dataclass
class Lied:
    """A batch whose second leaf has another output than the result that its node has signed."""

    play: Scene
    mined: BatchMined
    opened: OpenedLeaf
    papers: Papers

    @classmethod
    async def of(cls, play: Scene, *, uncalibrated: bool = False) -> "Lied":
        await play.open_lane()
        entries = [play.orders.finish() for _ in range(3)]
        entries[1] = replace(entries[1], leaf=replace(entries[1].leaf, output_commit=bytes(32)))
        play.orders.jobs = entries
        batch = replace(batch_of(NODE.address, 0, play.orders), uncalibrated=uncalibrated)
        mined = await play.adapter.perform(SubmitBatch(batch))
        job = entries[1].job
        assert job is not None
        result = SignedResult(job.result, NODE.sign(job.result, play.ledger.domain))
        opened = OpenedLeaf(1, entries[1].leaf, path([entry.leaf.node for entry in entries], 1))
        return cls(play, mined, opened, Papers(order=job.assignment, result=result))

    async def contents(self) -> BatchContents:
        await self.play.final()
        return (await self.play.story.until(BatchSubmitted)).contents

    async def prove(self, lie: Lie = Lie.RESULT_DIFFERS) -> None:
        await self.play.ledger.prove(NODE.address, 0, await self.contents(), lie, self.opened, self.papers)

    async def pooled_by_proof(self) -> int:
        before = await self.play.ledger.pool()
        await self.prove()
        return await self.play.ledger.pool() - before

    async def is_refused(self, error: str, lie: Lie = Lie.RESULT_DIFFERS) -> None:
        with pytest.raises(Reverted, match=rf": {error}\("):
            await self.prove(lie)


FEE = 3 * verify_fee(PRICE)
CONVENED = convene_pay(FEE)
POOLED = 500 * VCN
"""A tenth of what fraud costs a stake of 10 000 VCN."""


@pytest.mark.parametrize("uncalibrated", [False, True])
async def test_a_lie_voids_its_batch_and_costs_the_stake_at_once(open_ledger: OpenLedger, uncalibrated: bool) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        lied = await Lied.of(play, uncalibrated=uncalibrated)
        await lied.is_refused("NoLie", Lie.FALSE_SUMS)
        assert await lied.pooled_by_proof() == POOLED
        proved_at, _ = await play.ledger.now()
        await play.final()
        resolved, slashed = await play.story.until(CaseResolved), await play.story.until(NodeSlashed)
        assert resolved == CaseResolved(lied.mined.batch_id, Verdict.SEVERE, 0, proved_at)
        assert (slashed.node, slashed.amount) == (NODE.address, 5_000 * VCN)
        assert (await play.story.until(BatchVoided)).batch_id == lied.mined.batch_id
        record = (await play.story.until(NodeSeen, lambda seen: not seen.record.active)).record
        assert (record.node_id, record.stake) == (NODE.address, 5_000 * VCN)
        await lied.is_refused("WrongState")
        await play.adapter.perform(RefundBatch(lied.mined.batch_id, NODE.address, 0, await lied.contents()))
        await play.final()
        assert play.story.all(LaneSeen)[-1].lane.left == LANE


async def test_a_node_that_proves_a_lie_hears_so_and_whoever_comes_later_as_well(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        lied = await Lied.of(play)
        contents, (first, second, _) = await lied.contents(), play.seats
        effect = ProveFraud(
            lied.mined.batch_id, NODE.address, 0, contents, Lie.RESULT_DIFFERS, (lied.opened,), lied.papers
        )
        await refused(first, replace(effect, lie=Lie.NO_RECEIPT), "NoLie")
        for prover in (first, second, first):
            heard = await prover.perform(effect)
            assert isinstance(heard, TransactionMined)
            assert (heard.effect, heard.about) == (ProveFraud, lied.mined.batch_id)
        await play.final()
        assert [slashed.amount for slashed in play.story.all(NodeSlashed)] == [5_000 * VCN]


async def test_leaves_that_are_more_than_declared_are_proved_together(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        leaves = [play.orders.finish().leaf for _ in range(3)]
        batch = replace(batch_of(NODE.address, 0, play.orders), ok_count=1, failed_count=2, max_leaf=3 * PRICE)
        mined = await play.adapter.perform(SubmitBatch(batch))
        await play.final()
        contents = (await play.story.until(BatchSubmitted)).contents
        nodes = [leaf.node for leaf in leaves]
        first, _, third = (OpenedLeaf(place, leaf, path(nodes, place)) for place, leaf in enumerate(leaves))
        effect = ProveFraud(mined.batch_id, NODE.address, 0, contents, Lie.MISCOUNTED, (first, third), Papers())
        await refused(play.adapter, replace(effect, leaves=(third,)), "NoLie")
        await refused(play.adapter, replace(effect, leaves=(third, first)), "PositionsNotAscending")
        assert isinstance(await play.adapter.perform(effect), TransactionMined)
        await play.final()
        assert (await play.story.until(BatchVoided)).batch_id == mined.batch_id


async def test_a_leaf_of_another_batch_proves_nothing(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        lied = await Lied.of(play)
        lied.opened = replace(lied.opened, leaf=replace(lied.opened.leaf, charge=1))
        await lied.is_refused("WrongRoot")


@pytest.mark.parametrize("revealed", [0, 2])
async def test_a_proof_ends_a_case_and_pays_who_has_revealed(open_ledger: OpenLedger, revealed: int) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        lied = await Lied.of(play)
        name, contents, case = await play.bring_to_court(lied.mined)
        for seat, node in enumerate(case.seats):
            await play.commit(name, seat, node)
        for seat, node in enumerate(case.seats[:revealed]):
            await play.reveal(name, seat, node, (9_800,) * 3)
        due = (FEE - CONVENED) // 2 * 2 if revealed else 0
        assert await lied.pooled_by_proof() == POOLED - due - CONVENED
        await refused(play.seat(case.seats[2]), CommitSeat(name, 2, named("another")), "CaseClosed")
        again = await play.adapter.perform(ResolveCase(name, contents))
        assert isinstance(again, TransactionMined)


async def test_a_proof_takes_back_the_fee_of_a_batch_that_has_passed(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        lied = await Lied.of(play)
        name, contents, case = await play.bring_to_court(lied.mined)
        await play.judge(name, case, 9_800)
        await play.adapter.perform(ResolveCase(name, contents))
        assert await lied.pooled_by_proof() == POOLED - FEE - CONVENED
        await play.final()
        verdicts = [(seen.verdict, seen.median) for seen in play.story.all(CaseResolved)]
        assert verdicts == [(Verdict.PASS, 9_800), (Verdict.SEVERE, 0)]
        await refused(play.adapter, FinalizeBatch(name, NODE.address, 0), "WrongState")


async def test_a_proof_ends_an_appeal_whose_bond_is_lost(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=10) as play:
        lied = await Lied.of(play)
        name, contents, case = await play.bring_to_court(lied.mined)
        await play.judge(name, case, 2_000)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.ledger.appeal(NODE, name, contents)
        due = (FEE - CONVENED) // 3 * 3
        assert await lied.pooled_by_proof() == POOLED + 100 * VCN - due - CONVENED


async def test_a_proof_ends_the_wait_for_data(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        lied = await Lied.of(play)
        name, contents, case = await play.bring_to_court(lied.mined)
        await play.ledger.demand(play.seat(case.seats[0]), case.seats[0], name, 0, case.drawn[0])
        assert await lied.pooled_by_proof() == POOLED - CONVENED
        for late in (AnswerDemand(name, b"too late"), ResolveCase(name, contents)):
            assert isinstance(await play.adapter.perform(late), TransactionMined)
        await play.final()
        assert [seen.verdict for seen in play.story.all(CaseResolved)] == [Verdict.SEVERE]
        assert play.story.all(DataAnswered) == []


# --- audits ---------------------------------------------------------------------------------------------------------
@dataclass
class Audited:
    """A case that three of the verifiers let pass, and what becomes of it after that."""

    play: Scene
    name: BatchId
    contents: BatchContents
    case: CaseConvened
    auditors: tuple[Address, ...] = ()

    @classmethod
    async def of(cls, play: Scene, *, uncalibrated: bool = False) -> "Audited":
        await play.open_lane()
        for _ in range(3):
            play.orders.finish()
        batch = replace(batch_of(NODE.address, 0, play.orders), uncalibrated=uncalibrated)
        made = cls(play, *await play.bring_to_court(await play.adapter.perform(SubmitBatch(batch))))
        await play.judge(made.name, made.case, 9_800)
        await play.adapter.perform(ResolveCase(made.name, made.contents))
        return made

    async def drawn(self) -> int:
        """Its seed is there; the epoch is the seed's."""
        epoch = await self.play.ledger.draw_audit(self.name)
        await self.play.ledger.mine()
        return epoch

    @property
    def others(self) -> list[Address]:
        """The verifiers that did not sit."""
        seats = self.play.seats
        return [verifier.address for verifier in VERIFIERS[: len(seats)] if verifier.address not in self.case.seats]

    async def ask(self, node: Address) -> Event:
        """What a verifier hears that would audit it."""
        event: Event = await self.play.seat(node).perform(ConveneAudit(self.name, NODE.address, 0, self.contents, node))
        return event

    async def is_not_audited(self) -> None:
        assert {await self.ask(node) for node in self.others} == {AuditNotDrawn(self.name)}

    async def convene(self) -> AuditConvened:
        assert isinstance(await self.ask(self.others[0]), TransactionMined)
        _, convened_at = await self.play.ledger.now()
        await self.play.final()
        convened = await self.play.story.until(AuditConvened)
        assert (convened.batch_id, convened.node, convened.timestamp) == (self.name, NODE.address, convened_at)
        self.auditors = convened.auditors
        return convened

    async def commit(self, auditor: int, off: tuple[int, ...], score: int) -> None:
        sealed = audit_commitment(self.name, auditor, off, score, named("salt"))
        await self.play.seat(self.auditors[auditor]).perform(CommitAudit(self.name, auditor, sealed))

    async def reveal(self, auditor: int, off: tuple[int, ...], score: int) -> None:
        await self.play.seat(self.auditors[auditor]).perform(RevealAudit(self.name, auditor, off, score, named("salt")))

    async def find(self, *found: tuple[tuple[int, ...], int]) -> None:
        """What each auditor finds: the seats, and a score for the node."""
        for auditor, (off, score) in enumerate(found):
            await self.commit(auditor, off, score)
        for auditor, (off, score) in enumerate(found):
            await self.reveal(auditor, off, score)

    async def close(self) -> AuditEnded:
        await self.play.seats[0].perform(CloseAudit(self.name))
        await self.play.final()
        return await self.play.story.until(AuditEnded)

    @property
    def fines(self) -> dict[Address, int]:
        return {seen.node: seen.amount for seen in self.play.story.all(NodeSlashed)}


AUDIT_PAY = (FEE - CONVENED) // AUDITORS
CLEAN = ((), 10_000)


async def test_what_is_not_drawn_nobody_audits(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=6) as play:
        case = await Audited.of(play)
        with pytest.raises(Reverted, match="NoSeed") as early:
            await case.ask(case.others[0])
        assert early.value.transient
        epoch = await play.ledger.draw_audit(case.name, drawn=False)
        await play.ledger.mine()
        await case.is_not_audited()
        unheard = ConveneAudit(named("no case"), NODE.address, 0, case.contents, NODE.address)
        assert await play.adapter.perform(unheard) == AuditNotDrawn(named("no case"))
        await play.final()
        assert epoch not in [seen.epoch for seen in play.story.all(SeedRevealed)]
        await play.adapter.perform(FinalizeBatch(case.name, NODE.address, 0))
        await play.final()
        await play.story.until(BatchSettled)
        assert play.story.all(AuditConvened) == []


async def test_a_drawn_case_is_audited_by_the_next_three_of_its_seed(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=8) as play:
        case = await Audited.of(play)
        epoch = await play.ledger.draw_audit(case.name)
        with pytest.raises(Reverted, match="NoSeed"):
            await case.ask(case.others[0])
        await play.ledger.mine()
        assert await case.ask(case.case.seats[0]) == AuditNotDrawn(case.name)
        await play.final()
        seed = (await play.story.until(SeedRevealed, lambda seen: seen.epoch == epoch)).seed
        block = (await play.story.until(BatchSubmitted)).block
        excluded = frozenset({NODE.address, *case.case.seats})
        drawn = draw_order(seed, case.name, block, await play.ledger.verifiers(), excluded, AUDITORS * 64, epoch)
        expected = tuple(drawn[:AUDITORS])
        spared = [node for node in case.others if node not in expected]
        assert len(spared) == 2
        assert {await case.ask(node) for node in spared} == {AuditNotDrawn(case.name)}
        for node in (expected[1], expected[0], *spared):
            assert isinstance(await case.ask(node), TransactionMined)
        await play.final()
        assert [seen.auditors for seen in play.story.all(AuditConvened)] == [expected]


async def test_a_seat_that_two_auditors_catch_loses_a_twentieth_and_the_batch_waits_for_it(
    open_ledger: OpenLedger,
) -> None:
    async with scene(open_ledger, verifiers=6) as play:
        case = await Audited.of(play)
        await case.drawn()
        await case.convene()
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        await refused(play.adapter, FinalizeBatch(case.name, NODE.address, 0), "WrongState")
        found = (((0, 1), 2_000), ((0, 2), 2_000), ((2,), NOTHING_SHOWN_BPS))
        await case.commit(0, *found[0])
        reveal = RevealAudit(case.name, 0, *found[0], named("salt"))
        first, second = play.seat(case.auditors[0]), play.seat(case.auditors[1])
        assert (await refused(first, reveal, "TurnNotOver")).transient
        await refused(second, CommitAudit(case.name, 2, named("another's")), "NotAuditor")
        assert isinstance(await first.perform(CommitAudit(case.name, 0, named("another"))), TransactionMined)
        for auditor in (1, 2):
            await case.commit(auditor, *found[auditor])
        await refused(first, replace(reveal, score=2_001), "CommitmentMismatch")
        for auditor in range(AUDITORS):
            assert (await refused(play.adapter, CloseAudit(case.name), "TurnNotOver")).transient
            await case.reveal(auditor, *found[auditor])
            await case.reveal(auditor, *found[auditor])
        before = await play.ledger.pool()
        assert await case.close() == AuditEnded(case.name, (0, 2), fraud=False)
        assert case.fines == {case.case.seats[index]: 500 * VCN for index in (0, 2)}
        assert await play.ledger.pool() - before == 100 * VCN - AUDITORS * AUDIT_PAY
        assert play.story.all(AuditCommitted) == [AuditCommitted(case.name, index) for index in range(AUDITORS)]
        assert play.story.all(AuditRevealed) == [AuditRevealed(case.name, index) for index in range(AUDITORS)]
        for late in (CloseAudit(case.name), CommitAudit(case.name, 0, named("late")), reveal):
            assert isinstance(await first.perform(late), TransactionMined)
        await play.adapter.perform(FinalizeBatch(case.name, NODE.address, 0))
        await play.final()
        await play.story.until(BatchSettled)


async def test_a_node_that_all_auditors_find_false_is_condemned(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=6) as play:
        case = await Audited.of(play)
        await case.drawn()
        await case.convene()
        await case.find(*[((), 2_000)] * AUDITORS)
        before = await play.ledger.pool()
        assert await case.close() == AuditEnded(case.name, (), fraud=True)
        assert await play.ledger.pool() - before == POOLED - FEE - AUDITORS * AUDIT_PAY - CONVENED
        assert case.fines == {NODE.address: 5_000 * VCN}
        assert [(seen.verdict, seen.median) for seen in play.story.all(CaseResolved)][1:] == [(Verdict.SEVERE, 0)]
        assert (await play.story.until(BatchVoided)).batch_id == case.name
        await play.adapter.perform(RefundBatch(case.name, NODE.address, 0, case.contents))
        await play.final()
        assert play.story.all(LaneSeen)[-1].lane.left == LANE


@pytest.mark.parametrize("heard", [False, True])
async def test_who_is_silent_while_another_commits_loses_half_a_percent(open_ledger: OpenLedger, heard: bool) -> None:
    async with scene(open_ledger, verifiers=6) as play:
        case = await Audited.of(play)
        await case.drawn()
        await case.convene()
        if heard:
            await case.commit(0, *CLEAN)
        await play.ledger.warp(play.ledger.rules.seat_window_s)
        late = CommitAudit(case.name, 1, named("late"))
        await refused(play.seat(case.auditors[1]), late, "TooLate")
        if heard:
            await case.reveal(0, *CLEAN)
        await refused(play.adapter, CloseAudit(case.name), "TurnNotOver")
        await play.ledger.warp(play.ledger.rules.seat_window_s)
        before = await play.ledger.pool()
        assert await case.close() == AuditEnded(case.name, (), fraud=False)
        assert case.fines == (dict.fromkeys(case.auditors[1:], 50 * VCN) if heard else {})
        assert await play.ledger.pool() - before == (10 * VCN - AUDITORS * AUDIT_PAY if heard else 0)


async def test_a_final_batch_is_audited_as_well_and_stays_final(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=6) as play:
        case = await Audited.of(play)
        await case.drawn()
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        await play.adapter.perform(FinalizeBatch(case.name, NODE.address, 0))
        await case.convene()
        await case.find(*[((1,), 2_000)] * AUDITORS)
        assert await case.close() == AuditEnded(case.name, (1,), fraud=False)
        assert case.fines == {case.case.seats[1]: 500 * VCN}
        assert len(play.story.all(BatchSettled)) == 1


async def test_what_has_no_calibration_is_not_audited(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=6) as play:
        case = await Audited.of(play, uncalibrated=True)
        await case.drawn()
        await case.is_not_audited()


async def test_two_others_are_too_few_for_an_audit(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=5) as play:
        case = await Audited.of(play)
        await case.drawn()
        await case.is_not_audited()


@pytest.mark.parametrize("too_many", ["seconds", "blocks"])
async def test_an_audit_comes_in_time_or_not_at_all(open_ledger: OpenLedger, too_many: str) -> None:
    async with scene(open_ledger, verifiers=6) as play:
        case = await Audited.of(play)
        epoch, rules = await case.drawn(), play.ledger.rules
        await play.adapter.perform(SealEpoch(epoch))
        if too_many == "seconds":
            await play.ledger.warp(8 * rules.seat_window_s)
        else:
            head, _ = await play.ledger.now()
            await play.ledger.mine((epoch + AUDIT_LATEST_EPOCHS + 1) * rules.epoch - head)
        await case.is_not_audited()


# --- a pause ----------------------------------------------------------------------------------------------------------
async def test_a_pause_is_told_and_refuses_what_is_new_until_it_ends(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.ledger.pause(600)
        _, paused_at = await play.ledger.now()
        play.orders.finish()
        effect = SubmitBatch(batch_of(NODE.address, 1, play.orders))
        assert (await refused(play.adapter, effect, "IntakePaused")).transient
        _, now = await play.ledger.now()
        lane = OpenLane(*play.orders.lane_open(10 * VCN, now + 600, prev_total=LANE))
        assert (await refused(play.adapter, lane, "IntakePaused")).transient
        # What is under way goes on.
        await play.judge(name, case, 9_800)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        await play.adapter.perform(FinalizeBatch(name, NODE.address, 0))
        await play.adapter.perform(CheckIn(NODE.address, 1))
        await play.final()
        assert (await play.story.until(IntakeStopped)).until == paused_at + 600
        await play.ledger.warp(600)
        assert isinstance(await play.adapter.perform(effect), BatchMined)


async def test_a_pause_may_end_before_its_time_and_who_starts_late_hears_the_last_word(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        await play.ledger.pause(600)
        await play.ledger.resume()
        play.orders.finish()
        assert isinstance(await play.adapter.perform(SubmitBatch(batch_of(NODE.address, 0, play.orders))), BatchMined)
        await play.final()
        await play.story.until(IntakeStopped, lambda seen: seen.until == 0)
        async with play.ledger.adapter(CLIENT) as late, told_by(late) as story:
            await story.until(BatchSubmitted)
            assert [seen.until for seen in story.all(IntakeStopped)][-1:] == [0]


# --- the rest -------------------------------------------------------------------------------------------------------
async def test_a_day_is_counted_once(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        first, again = [await play.adapter.perform(CheckIn(NODE.address, 1)) for _ in range(2)]
        assert (first.effect, again.effect) == (CheckIn, CheckIn)
        await play.final()
        await play.story.until(NodeSeen, lambda seen: seen.record.score > FRESH_SCORE)


async def test_absence_costs_a_hundredth_a_day_after_a_week_and_a_gap_starts_probation(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.adapter.perform(CheckIn(NODE.address, 1))
        await play.ledger.warp(10 * 86_400)
        await play.adapter.perform(CheckIn(NODE.address, 2))
        await play.final()
        left = 10_000 * VCN * 99**3 // 100**3
        seen = await play.story.until(NodeSeen, lambda seen: seen.record.stake < 10_000 * VCN)
        assert left - 1 <= seen.record.stake <= left
        assert seen.record.rate_bps == 10_000


async def test_a_message_is_signed_by_the_key_of_its_kind(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        accept = await play.adapter.perform(SignMessage(Accept(named("job"), 1)))
        assert isinstance(accept, MessageSigned)
        require_signer(accept.message, accept.signature, play.ledger.domain, NODE.address)
        order, _ = play.orders.lane_open(LANE, 1)
        opened = await play.adapter.perform(SignMessage(order))
        require_signer(opened.message, opened.signature, play.ledger.domain, CLIENT.address)


async def test_a_machine_without_a_client_key_signs_no_order(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play, play.ledger.adapter(NODE) as provider:
        order, _ = play.orders.lane_open(LANE, 1)
        with pytest.raises(ChainError, match="no client key"):
            await provider.perform(SignMessage(order))


async def test_every_block_is_told_after_what_is_in_it(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.judge(name, case, 9_800)
        await play.adapter.perform(ResolveCase(name, contents))
        await play.final()
        kinds = (BatchSubmitted, SeedRevealed, CaseConvened, SeatCommitted, SeatRevealed, CaseResolved)
        order = [type(event) for event in play.story.events if isinstance(event, kinds)]
        assert order == [
            BatchSubmitted,
            SeedRevealed,
            CaseConvened,
            *[SeatCommitted] * 3,
            *[SeatRevealed] * 3,
            CaseResolved,
        ]
        finals = [seen.final for seen in play.story.all(BlockSeen)]
        assert finals == sorted(finals)
        submitted = play.story.events.index(play.story.all(BatchSubmitted)[0])
        block = play.story.all(BatchSubmitted)[0].block
        before: list[Event] = play.story.events[:submitted]
        assert all(event.final < block for event in before if isinstance(event, BlockSeen))


async def test_who_starts_from_a_cursor_hears_only_what_came_after(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        await play.open_lane()
        await play.submit(1)
        await play.final()
        cursor = play.story.all(BlockSeen)[-1].final
        play.orders.finish()
        batch = batch_of(NODE.address, 1, play.orders)
        await play.adapter.perform(SubmitBatch(batch))
        head, _ = await play.ledger.now()
        await play.ledger.mine(play.ledger.rules.final_depth)
        async with play.ledger.adapter(NODE, CLIENT, cursor=cursor) as later, told_by(later) as story:
            await story.until_block(head)
            assert [told.slot for told in story.all(BatchSubmitted)] == [1]


async def test_who_starts_late_hears_the_state_and_the_open_batches(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.commit(name, 0, case.seats[0])
        await play.final()
        async with play.ledger.adapter(VERIFIERS[0]) as late, told_by(late) as story:
            await story.until(SeatCommitted)
            assert {seen.record.node_id for seen in story.all(NodeSeen)} == {
                NODE.address,
                *(verifier.address for verifier in VERIFIERS[:3]),
            }
            assert story.all(LaneSeen)[-1].lane.jobs == 3
            assert story.all(AccountSeen)[-1].account.free == 100 * VCN - LANE
            told = await story.until(BatchSubmitted)
            assert (told.batch_id, told.contents, told.lane_jobs) == (name, contents, (3,))
            assert (await story.until(SeedRevealed)).epoch == epoch_of(told.block, play.ledger.rules.epoch)
            assert await story.until(CaseConvened) == case
