"""Following an Anvil: reorganisations, endpoints that fail, histories in many pieces."""

import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from chain.perform.adapter import ChainAdapter, open_chain
from chain.tx.wallet import Wallet
from protocol.effects import CheckIn, OpenLane, RefundBatch, SealEpoch, SubmitBatch, VoidStarved
from protocol.errors import ChainError, ReorgedOut
from protocol.events import BatchMined, BatchSubmitted, BlockSeen, LaneSeen, NodeSeen, SeedRevealed
from protocol.params import VCN
from protocol.stages.sampling import epoch_of
from tests.support.anvil_ledger import POLL_S, AnvilLedger, forget, open_anvil_ledger
from tests.support.endpoint import RpcFault, endpoint, forward
from tests.support.event_recorder import Story, told_by
from tests.support.jobs import Orders, batch_of, key

pytestmark = pytest.mark.anvil

NODE, CLIENT = key("node"), key("client")
DAY_S = 86_400


@dataclass
class Shift:
    """A provider at work with an open lane."""

    ledger: AnvilLedger
    adapter: ChainAdapter
    orders: Orders

    async def submit(self, slot: int = 0) -> BatchMined:
        self.orders.finish()
        mined = await self.adapter.perform(SubmitBatch(batch_of(NODE.address, slot, self.orders)))
        assert isinstance(mined, BatchMined)
        return mined

    async def final(self, story: Story) -> None:
        head, _ = await self.ledger.now()
        await self.ledger.mine(self.ledger.rules.final_depth)
        await story.until_block(head)


@asynccontextmanager
async def shift() -> AsyncIterator[Shift]:
    with trio.fail_after(60):
        async with open_anvil_ledger() as ledger:
            await ledger.register(NODE)
            await ledger.deposit(CLIENT, 100 * VCN)
            async with ledger.adapter(NODE, CLIENT) as adapter:
                orders = Orders(CLIENT, NODE, ledger.domain)
                _, now = await ledger.now()
                await adapter.perform(OpenLane(*orders.lane_open(50 * VCN, now + 600)))
                await ledger.mine(ledger.rules.final_depth)
                yield Shift(ledger, adapter, orders)


def connected(at: Shift, url: str, timeout_s: float = 10.0) -> AbstractAsyncContextManager[ChainAdapter]:
    """The provider's hold on the chain through another endpoint."""
    wallet = Wallet(NODE, at.ledger.domain, CLIENT)
    return open_chain([url], at.ledger.deployment, wallet, record=forget, timeout_s=timeout_s, poll_s=POLL_S)


async def test_a_batch_that_a_reorganisation_takes_away_was_never_told() -> None:
    async with shift() as at, told_by(at.adapter) as story:
        await at.submit()
        await story.until(BlockSeen, lambda seen: seen.head == seen.final + at.ledger.rules.final_depth)
        told = list(story.events)
        await at.ledger.controls.reorg(1)
        # Anvil puts what it took out back into its pool: without that it stays gone.
        await at.ledger.controls.raw("anvil_dropAllTransactions")
        head, _ = await at.ledger.now()
        await at.ledger.mine(5)
        await story.until_block(head + 2)
        assert story.all(BatchSubmitted) == []
        assert [event for event in story.events[len(told) :] if not isinstance(event, BlockSeen)] == []


async def test_a_batch_that_is_mined_again_is_told_under_its_new_name_alone() -> None:
    async with shift() as at, told_by(at.adapter) as story:
        at.orders.finish()
        effect = SubmitBatch(batch_of(NODE.address, 0, at.orders))
        first = await at.adapter.perform(effect)
        await at.ledger.controls.reorg(1)
        await at.ledger.controls.raw("anvil_dropAllTransactions")
        await at.ledger.mine(1)
        again = await at.adapter.perform(effect)
        assert isinstance(first, BatchMined)
        assert isinstance(again, BatchMined)
        assert again.block > first.block
        await at.final(story)
        assert [told.batch_id for told in story.all(BatchSubmitted)] == [again.batch_id]


async def test_losing_a_final_block_stops_the_watcher() -> None:
    async with shift() as at:
        with pytest.RaisesGroup(pytest.RaisesExc(ReorgedOut, match="was final and is another one now")):
            async with told_by(at.adapter) as story:
                await at.submit()
                await at.final(story)
                await at.ledger.controls.reorg(at.ledger.rules.final_depth + 2)
                await at.ledger.mine(5)
                await story.until_block(10**6)


async def test_a_chain_that_is_shorter_than_the_cursor_was_started_anew() -> None:
    async with shift() as at, at.ledger.adapter(NODE, cursor=10**6) as adapter:
        with pytest.raises(ReorgedOut, match="this node has seen block 1000000: it was started anew"):
            await adapter.run(Story().add)


