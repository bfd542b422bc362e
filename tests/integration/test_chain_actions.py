"""What people do from their wallets, on Anvil."""

import pytest
import trio

from chain.actions import Actions, hint
from chain.states import NodeState
from protocol.errors import ChainError, Reverted
from protocol.params import VCN
from protocol.wire.ids import Address
from tests.anvil_ledger import DEPLOYER, POLL_S, WEALTH, AnvilLedger, open_anvil_ledger, owner_of
from tests.jobs import CLASS, CLASSES, key

pytestmark = pytest.mark.anvil

OWNER, NODE, FRIEND = key("owner"), key("node"), key("friend")


async def refused(error: str, action: object) -> Reverted:
    with pytest.raises(Reverted, match=rf": {error}\(") as caught:
        await action  # type: ignore[misc]
    return caught.value


async def wealthy(ledger: AnvilLedger) -> Actions:
    await ledger.give(OWNER)
    return ledger.actions(OWNER)


async def test_a_node_is_registered_and_its_stake_shown() -> None:
    async with open_anvil_ledger() as ledger:
        owner = await wealthy(ledger)
        done = await owner.register(NODE, 5_000 * VCN, CLASSES, FRIEND.address)
        assert done.balances.coins == WEALTH - 5_000 * VCN
        assert 0 < done.gas_used < 200_000
        assert done.fee > 0
        node = await owner.stake(NODE.address)
        assert node is not None
        assert (node.owner, node.operator, node.payout) == (OWNER.address, NODE.address, FRIEND.address)
        assert (node.state, node.active_stake, node.class_mask) == (NodeState.ACTIVE, 5_000 * VCN, CLASSES)
        assert await owner.stake(FRIEND.address) is None
        again = await refused("NodeExists", owner.register(NODE, 5_000 * VCN, CLASSES))
        assert "already" in hint(again)


async def test_a_stake_below_the_least_is_refused_before_it_is_sent() -> None:
    async with open_anvil_ledger() as ledger:
        owner = await wealthy(ledger)
        nonce = await ledger.network.ethereum.nonce(OWNER.address)
        error = await refused("StakeTooLow", owner.register(NODE, 999 * VCN, CLASSES))
        assert hint(error)
        assert await ledger.network.ethereum.nonce(OWNER.address) == nonce


async def test_stake_is_added_unbonded_and_paid_out_after_its_time() -> None:
    async with open_anvil_ledger() as ledger:
        owner = await wealthy(ledger)
        await owner.register(NODE, 2_000 * VCN, CLASSES)
        added = await owner.add_stake(NODE.address, 500 * VCN)
        assert added.balances.coins == WEALTH - 2_500 * VCN
        await owner.unbond(NODE.address, 1_000 * VCN)
        node = await owner.stake(NODE.address)
        assert node is not None
        assert (node.active_stake, node.unbonding_stake) == (1_500 * VCN, 1_000 * VCN)
        assert hint(await refused("StillUnbonding", owner.withdraw_stake(NODE.address)))
        await ledger.warp(601)
        paid = await owner.withdraw_stake(NODE.address)
        assert paid.balances.coins == WEALTH - 1_500 * VCN


async def test_nobody_stakes_what_it_has_not() -> None:
    async with open_anvil_ledger() as ledger:
        owner = await wealthy(ledger)
        await owner.register(NODE, 2_000 * VCN, CLASSES)
        with pytest.raises(ChainError, match=r"holds \d+ wei of VCN"):
            await owner.add_stake(NODE.address, WEALTH)
        assert hint(await refused("ERC20InsufficientBalance", owner.register(FRIEND, WEALTH, CLASSES)))


async def test_only_the_owner_moves_stake() -> None:
    async with open_anvil_ledger() as ledger:
        owner = await wealthy(ledger)
        await owner.register(NODE, 2_000 * VCN, CLASSES)
        await ledger.give(FRIEND)
        assert hint(await refused("NotOwner", ledger.actions(FRIEND).unbond(NODE.address, VCN)))


async def test_a_client_pays_in_and_out_at_once() -> None:
    async with open_anvil_ledger() as ledger:
        client = await wealthy(ledger)
        done = await client.deposit(50 * VCN)
        assert (done.balances.free, done.balances.coins) == (50 * VCN, WEALTH - 50 * VCN)
        done = await client.withdraw(20 * VCN)
        assert (done.balances.free, done.balances.coins) == (30 * VCN, WEALTH - 30 * VCN)
        assert hint(await refused("DepositTooLow", client.deposit(9 * VCN)))
        assert hint(await refused("NotEnoughFree", client.withdraw(31 * VCN)))


async def test_a_signer_is_granted_a_budget() -> None:
    async with open_anvil_ledger() as ledger:
        client = await wealthy(ledger)
        await client.set_signer(FRIEND.address, 7 * VCN, 2**39)
        grant = await ledger.network.settlement.grant_of(OWNER.address, FRIEND.address)
        assert (grant.budget, grant.expiry) == (7 * VCN, 2**39)


async def test_a_verifier_joins_and_leaves_its_list() -> None:
    async with open_anvil_ledger() as ledger:
        await ledger.register(NODE)
        operator = ledger.actions(NODE)
        await operator.join_verifiers(NODE.address, CLASS)
        (place,) = await ledger.network.court.verifiers_of(CLASS)
        assert (place.node, place.until_block) == (NODE.address, 2**40 - 1)
        assert hint(await refused("AlreadyJoined", operator.join_verifiers(NODE.address, CLASS)))
        done = await operator.leave_verifiers(NODE.address, CLASS)
        (place,) = await ledger.network.court.verifiers_of(CLASS)
        assert place.until_block == done.block


async def test_a_small_stake_does_not_judge() -> None:
    async with open_anvil_ledger() as ledger:
        await ledger.register(NODE, 2_000 * VCN)
        assert hint(await refused("StakeTooLow", ledger.actions(owner_of(NODE)).join_verifiers(NODE.address, CLASS)))


async def test_coins_and_gas_money_are_handed_out() -> None:
    async with open_anvil_ledger() as ledger:
        faucet = ledger.actions(DEPLOYER)
        await faucet.transfer(FRIEND.address, 3 * VCN)
        await faucet.send_gas(FRIEND.address, 10**18)
        held = await faucet.balances(FRIEND.address)
        assert (held.coins, held.free, held.gas) == (3 * VCN, 0, 10**18)
        await Actions(ledger.network, FRIEND, poll_s=POLL_S).transfer(OWNER.address, VCN)
        assert (await faucet.balances(OWNER.address)).coins == VCN


async def test_a_node_without_rewards_claims_nothing() -> None:
    async with open_anvil_ledger() as ledger:
        await ledger.register(NODE)
        actions = ledger.actions(NODE)
        assert await actions.rewards(NODE.address) == 0
        await refused("NothingToClaim", actions.claim(NODE.address))


async def test_a_wallet_may_send_several_at_once() -> None:
    async with open_anvil_ledger() as ledger:
        faucet = ledger.actions(DEPLOYER)
        people: list[Address] = [key(f"person {index}").address for index in range(5)]
        async with trio.open_nursery() as nursery:
            for person in people:
                nursery.start_soon(faucet.transfer, person, VCN)
        assert [(await faucet.balances(person)).coins for person in people] == [VCN] * 5
