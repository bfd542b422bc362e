"""Cases that go on, and cases that end badly, on the ledger in memory and on a chain."""

from dataclasses import replace

import pytest

from protocol.effects import (
    AnswerDemand,
    CommitSeat,
    DemandData,
    FinalizeBatch,
    RefundBatch,
    ResolveCase,
    SubmitBatch,
    VoidStarved,
)
from protocol.events import (
    BatchRefunded,
    BatchVoided,
    CaseDecided,
    CaseGrown,
    CaseResolved,
    DataAnswered,
    DataDemanded,
    LaneSeen,
    NodeSeen,
    NodeSlashed,
    TransactionMined,
)
from protocol.params import VCN
from protocol.stages.verification import Verdict
from tests.support.jobs import batch_of, named
from tests.support.scenes.ledgers import LANE, NODE, OpenLedger, refused, scene


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
        _, answered_at_s = await play.ledger.now()
        await play.final()
        demanded, answered = await play.story.until(DataDemanded), await play.story.until(DataAnswered)
        assert (demanded.seat, demanded.leaf_index, demanded.hpke_key) == (1, case.drawn[0], named("key"))
        assert before + 20 <= demanded.until <= answered_at_s + 20
        assert (answered.data, answered.timestamp) == (answer.data, answered_at_s)
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
