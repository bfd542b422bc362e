"""Audits of passed cases, on the ledger in memory and on a chain."""

from dataclasses import dataclass, replace

import pytest

from protocol.effects import (
    CloseAudit,
    CommitAudit,
    ConveneAudit,
    FinalizeBatch,
    RefundBatch,
    ResolveCase,
    RevealAudit,
    SealEpoch,
    SubmitBatch,
)
from protocol.errors import Reverted
from protocol.events import (
    AuditCommitted,
    AuditConvened,
    AuditEnded,
    AuditNotDrawn,
    AuditRevealed,
    BatchSettled,
    BatchSubmitted,
    BatchVoided,
    CaseConvened,
    CaseResolved,
    Event,
    LaneSeen,
    NodeSlashed,
    SeedRevealed,
    TransactionMined,
)
from protocol.params import AUDIT_LATEST_EPOCHS, AUDITORS, VCN
from protocol.stages.commitment import BatchContents
from protocol.stages.sampling import draw_order
from protocol.stages.verification import NOTHING_SHOWN_BPS, Verdict, audit_commitment
from protocol.wire.ids import Address, BatchId
from tests.support.jobs import batch_of, named
from tests.support.scenes.ledgers import CONVENED, FEE, LANE, NODE, POOLED, VERIFIERS, OpenLedger, Scene, refused, scene


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
        """The events of a verifier that would audit it."""
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
        """The finding of each auditor: the seats, and a score for the node."""
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