async def test_a_chain_that_is_down_at_the_start_is_an_error() -> None:
    async with shift() as at:
        at.ledger.chain.stop()
        with pytest.raises(ChainError, match="no Ethereum endpoint answers"):
            await at.adapter.run(Story().add)


async def test_a_chain_that_stops_answering_is_followed_again_when_it_does() -> None:
    async with shift() as at, connected(at, at.ledger.chain.url, timeout_s=1.0) as adapter, told_by(adapter) as story:
        at.ledger.chain.process.send_signal(signal.SIGSTOP)
        while not adapter.watcher.trouble:
            await trio.lowlevel.checkpoint()
        assert "no Ethereum endpoint answers" in adapter.watcher.trouble
        assert "timed out" in adapter.watcher.trouble
        at.ledger.chain.process.send_signal(signal.SIGCONT)
        await at.submit()
        await at.final(story)
        assert len(story.all(BatchSubmitted)) == 1
        assert adapter.watcher.trouble == ""


async def test_an_endpoint_that_serves_few_blocks_at_once_is_asked_in_pieces() -> None:
    async with shift() as at:
        await at.submit()
        await at.ledger.mine(9)
        ask, widest = forward(at.ledger.chain.url), 3

        def narrow(method: str, parameters: list[Any]) -> Any:
            if method == "eth_getLogs":
                first, last = (int(parameters[0][name], 16) for name in ("fromBlock", "toBlock"))
                if last - first + 1 > widest:
                    raise RpcFault(-32005, "query exceeds max block range")
            return ask(method, parameters)

        with endpoint(narrow) as small:
            async with connected(at, small.url) as adapter, told_by(adapter) as story:
                assert [told.slot for told in story.all(BatchSubmitted)] == [0]
                assert {seen.record.node_id for seen in story.all(NodeSeen)} == {NODE.address}
                await at.submit(1)
                await at.final(story)
                assert [told.slot for told in story.all(BatchSubmitted)] == [0, 1]
                head = await adapter.network.ethereum.head()
                assert NODE.address in await adapter.network.stakes.registered(0, head)
            assert small.asked.count("eth_getLogs") > 5


async def test_trouble_in_the_middle_of_a_history_repeats_nothing() -> None:
    async with shift() as at:
        ask, healthy, calls = forward(at.ledger.chain.url), True, 0

        def flaky(method: str, parameters: list[Any]) -> Any:
            nonlocal calls
            if method == "eth_getLogs" and not healthy:
                if parameters[0]["fromBlock"] != parameters[0]["toBlock"]:
                    raise RpcFault(-32005, "one block at a time")
                calls += 1
                if calls % 3 == 0:
                    raise RpcFault(-32000, "try again")
            return ask(method, parameters)

        with endpoint(flaky) as bad:
            async with connected(at, bad.url) as adapter, told_by(adapter) as story:
                healthy, before = False, len(story.all(LaneSeen))
                mined = [await at.submit(slot) for slot in range(3)]
                await at.ledger.mine(9)
                await at.final(story)
                assert [told.batch_id for told in story.all(BatchSubmitted)] == [each.batch_id for each in mined]
                assert len(story.all(LaneSeen)) == before + 3
        assert calls > 9


async def test_scores_that_age_are_told_after_a_while() -> None:
    async with shift() as at, told_by(at.adapter) as story:
        fresh = (await story.until(NodeSeen)).record.score
        await at.adapter.perform(CheckIn(NODE.address, 1))
        await at.final(story)
        checked_in = story.all(NodeSeen)[-1].record.score
        assert checked_in > fresh
        await at.ledger.warp(5 * DAY_S)
        await at.ledger.mine(70)
        await story.until(NodeSeen, lambda told: fresh < told.record.score < checked_in)


async def test_a_finished_batch_is_no_part_of_the_state() -> None:
    async with shift() as at:
        mined = await at.submit()
        await at.ledger.mine(10)
        await at.adapter.perform(SealEpoch(epoch_of(mined.block, at.ledger.rules.epoch)))
        await at.ledger.warp(at.ledger.rules.starved_s + 1)
        contents = (await _first_batch(at)).contents
        await at.adapter.perform(VoidStarved(mined.batch_id, NODE.address, 0, contents))
        await at.adapter.perform(RefundBatch(mined.batch_id, NODE.address, 0, contents))
        await at.ledger.mine(2)
        async with at.ledger.adapter(NODE) as late, told_by(late) as story:
            assert story.all(BatchSubmitted) == []
            assert story.all(SeedRevealed) == []
            assert len(story.all(LaneSeen)) == 1


async def _first_batch(at: Shift) -> BatchSubmitted:
    async with at.ledger.adapter(NODE) as adapter, told_by(adapter) as story:
        return await story.until(BatchSubmitted)
