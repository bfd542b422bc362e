"""The foreseeable draw of a case, and a verdict's effects on money: the contracts beside their Python twins."""

import pytest
import trio

from chain.abi.enums import BatchState
from chain.perform.adapter import open_chain
from chain.read.treasury import treasury
from chain.tx.wallet import Wallet
from protocol.effects import (
    FinalizeBatch,
)
from protocol.events import SeedRevealed
from protocol.params import VCN
from protocol.stages.sampling import batch_seed, draw_order, draw_samples
from protocol.stages.settlement import convene_pay, split
from tests.support.anvil_ledger import POLL_S, WEALTH, forget, owner_of
from tests.support.endpoint import endpoint, forward
from tests.support.jobs import CLASS, PRICE, key
from tests.support.scenes.chain_courts import CLIENT, NODE, TICKETS, VERIFIERS, hearing

pytestmark = pytest.mark.anvil


async def test_leaves_and_seats_are_those_that_python_draws() -> None:
    async with hearing() as at:
        network = at.ledger.network
        seed = batch_seed((await at.story.until(SeedRevealed)).seed, at.name)
        drawn = draw_samples(seed, 3, 10_000)
        assert tuple(await network.settlement.read("sampledLeaves", NODE.address, 0)) == drawn
        # A verifier that joins after the commit, or left before it, is in no draw.
        late = key("late verifier")
        await at.ledger.register(late)
        await at.ledger.join(late)
        slots = await network.court.verifiers_of(CLASS)
        assert len(slots) == len(VERIFIERS) + 1
        order = draw_order(seed, at.name, at.block, slots, frozenset({NODE.address}), 3 * TICKETS)
        previewed = await network.court.read("previewSeats", NODE.address, 0, at.contents)
        assert tuple(previewed) == tuple(order[:3])
        case = await at.convene()
        assert (case.drawn, case.seats) == (drawn, tuple(order[:3]))
        assert late.address not in order
        assert VERIFIERS[3].address not in order


async def test_what_somebody_else_is_about_to_do_is_no_failure() -> None:
    async with hearing() as at:
        await at.reveal_all(await at.convene())
        ethereum = at.ledger.network.ethereum
        sent = await ethereum.nonce(NODE.address)
        await at.ledger.controls.automine(on=False)
        with endpoint(forward(at.ledger.chain.url)) as counted:
            wallet = Wallet(VERIFIERS[0], at.ledger.domain, None)
            opening = open_chain([counted.url], at.ledger.deployment, wallet, record=forget, poll_s=POLL_S)
            async with opening as slower, trio.open_nursery() as nursery:
                nursery.start_soon(at.adapter.perform, at.resolution)
                while await ethereum.nonce(NODE.address, "pending") == sent:
                    await trio.lowlevel.checkpoint()
                nursery.start_soon(slower.perform, at.resolution)
                # Refused by the pool, it looks at the blocks.
                while "eth_estimateGas" not in counted.asked or counted.asked.count("eth_blockNumber") < 2:
                    await trio.lowlevel.checkpoint()
                await at.ledger.mine()
        assert "eth_sendRawTransaction" not in counted.asked


async def test_rewards_pool_and_burn_are_those_that_python_splits() -> None:
    # An odd price and an odd score: every rounding is in it.
    async with hearing(jobs=3, stake=9_999 * VCN + 7, price=PRICE + 7) as at:
        settlement = at.ledger.network.settlement
        stored = await settlement.batch_of(NODE.address, 0)
        expected = split(stored.charge, stored.fee, stored.bonus, stored.score_hundredths)
        await at.pass_it(await at.convene())
        await at.ledger.warp(at.ledger.rules.challenge_window_s)
        await at.adapter.perform(FinalizeBatch(at.name, NODE.address, 0))
        assert (await settlement.batch_of(NODE.address, 0)).state is BatchState.FINAL
        convened = convene_pay(stored.fee)
        assert (await settlement.book_of(NODE.address)).rewards == expected.reward + expected.bonus + convened
        assert await settlement.burn_pending() == expected.burned
        seats = sum([(await settlement.book_of(verifier.address)).rewards for verifier in VERIFIERS])
        assert seats == 3 * ((stored.fee - convened) // 3)
        assert await settlement.pool() + seats + convened == expected.pooled


async def test_a_reward_is_paid_to_the_owner_of_the_node() -> None:
    async with hearing() as at:
        await at.pass_it(await at.convene())
        await at.ledger.warp(at.ledger.rules.challenge_window_s)
        await at.adapter.perform(FinalizeBatch(at.name, NODE.address, 0))
        owner, actions = owner_of(NODE), at.ledger.actions(CLIENT)
        before = (await actions.balances(owner.address)).coins
        due = await actions.rewards(NODE.address)
        await actions.claim(NODE.address)
        assert due > 0
        assert (await actions.balances(owner.address)).coins == before + due


async def test_the_treasury_tells_what_is_before_a_court() -> None:
    async with hearing() as held:
        network, first = held.ledger.network, held.ledger.deployment.block
        before = await treasury(network, first)
        assert (before.cases, before.in_court) == (0, 0)
        case = await held.convene()
        batch = await network.settlement.batch_of(NODE.address, 0)
        during = await treasury(network, first)
        assert (during.cases, during.in_court) == (1, batch.charge + batch.fee + batch.bonus)
        await held.pass_it(case)
        await held.ledger.warp(held.ledger.rules.challenge_window_s)
        await held.adapter.perform(FinalizeBatch(held.name, NODE.address, 0))
        after = await treasury(network, first)
        assert (after.cases, after.in_court, after.burned) == (0, 0, 0)
        assert after.burn_pending == -(-batch.charge // 10)
        assert after.pool == await network.settlement.read("pool")


async def test_a_reward_is_shared_with_who_stakes_on_the_node() -> None:
    async with hearing() as at:
        friend = key("friend")
        await at.ledger.give(friend)
        staker = at.ledger.actions(friend)
        await staker.delegate(NODE.address, 10_000 * VCN)
        await at.pass_it(await at.convene())
        await at.ledger.warp(at.ledger.rules.challenge_window_s)
        await at.adapter.perform(FinalizeBatch(at.name, NODE.address, 0))
        owner = owner_of(NODE).address
        before = (await staker.balances(owner)).coins
        due = await staker.rewards(NODE.address)
        # A tenth is the commission; of the rest one half, for the owner's own stake is as large.
        shared = due * 9 // 10 // 2
        shown = (await staker.delegation(NODE.address)).rewards
        assert shown > 0
        assert 0 <= shared - shown <= 1
        paid = await staker.claim_rewards(NODE.address)
        assert paid.balances.coins == WEALTH - 10_000 * VCN + shown
        assert (await staker.balances(owner)).coins == before + due - shared
        assert await staker.rewards(NODE.address) == 0
