"""The watcher's reports, on the ledger in memory and on a chain."""

from protocol.effects import (
    CheckIn,
    ResolveCase,
    SubmitBatch,
)
from protocol.events import (
    AccountSeen,
    BatchSubmitted,
    BlockSeen,
    CaseConvened,
    CaseResolved,
    Event,
    LaneSeen,
    NodeSeen,
    SeatCommitted,
    SeatRevealed,
    SeedRevealed,
)
from protocol.params import VCN
from protocol.stages.sampling import epoch_of
from tests.support.event_recorder import told_by
from tests.support.jobs import batch_of
from tests.support.scenes.ledgers import CLIENT, FRESH_SCORE, LANE, NODE, VERIFIERS, OpenLedger, scene


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
