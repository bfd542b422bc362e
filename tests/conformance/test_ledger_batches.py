"""Batches and their draw, on the ledger in memory and on a chain."""

from dataclasses import replace

from protocol.effects import (
    ConveneCourt,
    ResolveCase,
    SealEpoch,
    SubmitBatch,
)
from protocol.events import (
    BatchSettled,
    BatchSubmitted,
    LaneSeen,
    SeedRevealed,
    TransactionMined,
)
from protocol.params import PROBATION_JOBS, VCN
from protocol.stages.commitment import batch_id
from protocol.stages.sampling import batch_seed, draw_samples, epoch_of
from tests.support.jobs import PRICE, batch_of, sums_of
from tests.support.scenes.ledgers import CLIENT, LANE, NODE, VERIFIERS, OpenLedger, refused, scene


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
