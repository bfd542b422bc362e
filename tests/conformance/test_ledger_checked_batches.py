"""Checks that clients pay for, on the ledger in memory and on a chain."""

import pytest

from protocol.effects import (
    ConveneCourt,
    FinalizeBatch,
    RefundBatch,
    ResolveCase,
    SubmitBatch,
    VoidStarved,
)
from protocol.errors import Reverted
from protocol.events import (
    BatchRefunded,
    BatchSettled,
    BatchSubmitted,
    BatchVoided,
    CaseResolved,
    LaneSeen,
    NodeSlashed,
)
from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers
from protocol.params import VCN
from protocol.stages.commitment import BatchContents
from protocol.stages.verification import Verdict
from protocol.wire.merkle import path
from tests.support.jobs import batch_of
from tests.support.scenes.ledgers import LANE, NODE, OPEN_S, OpenLedger, refused, scene


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
    ("ordered", "fraud_kind", "other"),
    [(True, FraudKind.NOT_CHECKED, FraudKind.FEE_NOT_AGREED), (False, FraudKind.FEE_NOT_AGREED, FraudKind.NOT_CHECKED)],
)
async def test_a_batch_that_is_checked_otherwise_than_ordered_is_condemned(
    open_ledger: OpenLedger, ordered: bool, fraud_kind: FraudKind, other: FraudKind
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
        for wrong in (other, FraudKind.NOT_AGREED):
            with pytest.raises(Reverted, match=r": NoFraud\("):
                await play.ledger.prove(NODE.address, 0, contents, wrong, opened, papers)
        await play.ledger.prove(NODE.address, 0, contents, fraud_kind, opened, papers)
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
