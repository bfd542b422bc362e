"""Cases on Anvil with their seats."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from chain.perform.adapter import ChainAdapter
from protocol.effects import (
    CommitSeat,
    ConveneCourt,
    OpenLane,
    ResolveCase,
    RevealSeat,
    SealEpoch,
    SubmitBatch,
)
from protocol.events import BatchMined, BatchSubmitted, CaseConvened, SeedRevealed
from protocol.params import VCN
from protocol.stages.commitment import BatchContents
from protocol.stages.sampling import epoch_of
from protocol.stages.verification import seat_commitment
from protocol.wire.ids import BatchId
from tests.support.anvil_ledger import AnvilLedger, open_anvil_ledger
from tests.support.event_recorder import Story, told_by
from tests.support.jobs import CLASS, PRICE, Orders, batch_of, key, named

NODE, CLIENT, RICH_CLIENT = key("node"), key("client"), key("rich client")
VERIFIERS = [key(f"verifier {index}") for index in range(7)]
TICKETS = 64


@dataclass
class Hearing:
    """A sealed batch that waits for its court."""

    ledger: AnvilLedger
    adapter: ChainAdapter
    story: Story
    name: BatchId
    block: int
    contents: BatchContents

    async def final(self) -> None:
        head, _ = await self.ledger.now()
        await self.ledger.mine(self.ledger.rules.final_depth)
        await self.story.until_block(head)

    async def convene(self) -> CaseConvened:
        await self.adapter.perform(ConveneCourt(self.name, NODE.address, 0, self.contents))
        await self.final()
        return await self.story.until(CaseConvened)

    async def pass_it(self, case: CaseConvened) -> None:
        await self.reveal_all(case)
        await self.adapter.perform(self.resolution)

    @property
    def resolution(self) -> ResolveCase:
        return ResolveCase(self.name, self.contents)

    async def reveal_all(self, case: CaseConvened) -> None:
        keys = {verifier.address: verifier for verifier in VERIFIERS}
        for step in ("commit", "reveal"):
            for seat, node in enumerate(case.seats):
                digest, salt = named("digest"), named("salt")
                async with self.ledger.adapter(keys[node]) as verifier:
                    if step == "commit":
                        commitment = seat_commitment(self.name, 0, seat, digest, salt)
                        await verifier.perform(CommitSeat(self.name, seat, commitment))
                    else:
                        await verifier.perform(RevealSeat(self.name, seat, digest, (9_700,) * len(case.drawn), salt))


@asynccontextmanager
async def hearing(jobs: int = 3, stake: int = 10_000 * VCN, price: int = PRICE) -> AsyncIterator[Hearing]:
    with trio.fail_after(60):
        async with open_anvil_ledger() as ledger:
            await ledger.register(NODE, stake)
            await ledger.deposit(CLIENT, 500 * VCN)
            for index, verifier in enumerate(VERIFIERS):
                await ledger.register(verifier, (5_000 + 3_000 * index) * VCN)
                await ledger.join(verifier)
            await ledger.actions(VERIFIERS[3]).leave_verifiers(VERIFIERS[3].address, CLASS)
            async with ledger.adapter(NODE, CLIENT) as adapter, told_by(adapter) as story:
                orders = Orders(CLIENT, NODE, ledger.domain)
                _, now = await ledger.now()
                await adapter.perform(OpenLane(*orders.lane_open(400 * VCN, now + 600)))
                for _ in range(jobs):
                    orders.finish(price=price)
                mined = await adapter.perform(SubmitBatch(batch_of(NODE.address, 0, orders)))
                assert isinstance(mined, BatchMined)
                await ledger.mine(ledger.rules.epoch + ledger.rules.lag + 1)
                await adapter.perform(SealEpoch(epoch_of(mined.block, ledger.rules.epoch)))
                await ledger.mine(ledger.rules.final_depth)
                await story.until(SeedRevealed)
                told = await story.until(BatchSubmitted)
                yield Hearing(ledger, adapter, story, BatchId(mined.batch_id), mined.block, told.contents)
