"""Movements of money on a real chain: what is shown before is what happens, and what cannot happen sends nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from chain.tx.transactions import Sender
from chain.tx.wallet import Key
from node.api.faults import Fault
from node.api.views import PlanView
from node.wallet import plans
from protocol.params import VCN
from tests.support.anvil_ledger import POLL_S, WEALTH, AnvilLedger, open_anvil_ledger, owner_of
from tests.support.jobs import CLASS, key

pytestmark = pytest.mark.anvil

CLIENT, OWNER, OPERATOR = key("client"), key("owner"), key("operator")


@pytest.fixture
async def ledger() -> AsyncIterator[AnvilLedger]:
    async with open_anvil_ledger() as ledger:
        yield ledger


def sender(ledger: AnvilLedger, of: Key) -> Sender:
    return Sender(ledger.network.ethereum, of, plans.unrecorded, poll_s=POLL_S)


async def nonce(ledger: AnvilLedger, of: Key) -> int:
    return await ledger.network.ethereum.nonce(of.address, "pending")


async def done(ledger: AnvilLedger, move: plans.TransactionPlan, by: Key) -> PlanView:
    return await plans.send(ledger.network, move, sender(ledger, by))


async def test_deposit_is_shown_as_it_happens(ledger: AnvilLedger) -> None:
    await ledger.give(CLIENT)
    move = await plans.deposit(ledger.network, CLIENT, 50 * VCN)
    planned = await plans.simulate(ledger.network, move)
    assert (planned.transactions, await nonce(ledger, CLIENT)) == ((), 0)
    (call,) = planned.calls
    assert (call.contract, call.function, call.address) == (
        "Settlement",
        "depositWithPermit",
        ledger.network.settlement.address,
    )
    assert call.arguments[0] == ("amount", str(50 * VCN))
    sent = await done(ledger, move, CLIENT)
    assert len(sent.transactions) == 1
    assert 0 < sent.fee_wei <= planned.fee_wei
    assert 0 < sent.calls[0].gas <= planned.calls[0].gas
    after = await ledger.actions(CLIENT).balances()
    assert {view.name: view.after_wei for view in sent.balances} == {"account": after.free, "wallet": after.coins}


async def test_withdrawal_of_more_than_is_there_sends_nothing(ledger: AnvilLedger) -> None:
    await ledger.deposit(CLIENT, 20 * VCN)
    before = await nonce(ledger, CLIENT)
    with pytest.raises(Fault, match="NotEnoughFree") as caught:
        await done(ledger, await plans.withdraw(ledger.network, CLIENT, 21 * VCN), CLIENT)
    assert (caught.value.code, caught.value.hint != "") == ("reverted", True)
    assert await nonce(ledger, CLIENT) == before
    await done(ledger, await plans.withdraw(ledger.network, CLIENT, 20 * VCN), CLIENT)
    assert (await ledger.actions(CLIENT).balances()).coins == WEALTH


async def test_verifier_is_registered_and_put_on_its_lists(ledger: AnvilLedger) -> None:
    await ledger.give(OWNER)
    move = await plans.register(ledger.network, OWNER, OPERATOR, 5_000 * VCN, (CLASS,), verifies=True)
    planned = await plans.simulate(ledger.network, move)
    assert [(call.function, call.gas > 0) for call in planned.calls] == [
        ("registerWithPermit", True),
        ("joinVerifiers", False),
    ]
    sent = await done(ledger, move, OWNER)
    assert all(call.gas for call in sent.calls)
    node = await ledger.network.stakes.node_of(OPERATOR.address)
    assert node is not None
    assert (node.owner, node.active_stake) == (OWNER.address, 5_000 * VCN)
    assert [slot.node for slot in await ledger.network.court.verifiers_of(CLASS)] == [OPERATOR.address]


async def test_more_stake_needs_a_permission_once(ledger: AnvilLedger) -> None:
    await ledger.give(OWNER)
    await done(
        ledger, await plans.register(ledger.network, OWNER, OPERATOR, VCN * 1_000, (CLASS,), verifies=False), OWNER
    )
    move = await plans.add_stake(ledger.network, OWNER, OPERATOR.address, 1_000 * VCN, 10 * VCN)
    assert [call.title for call in move.calls] == ["VCoin.approve", "StakeManager.stake"]
    await done(ledger, move, OWNER)
    node = await ledger.network.stakes.node_of(OPERATOR.address)
    assert node is not None
    assert node.active_stake == 1_010 * VCN


async def test_what_went_through_before_a_refusal_is_said(ledger: AnvilLedger) -> None:
    await ledger.register(OPERATOR)
    network, owner = ledger.network, owner_of(OPERATOR)
    # Too small a permission: it cannot be known before it is given.
    calls = (network.token.approve(network.stakes.address, VCN), network.stakes.stake(OPERATOR.address, 2 * VCN))
    with pytest.raises(Fault, match=r"ERC20InsufficientAllowance.*done before it: VCoin\.approve"):
        await done(ledger, await plans.plain(network, owner, *calls), owner)


async def test_what_would_be_refused_after_a_permission_is_refused_before_it(ledger: AnvilLedger) -> None:
    stranger = key("stranger")
    await ledger.register(OPERATOR)
    await ledger.give(stranger)
    move = await plans.add_stake(ledger.network, stranger, OPERATOR.address, 1_000 * VCN, 10 * VCN)
    assert [call.title for call in move.calls] == ["VCoin.approve", "StakeManager.stake"]
    with pytest.raises(Fault, match="NotOwner") as caught:
        await done(ledger, move, stranger)
    assert "done before it" not in caught.value.message
    assert await nonce(ledger, stranger) == 0


async def test_empty_wallet_is_named_before_a_permission_is_signed(ledger: AnvilLedger) -> None:
    await ledger.controls.enrich(CLIENT)
    with pytest.raises(Fault, match=f"the wallet {CLIENT.address} holds 0 VCN, 5 are needed") as caught:
        await plans.deposit(ledger.network, CLIENT, 5 * VCN)
    assert (caught.value.code, caught.value.hint) == ("reverted", "send it 5 VCN")


async def test_wallet_without_gas_money_is_named(ledger: AnvilLedger) -> None:
    await ledger.give(CLIENT)
    move = await plans.deposit(ledger.network, CLIENT, 50 * VCN)
    await ledger.controls.raw("anvil_setBalance", CLIENT.address, "0x0")
    with pytest.raises(Fault, match="has 0 of the chain's own coin, gas may cost 0"):
        await done(ledger, move, CLIENT)
    assert await nonce(ledger, CLIENT) == 0


async def test_lane_is_locked_closed_and_taken_back_as_it_is_shown(ledger: AnvilLedger) -> None:
    network = ledger.network
    node, lane = OPERATOR.address, (CLIENT.address, CLIENT.address, OPERATOR.address)
    await ledger.register(OPERATOR)
    await ledger.deposit(CLIENT, 50 * VCN)
    opened = await done(ledger, await plans.open_lane(network, CLIENT, CLIENT.address, node, 20 * VCN), CLIENT)
    assert [(view.name, view.after_wei) for view in opened.balances] == [("lane", 20 * VCN), ("account", 30 * VCN)]
    assert (await network.settlement.lane_of(*lane)).left == 20 * VCN
    with pytest.raises(Fault, match="LaneNotClosing") as early:
        await done(ledger, await plans.reclaim_lane(network, CLIENT, CLIENT.address, node), CLIENT)
    assert "vcoin lane close" in early.value.hint
    await done(ledger, await plans.close_lane(network, CLIENT, CLIENT.address, node), CLIENT)
    found = await network.settlement.lane_of(*lane)
    closes_at_s, (_, now) = await network.settlement.lane_closes_at(found), await ledger.now()
    assert closes_at_s > now
    with pytest.raises(Fault, match="LaneStillClosing"):
        await done(ledger, await plans.reclaim_lane(network, CLIENT, CLIENT.address, node), CLIENT)
    await ledger.controls.warp(closes_at_s - now)
    back = await done(ledger, await plans.reclaim_lane(network, CLIENT, CLIENT.address, node), CLIENT)
    assert [(view.name, view.after_wei) for view in back.balances] == [("lane", 0), ("account", 50 * VCN)]
    assert (await network.settlement.account_of(CLIENT.address)).free == 50 * VCN
    assert await network.settlement.lane_closes_at(await network.settlement.lane_of(*lane)) == 0


async def test_lane_that_was_closing_is_open_again_once_more_is_locked(ledger: AnvilLedger) -> None:
    network, node = ledger.network, OPERATOR.address
    await ledger.register(OPERATOR)
    await ledger.deposit(CLIENT, 50 * VCN)
    await done(ledger, await plans.open_lane(network, CLIENT, CLIENT.address, node, 20 * VCN), CLIENT)
    await done(ledger, await plans.close_lane(network, CLIENT, CLIENT.address, node), CLIENT)
    await done(ledger, await plans.open_lane(network, CLIENT, CLIENT.address, node, VCN), CLIENT)
    lane = await network.settlement.lane_of(CLIENT.address, CLIENT.address, node)
    assert (lane.left, lane.closing) == (21 * VCN, False)


async def test_somebody_stakes_and_leaves_as_shown(ledger: AnvilLedger) -> None:
    await ledger.register(OPERATOR, 2_000 * VCN)
    await ledger.give(CLIENT)
    network, node = ledger.network, OPERATOR.address
    for plan, function, after in (
        (plans.delegate(network, CLIENT, node, 100 * VCN), "delegateWithPermit", (100, 0)),
        (plans.unbond(network, CLIENT, node, 60 * VCN), "unbond", (40, 60)),
        (plans.rebond(network, CLIENT, node, 10 * VCN), "rebond", (50, 50)),
    ):
        sent = await done(ledger, await plan, CLIENT)
        assert [call.function for call in sent.calls] == [function]
        held = await network.stakes.delegation_of(node, CLIENT.address)
        assert (held.active, held.unbonding) == (after[0] * VCN, after[1] * VCN)
        shown = {view.name: view.after_wei for view in sent.balances}
        assert shown["stake"] == held.active
        assert shown.get("unbonding", held.unbonding) == held.unbonding
    early = await plans.withdraw_stake(network, CLIENT, node)
    with pytest.raises(Fault, match="StillUnbonding"):
        await plans.simulate(network, early)
    await ledger.warp(601)
    sent = await done(ledger, await plans.withdraw_stake(network, CLIENT, node), CLIENT)
    assert {view.name: view.after_wei for view in sent.balances} == {"unbonding": 0, "wallet": WEALTH - 50 * VCN}
    assert (await ledger.actions(CLIENT).balances()).coins == WEALTH - 50 * VCN
    with pytest.raises(Fault, match="NoRewards") as caught:
        await plans.simulate(network, await plans.claim(network, CLIENT, node))
    assert caught.value.hint
    with pytest.raises(Fault, match="NothingToClaim"):
        await plans.simulate(network, await plans.claim(network, owner_of(OPERATOR), node))
