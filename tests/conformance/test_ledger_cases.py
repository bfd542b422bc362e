"""Cases that pass, seats and margins, on the ledger in memory and on a chain."""

from protocol.effects import (
    AbstainSeat,
    CommitSeat,
    FinalizeBatch,
    ReplaceSeat,
    ResolveCase,
    RevealSeat,
    SubmitBatch,
)
from protocol.events import (
    BatchSettled,
    BatchSubmitted,
    CaseConvened,
    CaseDecided,
    CaseResolved,
    NodeSeen,
    NodeSlashed,
    SeatAdded,
    SeatCommitted,
    SeatRevealed,
    SeatSilenced,
    TransactionMined,
)
from protocol.judging.margins import HEAD_START, RUNNING_ALARM, SequentialTest
from protocol.params import VCN
from protocol.stages.commitment import BatchContents
from protocol.stages.settlement import split
from protocol.stages.verification import Verdict
from protocol.wire.ids import BatchId
from tests.support.jobs import PRICE, batch_of, named
from tests.support.scenes.ledgers import FRESH_SCORE, NODE, VERIFIERS, OpenLedger, Scene, refused, scene


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


async def judged_with(play: Scene, slot: int, llr_millinats: int) -> tuple[BatchId, BatchContents, CaseConvened]:
    """One more case, whose seats find nothing but what they say of the margins; any account counts it."""
    play.orders.finish()
    mined = await play.adapter.perform(SubmitBatch(batch_of(NODE.address, slot, play.orders)))
    name, contents, case = await play.bring_to_court(mined)
    await play.judge(name, case, 9_900, llr_millinats=llr_millinats)
    await play.adapter.perform(ResolveCase(name, contents))
    await play.final()
    return name, contents, case


async def test_margins_add_up_over_cases_until_they_are_fraud(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        sums = []
        for slot, llr_millinats in enumerate((-20_000, 3_000, 6_000, 6_000, -500, 6_000)):
            await judged_with(play, slot, llr_millinats)
            sums.append((await play.ledger.running(NODE.address)).confirmed)
        assert sums == [0, 3_000, 8_355, 13_710, 13_210, 18_565]
        assert {seen.llr_millinats for seen in play.story.all(SeatRevealed)} == {-20_000, 3_000, 6_000, -500}
        assert {seen.verdict for seen in play.story.all(CaseResolved)} == {Verdict.PASS}
        assert play.story.all(NodeSlashed) == []
        name, _, _ = await judged_with(play, 6, 2_852)
        resolved = await play.story.until(CaseResolved, lambda told: told.batch_id == name)
        assert (resolved.verdict, resolved.median) == (Verdict.SEVERE, 9_900)
        assert (await play.story.until(NodeSlashed)).amount == 5_000 * VCN
        assert await play.ledger.running(NODE.address) == SequentialTest()


async def test_a_new_node_has_a_head_start_and_is_found_in_two_cases(open_ledger: OpenLedger) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        await play.open_lane()
        assert await play.ledger.running(NODE.address) == SequentialTest(HEAD_START, HEAD_START)
        await judged_with(play, 0, -700)
        assert await play.ledger.running(NODE.address) == SequentialTest(HEAD_START - 700, HEAD_START - 700)
        await judged_with(play, 1, 6_000)
        assert await play.ledger.running(NODE.address) == SequentialTest(HEAD_START + 4_655, HEAD_START + 4_655)
        name, _, _ = await judged_with(play, 2, RUNNING_ALARM - HEAD_START - 4_655)
        resolved = await play.story.until(CaseResolved, lambda told: told.batch_id == name)
        assert resolved.verdict is Verdict.SEVERE
        assert await play.ledger.running(NODE.address) == SequentialTest(HEAD_START, HEAD_START)


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
        assert await play.ledger.running(NODE.address) == SequentialTest(0, 0)
        await judged_with(play, 1, 4_604)
        assert await play.ledger.running(NODE.address) == SequentialTest(4_604, 0)
        name, contents, _ = await judged_with(play, 2, 1)
        added = {seen.seat: seen.node for seen in play.story.all(SeatAdded) if seen.batch_id == name}
        assert sorted(added) == [1, 2]
        for seat, node in added.items():
            await play.commit(name, seat, node, llr_millinats=-seat)
        for seat, node in added.items():
            await play.reveal(name, seat, node, (9_900,), -seat)
        await play.resolve_again(name, contents)
        await play.final()
        assert (await play.story.until(CaseResolved, lambda told: told.batch_id == name)).verdict is Verdict.PASS
        assert await play.ledger.running(NODE.address) == SequentialTest(4_603, 0)
