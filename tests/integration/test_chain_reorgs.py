"""Reorganisations of 1, 3 and LAG blocks at each step of a batch, deeper ones, and a cursor that was not kept.

What a court adds to that is in `test_chain_reorgs_court`.
"""

import pytest
import trio

from chain.perform.adapter import open_chain
from chain.rpc.ethereum import Call
from chain.tx.wallet import Wallet
from protocol.effects import OpenLane, SubmitBatch
from protocol.errors import ReorgedOut
from protocol.events import (
    AccountSeen,
    BatchSubmitted,
    BlockSeen,
    Event,
    SeedRevealed,
)
from protocol.params import VCN
from protocol.wire.ids import Hash32
from tests.integration.lost_blocks import CLIENT, NODE, Loss, case, each_loss, walk
from tests.support.anvil_ledger import POLL_S, AnvilLedger, forget, open_anvil_ledger
from tests.support.event_recorder import Story, told_by
from tests.support.jobs import FAR, Orders, batch_of
from tests.support.scenes.chain_reorgs import STARVED, open_lane, seal, submit

pytestmark = pytest.mark.anvil


# --- a batch without a judge ------------------------------------------------------------------------------------------


@each_loss
async def test_a_reorganisation_at_any_step_of_a_batch_changes_nothing_that_was_told(
    monkeypatch: pytest.MonkeyPatch, loss: Loss
) -> None:
    async with case(monkeypatch) as at:
        await walk(at, STARVED, loss)
        # The id is that of the block that is final.
        slot = await at.ledger.network.settlement.batch_of(NODE.address, 0)
        assert at.batch.block == slot.commit_block


async def test_what_the_new_branch_refuses_is_done_when_it_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with case(monkeypatch) as at:
        for make in (open_lane, submit):
            await at.perform(*await make(at))
            await at.bury()
        who, effect = await seal(at)
        await at.perform(who, effect)
        first = at.signed[-1]
        # It stands before the block that it needs now, and its nonce is used.
        await at.ledger.controls.raw("anvil_reorg", 3, [[f"0x{first.raw.hex()}", 0]])
        receipt = await at.ledger.network.ethereum.receipt(first.hash)
        assert receipt is not None
        assert not receipt.succeeded
        await at.bury()
        assert at.story.all(SeedRevealed) == []
        await at.perform(who, effect)
        await at.bury()
        assert len(at.story.all(SeedRevealed)) == 1
        assert [each.nonce - first.nonce for each in at.signed if each.effect == effect] == [0, 1]


# --- what people do ---------------------------------------------------------------------------------------------------
@each_loss
async def test_a_movement_of_a_person_that_fell_out_is_mined_again_by_itself(
    monkeypatch: pytest.MonkeyPatch, loss: Loss
) -> None:
    async with case(monkeypatch) as at:
        settlement, token = at.ledger.network.settlement, at.ledger.network.token
        sender = (await at.adapter(NODE)).sender_of(CLIENT.address)
        budget = settlement.set_signer(NODE.address, 7 * VCN, FAR)
        deposit = settlement.deposit(20 * VCN, await token.permit(CLIENT, settlement.address, 20 * VCN))
        moves: list[tuple[Call, tuple[type[Event], ...]]] = [
            (budget, ()),
            (deposit, (AccountSeen,)),
            (settlement.withdraw(50 * VCN), (AccountSeen,)),
        ]
        for call, kinds in moves:
            await at.lose(loss, lambda call=call: sender.send(call), kinds)  # type: ignore[misc]
        assert (await settlement.read("signerOf", CLIENT.address, NODE.address))[0] == 7 * VCN
        assert at.story.all(AccountSeen)[-1].account.free == (100 + 20 - 50) * VCN


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
