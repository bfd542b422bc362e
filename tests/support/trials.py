"""Batches before a court on Anvil, played to their end."""

from functools import partial

from protocol.effects import ConveneCourt, FinalizeBatch, ResolveCase, SubmitBatch
from protocol.events import BatchSubmitted, CaseConvened
from protocol.stages.commitment import BatchContents
from protocol.wire.ids import BatchId
from tests.support.anvil_ledger import AnvilLedger, open_anvil_ledger
from tests.support.jobs import batch_of
from tests.support.scenes.ledgers import NODE, Scene, scene

played = partial(scene, open_anvil_ledger)


def anvil_of(play: Scene) -> AnvilLedger:
    """The contracts that a scene is played on."""
    assert isinstance(play.ledger, AnvilLedger)
    return play.ledger


async def in_court(play: Scene, slot: int = 0) -> tuple[BatchId, BatchContents, CaseConvened]:
    """A batch of three jobs in this slot, before its seats."""
    for _ in range(3):
        play.orders.finish()
    mined = await play.adapter.perform(SubmitBatch(batch_of(NODE.address, slot, play.orders)))
    await play.seal(mined)
    await play.final()
    name = BatchId(mined.batch_id)
    contents = (await play.story.until(BatchSubmitted, lambda told: told.batch_id == name)).contents
    await play.adapter.perform(ConveneCourt(name, NODE.address, slot, contents))
    await play.final()
    return name, contents, await play.story.until(CaseConvened, lambda told: told.batch_id == name)


async def judged(play: Scene, slot: int, score: int) -> tuple[BatchId, BatchContents]:
    """A batch about which every seat has given this score, in basis points."""
    name, contents, case = await in_court(play, slot)
    await play.judge(name, case, score)
    await play.adapter.perform(ResolveCase(name, contents))
    return name, contents


async def passed(play: Scene, slot: int = 0) -> BatchId:
    """A batch that is final."""
    name, _ = await judged(play, slot, 9_900)
    await play.ledger.warp(play.ledger.rules.challenge_window_s)
    await play.adapter.perform(FinalizeBatch(name, NODE.address, slot))
    return name


async def convicted(play: Scene) -> BatchId:
    """A batch that was found to be faked, without an appeal."""
    name, contents = await judged(play, 0, 2_000)
    await play.ledger.warp(3_600)
    await play.resolve_again(name, contents)
    return name
