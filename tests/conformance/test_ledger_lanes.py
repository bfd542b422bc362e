"""Money into lanes, on the ledger in memory and on a chain."""

import trio

from protocol.effects import (
    CheckIn,
    ConfirmLane,
    FinalizeBatch,
    LandLane,
    OpenLane,
    ResolveCase,
    SubmitBatch,
    TryLane,
)
from protocol.events import (
    AccountSeen,
    BatchMined,
    BatchSubmitted,
    BlockSeen,
    Event,
    IntakeStopped,
    LaneConfirmed,
    LaneSeen,
    LaneTried,
    NodeSeen,
    TransactionMined,
)
from protocol.params import VCN
from protocol.stages.lane_notice import lane_open_id
from tests.support.event_recorder import told_by
from tests.support.jobs import batch_of
from tests.support.scenes.ledgers import CLIENT, FRESH_SCORE, LANE, NODE, OpenLedger, refused, scene


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


async def test_a_node_tries_a_lane_of_its_client_and_brings_it_on_chain_itself(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        _, now = await play.ledger.now()
        order, signature = play.orders.lane_open(LANE, now + 600)
        async with play.ledger.adapter(NODE) as node:
            tried = await node.perform(TryLane(order, signature, VCN))
            assert tried == LaneTried(lane_open_id(order), "", VCN)
            for _ in range(2):
                assert isinstance(await node.perform(LandLane(order, signature)), TransactionMined)
            confirmed = await node.perform(ConfirmLane(order, 1))
            assert isinstance(confirmed, LaneConfirmed)
            assert (confirmed.order, confirmed.lane.left, confirmed.lane.mark) == (lane_open_id(order), LANE, 0)
            # It has counted, and would not count again.
            assert await node.perform(TryLane(order, signature, VCN)) == tried
            await refused(node, LandLane(*play.orders.lane_open(LANE, now + 600, prev_total=1)), "LaneMoved")


async def test_a_lane_that_would_not_count_is_told_with_its_reason(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        _, now = await play.ledger.now()
        async with play.ledger.adapter(NODE) as node:
            for order, signature, reason in (
                (*play.orders.lane_open(101 * VCN, now + 600), "NotEnoughFree"),
                (*play.orders.lane_open(LANE, now + 600, prev_total=5), "LaneMoved"),
                (*play.orders.lane_open(LANE, now + 6_000), "DeadlineTooFar"),
                (play.orders.lane_open(LANE, now + 600)[0], bytes(65), "BadLaneSignature"),
            ):
                assert await node.perform(TryLane(order, signature, 1)) == LaneTried(lane_open_id(order), reason, 1)


async def test_a_lane_is_confirmed_after_the_blocks_that_were_asked_for(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        _, now = await play.ledger.now()
        order, signature = play.orders.lane_open(LANE, now + 600)
        found: list[Event] = []

        async def confirm(confirmations: int) -> None:
            found.append(await play.adapter.perform(ConfirmLane(order, confirmations)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(confirm, 2)
            await play.adapter.perform(OpenLane(order, signature))
            block, _ = await play.ledger.now()
            await confirm(1)
            assert [told.block for told in found] == [block]
            with trio.fail_after(30):
                await play.ledger.mine()
        assert [told.block for told in found] == [block, block]


async def test_a_wait_for_a_lane_ends_when_its_order_can_count_no_more(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger) as play:
        _, now = await play.ledger.now()
        order, _ = play.orders.lane_open(LANE, now + 600)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused, play.adapter, ConfirmLane(order, 1), "DeadlinePassed")
            await play.ledger.warp(601)
            with trio.fail_after(30):
                await play.ledger.mine(play.ledger.rules.final_depth + 1)


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
        # Work under way goes on.
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
