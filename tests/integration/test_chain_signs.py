"""A liveness challenge on chain gets an answer."""

from __future__ import annotations

import pytest
import trio

from protocol.errors import ChainError
from protocol.params import VCN
from tests.support.anvil_ledger import AnvilLedger, open_anvil_ledger, owner_of
from tests.support.jobs import key

pytestmark = pytest.mark.anvil

NODE, ASKER, OTHER = key("node"), key("asker"), key("other")


async def paid(ledger: AnvilLedger) -> int:
    return (await ledger.actions(NODE).balances(owner_of(NODE).address)).coins


async def test_a_node_answers_each_challenge_of_its_own_once() -> None:
    async with open_anvil_ledger() as ledger:
        for each in (NODE, ASKER, OTHER):
            await ledger.register(each)
        before = await paid(ledger)
        asker = ledger.actions(owner_of(ASKER))
        async with ledger.adapter(NODE) as adapter, trio.open_nursery() as nursery:
            nursery.start_soon(adapter.give_signs, NODE.address)
            await asker.challenge_liveness(OTHER.address, ASKER.address)
            for count in (1, 2):
                await asker.challenge_liveness(NODE.address, ASKER.address)
                with trio.fail_after(30):
                    while await paid(ledger) < before + count * 10 * VCN:
                        await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert await paid(ledger) == before + 20 * VCN
        assert await ledger.network.ethereum.nonce(NODE.address) == 2


async def test_a_challenge_whose_time_is_over_is_left_alone() -> None:
    async with open_anvil_ledger() as ledger:
        await ledger.register(NODE)
        await ledger.register(ASKER)
        await ledger.actions(owner_of(ASKER)).challenge_liveness(NODE.address, ASKER.address)
        await ledger.warp(301)
        async with ledger.adapter(NODE) as adapter:
            with trio.move_on_after(2):
                await adapter.give_signs(NODE.address)
        assert await ledger.network.ethereum.nonce(NODE.address) == 0


async def test_a_silent_endpoint_makes_it_wait_not_fail() -> None:
    async with open_anvil_ledger() as ledger:
        await ledger.register(NODE)
        async with ledger.adapter(NODE) as adapter:

            async def silent(*_: object) -> None:
                raise ChainError("no endpoint answers", transient=True)

            adapter.network.ethereum.block = silent  # type: ignore[assignment,method-assign]
            with trio.move_on_after(1) as scope:
                await adapter.give_signs(NODE.address)
            assert scope.cancelled_caught
