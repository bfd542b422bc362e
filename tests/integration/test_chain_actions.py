"""Acts of people from their wallets, on Anvil."""

import pytest
import trio

from chain.abi.enums import NodeState
from chain.contracts.refusals import hint
from protocol.errors import ChainError, Reverted
from protocol.params import VCN
from protocol.wire.ids import Address
from tests.support.actions import Actions
from tests.support.anvil_ledger import DEPLOYER, POLL_S, WEALTH, AnvilLedger, open_anvil_ledger, owner_of
from tests.support.jobs import CLASS, CLASSES, key

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
        # The first of a network also writes down which device classes there are.
        assert 0 < done.gas_used < 230_000
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


async def test_only_who_has_stake_moves_stake() -> None:
    async with open_anvil_ledger() as ledger:
        owner = await wealthy(ledger)
        await owner.register(NODE, 2_000 * VCN, CLASSES)
        await ledger.give(FRIEND)
        assert hint(await refused("NotStaker", ledger.actions(FRIEND).unbond(NODE.address, VCN)))


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
        grant = await ledger.network.settlement.read("signerOf", OWNER.address, FRIEND.address)
        assert grant == (7 * VCN, 2**39)


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


async def test_somebody_stakes_on_a_node_and_leaves_it() -> None:
    async with open_anvil_ledger() as ledger:
        owner = await wealthy(ledger)
        await owner.register(NODE, 2_000 * VCN, CLASSES)
        await ledger.give(FRIEND)
        friend = ledger.actions(FRIEND)
        done = await friend.delegate(NODE.address, 500 * VCN)
        assert done.balances.coins == WEALTH - 500 * VCN
        held = await friend.delegation(NODE.address)
        assert (held.active, held.unbonding, held.rewards) == (500 * VCN, 0, 0)
        terms = await owner.terms(NODE.address)
        assert (terms.own_stake, terms.delegated_stake, terms.commission_bps) == (2_000 * VCN, 500 * VCN, 1_000)
        node = await owner.stake(NODE.address)
        assert node is not None
        assert (node.active_stake, node.own_stake) == (2_500 * VCN, 2_000 * VCN)
        assert node.record(NODE.address).stake == 2_000 * VCN
        assert hint(await refused("OwnStakeTooLow", friend.delegate(NODE.address, 20_000 * VCN)))
        assert hint(await refused("OwnerDelegates", owner.delegate(NODE.address, 500 * VCN)))
        assert hint(await refused("NoRewards", friend.claim_rewards(NODE.address)))
        await friend.unbond(NODE.address, 500 * VCN)
        await friend.rebond(NODE.address, 100 * VCN)
        assert hint(await refused("StillUnbonding", friend.withdraw_stake(NODE.address)))
        await ledger.warp(601)
        paid = await friend.withdraw_stake(NODE.address)
        assert paid.balances.coins == WEALTH - 100 * VCN


async def test_a_node_gets_another_operator_and_keeps_its_name() -> None:
    async with open_anvil_ledger() as ledger:
        owner = await wealthy(ledger)
        await owner.register(NODE, 2_000 * VCN, CLASSES)
        await owner.rotate_operator(NODE.address, FRIEND)
        node = await owner.stake(NODE.address)
        assert node is not None
        assert node.operator == FRIEND.address
        stakes = ledger.network.stakes
        assert await stakes.node_of_operator(FRIEND.address) == NODE.address
        assert await stakes.node_of_operator(NODE.address) is None
        assert hint(await refused("OperatorTaken", owner.register(FRIEND, 2_000 * VCN, CLASSES)))


async def test_payout_and_commission_are_announced_before_they_change() -> None:
    async with open_anvil_ledger() as ledger:
        owner = await wealthy(ledger)
        await owner.register(NODE, 2_000 * VCN, CLASSES)
        await owner.set_payout(NODE.address, FRIEND.address)
        await owner.set_commission(NODE.address, 2_500)
        terms = await owner.terms(NODE.address)
        assert (terms.next_payout, terms.next_commission_bps) == (FRIEND.address, 2_500)
        assert hint(await refused("NotYet", owner.confirm_payout(NODE.address)))
        await ledger.warp(901)
        await owner.confirm_payout(NODE.address)
        await owner.confirm_commission(NODE.address)
        node = await owner.stake(NODE.address)
        assert node is not None
        assert node.payout == FRIEND.address
        assert (await owner.terms(NODE.address)).commission_bps == 2_500
        assert hint(await refused("NothingAnnounced", owner.confirm_payout(NODE.address)))


async def test_other_classes_start_probation() -> None:
    async with open_anvil_ledger() as ledger:
        owner = await wealthy(ledger)
        await owner.register(NODE, 2_000 * VCN, CLASSES)
        await owner.set_classes(NODE.address, 1 << CLASS)
        node = await owner.stake(NODE.address)
        assert node is not None
        assert (node.class_mask, node.samples_left) == (1 << CLASS, 20)


async def test_a_node_that_was_away_for_more_than_a_week_is_charged_by_anyone() -> None:
    async with open_anvil_ledger() as ledger:
        owner = await wealthy(ledger)
        await owner.register(NODE, 2_000 * VCN, CLASSES)
        assert hint(await refused("NotOffline", owner.penalize_offline(NODE.address)))
        await ledger.warp(10 * 86_400)
        await ledger.give(FRIEND)
        done = await ledger.actions(FRIEND).penalize_offline(NODE.address)
        assert done.balances.coins == WEALTH
        node = await owner.stake(NODE.address)
        assert node is not None
        assert 0 <= 2_000 * VCN * 99**3 // 100**3 - node.active_stake <= 1


async def test_a_node_is_asked_for_a_sign_and_answers_or_does_not() -> None:
    async with open_anvil_ledger() as ledger:
        await ledger.register(NODE)
        await ledger.register(FRIEND)
        asker, node = ledger.actions(owner_of(FRIEND)), ledger.actions(NODE)
        who, paid = owner_of(FRIEND).address, owner_of(NODE).address
        before = (await node.balances(paid)).coins
        await asker.challenge_liveness(NODE.address, FRIEND.address)
        assert hint(await refused("AlreadyChallenged", asker.challenge_liveness(NODE.address, FRIEND.address)))
        await node.answer_liveness(NODE.address, who)
        assert (await node.balances(paid)).coins == before + 10 * VCN
        assert hint(await refused("NotChallenged", node.answer_liveness(NODE.address, who)))
        await asker.challenge_liveness(NODE.address, FRIEND.address)
        held = (await asker.balances()).coins
        await ledger.warp(301)
        assert hint(await refused("AnswerTooLate", node.answer_liveness(NODE.address, who)))
        missed = await asker.miss_liveness(NODE.address, who)
        assert missed.balances.coins == held + 10 * VCN
