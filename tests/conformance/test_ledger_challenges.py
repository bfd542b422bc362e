"""Challenges of a batch that was not drawn, on the ledger in memory and on a chain."""

from dataclasses import dataclass, replace

import pytest

from chain.tx.wallet import Key
from protocol.effects import (
    ChallengeLeaf,
    ConveneCourt,
    EndChallenge,
    FinalizeBatch,
    RefundBatch,
    ResolveCase,
)
from protocol.errors import Reverted
from protocol.events import (
    AccountSeen,
    BatchChallenged,
    BatchMined,
    BatchSubmitted,
    CaseConvened,
    CaseResolved,
)
from protocol.params import VCN
from protocol.stages.assignment import verify_fee
from protocol.stages.commitment import BatchContents
from protocol.stages.verification import Verdict
from protocol.wire.ids import BatchId
from tests.support.event_recorder import told_by
from tests.support.jobs import PRICE, key
from tests.support.scenes.ledgers import CLIENT, LANE, NODE, OPEN, VERIFIERS, OpenLedger, Scene, account, refused, scene


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
