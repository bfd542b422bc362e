"""Fraud that code alone can prove, on the ledger in memory and on a chain."""

from dataclasses import dataclass, replace

import pytest

from protocol.effects import (
    AnswerDemand,
    CommitSeat,
    FinalizeBatch,
    ProveFraud,
    RefundBatch,
    ResolveCase,
    SubmitBatch,
)
from protocol.errors import Reverted
from protocol.events import (
    BatchMined,
    BatchSubmitted,
    BatchVoided,
    CaseResolved,
    DataAnswered,
    LaneSeen,
    NodeSeen,
    NodeSlashed,
    TransactionMined,
)
from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers, SignedResult
from protocol.params import VCN
from protocol.stages.commitment import BatchContents
from protocol.stages.verification import Verdict
from protocol.wire.merkle import path
from tests.support.jobs import PRICE, batch_of, named
from tests.support.scenes.ledgers import CONVENED, FEE, LANE, NODE, POOLED, OpenLedger, Scene, refused, scene


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

    async def prove(self, fraud_kind: FraudKind = FraudKind.RESULT_DIFFERS) -> None:
        await self.play.ledger.prove(NODE.address, 0, await self.contents(), fraud_kind, self.opened, self.papers)

    async def pooled_by_proof(self) -> int:
        before = await self.play.ledger.pool()
        await self.prove()
        return await self.play.ledger.pool() - before

    async def is_refused(self, error: str, fraud_kind: FraudKind = FraudKind.RESULT_DIFFERS) -> None:
        with pytest.raises(Reverted, match=rf": {error}\("):
            await self.prove(fraud_kind)


@pytest.mark.parametrize("uncalibrated", [False, True])
async def test_a_lie_voids_its_batch_and_costs_the_stake_at_once(open_ledger: OpenLedger, uncalibrated: bool) -> None:
    async with scene(open_ledger, verifiers=3) as play:
        lied = await Lied.of(play, uncalibrated=uncalibrated)
        await lied.is_refused("NoFraud", FraudKind.FALSE_SUMS)
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
            lied.mined.batch_id, NODE.address, 0, contents, FraudKind.RESULT_DIFFERS, (lied.opened,), lied.papers
        )
        await refused(first, replace(effect, fraud_kind=FraudKind.NO_RECEIPT), "NoFraud")
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
        effect = ProveFraud(mined.batch_id, NODE.address, 0, contents, FraudKind.MISCOUNTED, (first, third), Papers())
        await refused(play.adapter, replace(effect, leaves=(third,)), "NoFraud")
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
