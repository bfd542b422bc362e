"""Reorganisations of 1, 3 and LAG blocks at each stage of a batch, deeper ones, and a cursor that was not kept."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from chain.adapter import ChainAdapter, open_chain
from chain.profiles import FINAL_DEPTH
from chain.wallet import Wallet
from protocol.effects import ChainEffect, OpenLane, RefundBatch, SealEpoch, SubmitBatch, VoidStarved
from protocol.errors import ReorgedOut, Reverted
from protocol.events import BatchRefunded, BatchSubmitted, BatchVoided, BlockSeen, Event, SeedRevealed
from protocol.params import VCN
from protocol.stages.sampling import epoch_of
from protocol.wire.ids import Hash32
from tests.anvil_ledger import POLL_S, AnvilLedger, forget, open_anvil_ledger
from tests.jobs import Orders, batch_of, key
from tests.story import Story, told_by

pytestmark = pytest.mark.anvil

NODE, CLIENT = key("node"), key("client")
DEPTH, LAG = 6, 4
"""Deeper than the local profile: LAG must fit below what is final."""


@dataclass
class Case:
    """A provider with a batch, and what it was told."""

    ledger: AnvilLedger
    adapter: ChainAdapter
    story: Story
    orders: Orders

    async def perform(self, effect: ChainEffect) -> None:
        """As a role asks: again, while only the time for it has not come."""
        for _ in range(20):
            try:
                await self.adapter.perform(effect)
            except Reverted as error:
                if not error.transient:
                    raise
                await self.ledger.mine()
            else:
                return
        raise AssertionError(f"never done: {effect}")

    async def lose(self, depth: int) -> None:
        """Replace the newest blocks by empty ones, and have every pool forget what was in them."""
        await self.ledger.controls.mine(depth - 1)
        await self.ledger.controls.reorg(depth)
        await self.ledger.controls.raw("anvil_dropAllTransactions")
        await self.ledger.controls.mine()

    async def bury(self) -> None:
        head, _ = await self.ledger.now()
        await self.ledger.mine(DEPTH)
        await self.story.until_block(head)

    async def until_told(self, kind: type[Event]) -> Event:
        """Waits until something is final; blocks come meanwhile."""
        with trio.fail_after(20):
            while not self.story.all(kind):
                await self.ledger.mine()
                await trio.sleep(POLL_S)
        return self.story.all(kind)[0]

    @property
    def batch(self) -> BatchSubmitted:
        return self.story.all(BatchSubmitted)[0]


@asynccontextmanager
async def case(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Case]:
    monkeypatch.setitem(FINAL_DEPTH, "local", DEPTH)
    with trio.fail_after(60):
        async with open_anvil_ledger(lag_blocks=LAG) as ledger:
            await ledger.register(NODE)
            await ledger.deposit(CLIENT, 100 * VCN)
            orders = Orders(CLIENT, NODE, ledger.domain)
            _, now = await ledger.now()
            async with ledger.adapter(NODE, CLIENT) as adapter:
                await adapter.perform(OpenLane(*orders.lane_open(50 * VCN, now + 600)))
                await ledger.mine(DEPTH)
                assert adapter.rules.final_depth == DEPTH
                async with told_by(adapter) as story, trio.open_nursery() as nursery:
                    nursery.start_soon(adapter.look_after)
                    yield Case(ledger, adapter, story, orders)
                    nursery.cancel_scope.cancel()


async def _submit(at: Case) -> None:
    at.orders.finish()
    await at.perform(SubmitBatch(batch_of(NODE.address, 0, at.orders)))


async def _seal(at: Case) -> None:
    await at.perform(SealEpoch(epoch_of(at.batch.block, at.ledger.rules.epoch)))


async def _void(at: Case) -> None:
    await at.ledger.warp(at.ledger.rules.starved_s + 1)
    await at.bury()
    await at.perform(VoidStarved(at.batch.batch_id, NODE.address, 0, at.batch.contents))


async def _refund(at: Case) -> None:
    await at.perform(RefundBatch(at.batch.batch_id, NODE.address, 0, at.batch.contents))


Step = Callable[[Case], Awaitable[None]]
STAGES: list[tuple[Step, type[Event]]] = [
    (_submit, BatchSubmitted),
    (_seal, SeedRevealed),
    (_void, BatchVoided),
    (_refund, BatchRefunded),
]


@pytest.mark.parametrize("depth", [1, 3, LAG])
@pytest.mark.parametrize("stage", range(len(STAGES)), ids=["submitted", "sealed", "voided", "refunded"])
async def test_a_reorganisation_at_any_stage_of_a_batch_changes_nothing_that_was_told(
    monkeypatch: pytest.MonkeyPatch, depth: int, stage: int
) -> None:
    async with case(monkeypatch) as at:
        for index, (step, kind) in enumerate(STAGES):
            await step(at)
            if index == stage:
                before = list(at.story.events)
                nonce = await at.ledger.network.ethereum.nonce(NODE.address)
                await at.lose(depth)
                assert await at.ledger.network.ethereum.nonce(NODE.address) <= nonce
                assert [event for event in at.story.events[len(before) :] if not isinstance(event, BlockSeen)] == []
            # Nobody asks again: what fell out is mined again by itself.
            await at.until_told(kind)
            await at.bury()
        for _, kind in STAGES:
            assert len(at.story.all(kind)) == 1
        # One nonce for each of four effects, whatever fell out.
        assert await at.ledger.network.ethereum.nonce(NODE.address) == len(STAGES)
        # The id is that of the block that is final.
        slot = await at.ledger.network.settlement.batch_of(NODE.address, 0)
        assert at.batch.block == slot.commit_block


# --- deeper than final ----------------------------------------------------------------------------------------------
def _at(ledger: AnvilLedger, cursor: int | None, cursor_hash: Hash32 | None = None):  # type: ignore[no-untyped-def]
    return open_chain(
        [ledger.chain.url],
        ledger.deployment,
        Wallet(NODE, ledger.domain, CLIENT),
        record=forget,
        cursor=cursor,
        cursor_hash=cursor_hash,
        poll_s=POLL_S,
    )


async def test_a_final_block_that_was_lost_while_the_node_was_away_stops_it() -> None:
    with trio.fail_after(40):
        async with open_anvil_ledger() as ledger:
            await ledger.mine(20)
            async with ledger.adapter(NODE) as adapter, told_by(adapter):
                cursor, cursor_hash = adapter.watcher.cursor, adapter.watcher.cursor_hash
            assert cursor_hash is not None
            async with _at(ledger, cursor, cursor_hash) as adapter, told_by(adapter) as story:
                assert story.all(BlockSeen)
            await ledger.controls.reorg(ledger.rules.final_depth + 2)
            await ledger.mine(10)
            async with _at(ledger, cursor, cursor_hash) as adapter:
                with pytest.raises(ReorgedOut, match=rf"^block {cursor} was final and is another one now: .* once the"):
                    await adapter.run(Story().add)


# --- the cursor -----------------------------------------------------------------------------------------------------
async def test_what_was_journalled_before_the_cursor_is_told_again_from_it() -> None:
    with trio.fail_after(40):
        async with open_anvil_ledger() as ledger:
            await ledger.register(NODE)
            await ledger.deposit(CLIENT, 100 * VCN)
            orders = Orders(CLIENT, NODE, ledger.domain)
            _, now = await ledger.now()
            async with ledger.adapter(NODE, CLIENT) as adapter:
                await adapter.perform(OpenLane(*orders.lane_open(50 * VCN, now + 600)))
                await ledger.mine(ledger.rules.final_depth)
                async with told_by(adapter) as story:
                    # A kill after these events are kept, and before the cursor moves past them.
                    cursor, cursor_hash = adapter.watcher.cursor, adapter.watcher.cursor_hash
                    orders.finish()
                    await adapter.perform(SubmitBatch(batch_of(NODE.address, 0, orders)))
                    head, _ = await ledger.now()
                    await ledger.mine(ledger.rules.final_depth)
                    await story.until_block(head)
                    first = story.all(BatchSubmitted)
            async with _at(ledger, cursor, cursor_hash) as adapter, told_by(adapter) as story:
                assert story.all(BatchSubmitted) == first != []
