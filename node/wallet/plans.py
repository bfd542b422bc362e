"""Movements of money, before and after: the calls decoded, their gas, the balances they leave.

Nothing is sent that was not simulated; what a contract would refuse is said in its words, with a way out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chain.abi.enums import CaseState
from chain.abi.interface import interface, value_in_words
from chain.contracts.network import Network
from chain.contracts.refusals import hint
from chain.contracts.stakes import Registration
from chain.rpc.ethereum import Call, refusal_name
from chain.tx.pending import Prepared
from chain.tx.transactions import GAS_MARGIN_PERCENT, Sender
from chain.tx.wallet import Key
from node.api.faults import Fault, vcn
from node.api.views import BalanceView, CallView, PlanView
from protocol.errors import Reverted
from protocol.stages.assignment import LaneOpen
from protocol.wire.ids import Address, Wei

LANE_SECONDS = 600
VCN, ETH = "VCN", "ETH"


@dataclass(frozen=True, slots=True)
class TransactionPlan:
    """Calls of one wallet, in order, and what they do to its balances; those after the first may need the first."""

    sender: Address
    calls: tuple[Call, ...]
    balances: tuple[BalanceView, ...]


async def deposit(network: Network, client: Key, amount: int) -> TransactionPlan:
    """From a client's wallet into its account; amount in wei. Raises: Fault reverted, where the coins are not there."""
    settlement = network.settlement
    wallet = await _wallet(network, client.address, -amount)
    account = await _account(network, client.address, amount)
    permit = await network.token.permit(client, settlement.address, amount)
    call = settlement.deposit(amount, permit)
    return TransactionPlan(client.address, (call,), (account, wallet))


async def deposit_for(network: Network, by: Key, client: Address, amount: int) -> TransactionPlan:
    """From a wallet into somebody's account; amount in wei. Raises: Fault reverted, where the coins are not there."""
    settlement = network.settlement
    wallet = await _wallet(network, by.address, -amount)
    account = await _account(network, client, amount)
    allowing = await network.token.allowing(by.address, settlement.address, amount)
    return TransactionPlan(by.address, (*allowing, settlement.deposit_for(client, amount)), (account, wallet))


async def withdraw(network: Network, client: Key, amount: int) -> TransactionPlan:
    """Out of a client's account into its wallet; amount in wei."""
    account = await _account(network, client.address, -amount)
    wallet = await _wallet(network, client.address, amount)
    return TransactionPlan(client.address, (network.settlement.withdraw(amount),), (account, wallet))


async def open_lane(network: Network, client: Key, signer: Address, node: Address, amount: int) -> TransactionPlan:
    """Out of a client's account into its lane to a node, in wei; a closing lane is open again."""
    settlement = network.settlement
    lane = await settlement.lane_of(client.address, signer, node)
    deadline = (await network.ethereum.block()).timestamp + LANE_SECONDS
    order = LaneOpen(client.address, signer, node, amount, lane.left + lane.mark, deadline)
    locked = BalanceView("lane", VCN, lane.left, lane.left + amount)
    account = await _account(network, client.address, -amount)
    # The client sends it itself, so it needs no signature.
    return TransactionPlan(client.address, (settlement.open_lane(order, b""),), (locked, account))


async def close_lane(network: Network, client: Key, signer: Address, node: Address) -> TransactionPlan:
    """Start the clock after which a lane's rest may be taken back. Its node may bring jobs on chain until then."""
    lane = await network.settlement.lane_of(client.address, signer, node)
    stays = BalanceView("lane", VCN, lane.left, lane.left)
    return TransactionPlan(client.address, (network.settlement.close_lane(lane),), (stays,))


async def reclaim_lane(network: Network, client: Key, signer: Address, node: Address) -> TransactionPlan:
    """Take the rest of a closed lane back into the account."""
    lane = await network.settlement.lane_of(client.address, signer, node)
    balances = (BalanceView("lane", VCN, lane.left, 0), await _account(network, client.address, lane.left))
    return TransactionPlan(client.address, (network.settlement.reclaim_lane(lane),), balances)


async def register(
    network: Network,
    owner: Key,
    operator: Key,
    amount: int,
    class_ids: Sequence[int],
    *,
    verifies: bool,
    commission_bps: int | None = None,
) -> TransactionPlan:
    """Register a node with its first stake, and put it on the verifiers' lists of those classes that the network has.

    Args: amount in wei; commission_bps, None for what the network gives a node that names none.
    Raises: Fault reverted, where the coins are not there.
    """
    stakes = network.stakes
    wallet = await _wallet(network, owner.address, -amount)
    agreed = await stakes.consent(operator, owner.address)
    # A network may not have a class that this release knows.
    there = {each.id for each in await network.params.classes()}
    class_ids = [class_id for class_id in class_ids if class_id in there]
    mask = sum(1 << class_id for class_id in class_ids)
    terms = Registration(agreed.operator, owner.address, Wei(amount), mask, agreed.deadline, agreed.signature)
    permit = await network.token.permit(owner, stakes.address, amount)
    joins = [network.court.join_verifiers(agreed.operator, class_id) for class_id in class_ids] if verifies else []
    stake = BalanceView("stake", VCN, 0, amount)
    if commission_bps is None:
        call = stakes.register(terms, permit)
    else:
        call = stakes.register_with_commission(terms, commission_bps, permit)
    return TransactionPlan(owner.address, (call, *joins), (stake, wallet))


async def add_stake(network: Network, owner: Key, node: Address, staked: int, amount: int) -> TransactionPlan:
    """Add to a node's stake, of which there is `staked`; wei. Raises: Fault reverted, where the coins are not there."""
    stakes = network.stakes
    wallet = await _wallet(network, owner.address, -amount)
    allowing = await network.token.allowing(owner.address, stakes.address, amount)
    stake = BalanceView("stake", VCN, staked, staked + amount)
    return TransactionPlan(owner.address, (*allowing, stakes.stake(node, amount)), (stake, wallet))


async def delegate(network: Network, staker: Key, node: Address, amount: int) -> TransactionPlan:
    """Stake on somebody else's node; wei. Raises: Fault reverted, where the coins are not there."""
    stakes = network.stakes
    wallet = await _wallet(network, staker.address, -amount)
    staked = (await stakes.delegation_of(node, staker.address)).active
    permit = await network.token.permit(staker, stakes.address, amount)
    stake = BalanceView("stake", VCN, staked, staked + amount)
    return TransactionPlan(staker.address, (stakes.delegate(node, amount, permit),), (stake, wallet))


async def unbond(network: Network, staker: Key, node: Address, amount: int) -> TransactionPlan:
    """Start to take stake back; wei. After a slash a share may round a wei away."""
    has = await network.stakes.delegation_of(node, staker.address)
    stake = BalanceView("stake", VCN, has.active, has.active - amount)
    bucket = BalanceView("unbonding", VCN, has.unbonding, has.unbonding + amount)
    return TransactionPlan(staker.address, (network.stakes.unbond(node, amount),), (stake, bucket))


async def rebond(network: Network, staker: Key, node: Address, amount: int) -> TransactionPlan:
    """Take back an unbond; wei, rounded as in unbond."""
    has = await network.stakes.delegation_of(node, staker.address)
    stake = BalanceView("stake", VCN, has.active, has.active + amount)
    bucket = BalanceView("unbonding", VCN, has.unbonding, has.unbonding - amount)
    return TransactionPlan(staker.address, (network.stakes.rebond(node, amount),), (stake, bucket))


async def withdraw_stake(network: Network, staker: Key, node: Address) -> TransactionPlan:
    """Pay out what has unbonded."""
    has = await network.stakes.delegation_of(node, staker.address)
    bucket = BalanceView("unbonding", VCN, has.unbonding, 0)
    wallet = await _wallet(network, staker.address, has.unbonding)
    return TransactionPlan(staker.address, (network.stakes.withdraw(node),), (bucket, wallet))


async def claim(network: Network, staker: Key, node: Address) -> TransactionPlan:
    """Pay out what stake has earned: to the staker, or for a node's owner to its payout."""
    known = await network.stakes.node_of(node)
    if known is not None and known.owner == staker.address:
        due = (await network.settlement.book_of(node)).rewards
        return TransactionPlan(
            staker.address, (network.settlement.claim(node),), (BalanceView("rewards", VCN, due, 0),)
        )
    due = (await network.stakes.delegation_of(node, staker.address)).rewards
    rewards = BalanceView("rewards", VCN, due, 0)
    wallet = await _wallet(network, staker.address, due)
    return TransactionPlan(staker.address, (network.stakes.claim_rewards(node),), (rewards, wallet))


async def appeal(network: Network, by: Key, node: Address, slot: int) -> TransactionPlan:
    """Ask a larger bench about the case of the batch in a node's slot; the bond comes out of this wallet.

    Raises: Fault reverted where there is nothing to appeal, not by this key, or the coins are not there.
    """
    court, case = network.court, await network.settlement.batch_id_of(node, slot)
    known = await network.stakes.node_of(node)
    contents = await network.settlement.contents_of(node, slot)
    if case is None or known is None or contents is None:
        raise Fault("not_found", f"{node} has no batch in slot {slot}", "vcoin case show tells which are there")
    state = (await court.case_of(case)).state
    if state is not CaseState.DECIDED:
        raise Fault(
            "reverted", f"the case is {state.name.lower()}: there is nothing to appeal", "vcoin case show tells"
        )
    if by.address not in (known.owner, known.operator):
        raise Fault("reverted", f"{by.address} is not a key of {node}", "its owner or its operator may appeal")
    bond = await court.appeal_bond_of(node)
    return await _paying(network, by, court.appeal(case, contents), BalanceView("bond", VCN, 0, bond))


async def plain(network: Network, by: Key, *calls: Call) -> TransactionPlan:
    """Calls that move no coins of ours: what the wallet holds stays."""
    return TransactionPlan(by.address, calls, (await _wallet(network, by.address, 0),))


async def require_allowed(network: Network, call: Call, by: Address) -> None:
    """Try a call as `by` without sending it. Raises: Fault reverted, in the words of a simulation; ChainError."""
    try:
        await network.ethereum.call(call, by)
    except Reverted as error:
        raise _refused(error) from error


async def challenge(network: Network, owner: Key, node: Address, by: Address) -> TransactionPlan:
    """Ask another node for a sign of life, as the owner of `by`; the bond comes back if none is given.

    Raises: Fault reverted, where the coins are not there.
    """
    stakes, bond = network.stakes, (await network.params.profile()).min_deposit
    return await _paying(network, owner, stakes.challenge_liveness(node, by), BalanceView("bond", VCN, 0, bond))


async def miss(network: Network, by: Key, node: Address, challenger: Address) -> TransactionPlan:
    """Say that a node gave no sign in time: its challenger, who may be this wallet, has the bond back."""
    bond = (await network.params.profile()).min_deposit
    held = await network.token.balance_of(challenger)
    back = BalanceView("challenger", VCN, held, held + bond)
    return TransactionPlan(by.address, (network.stakes.miss_liveness(node, challenger),), (back,))


async def fund_pool(network: Network, by: Key, amount: int) -> TransactionPlan:
    """From a wallet into the pool of the seats, in wei. Raises: Fault reverted, where the coins are not there."""
    pool = await network.settlement.pool()
    filled = BalanceView("pool", VCN, pool, pool + amount)
    return await _paying(network, by, network.settlement.fund_pool(amount), filled)


async def flush_burn(network: Network, by: Key) -> TransactionPlan:
    """Burn what batches have set aside for it."""
    pending = await network.settlement.burn_pending()
    return TransactionPlan(by.address, (network.settlement.flush_burn(),), (BalanceView("to burn", VCN, pending, 0),))


async def simulate(network: Network, plan: TransactionPlan) -> PlanView:
    """The effects of a plan and its cost at most. Gas of a call that needs an earlier one first is not known: 0.

    Raises: Fault reverted, ChainError.
    """
    gas = [await _gas(network, plan, index) for index in range(len(plan.calls))]
    base_fee = (await network.ethereum.block()).base_fee
    fee = sum(gas) * (100 + GAS_MARGIN_PERCENT) // 100 * (2 * base_fee + await network.ethereum.tip())
    held = await network.ethereum.balance(plan.sender)
    if held < fee:
        message = f"{plan.sender} has {vcn(held)} of the chain's own coin, gas may cost {vcn(fee)}"
        raise Fault("reverted", message, f"send it {vcn(fee - held)}")
    return _view(plan, gas, fee, ())


async def send(network: Network, plan: TransactionPlan, sender: Sender) -> PlanView:
    """Simulate, then send one call after the other, each once the one before is in a block.

    Raises: Fault reverted, ChainError. Where an earlier call is already mined, the error says so.
    """
    await simulate(network, plan)
    receipts = []
    for call in plan.calls:
        try:
            receipts.append(await sender.send(call))
        except Reverted as error:
            done = ", ".join(each.title for each in plan.calls[: len(receipts)])
            raise _refused(error, f"; done before it: {done}" if done else "") from error
    fee = sum(receipt.fee for receipt in receipts)
    gas = [receipt.gas_used for receipt in receipts]
    return _view(plan, gas, fee, tuple(f"0x{receipt.transaction.hex()}" for receipt in receipts))


async def unrecorded(_prepared: Prepared) -> None:
    """For a sender whose person waits for the end: nothing is journalled."""


async def _account(network: Network, client: Address, change: int) -> BalanceView:
    free = (await network.settlement.account_of(client)).free
    return BalanceView("account", VCN, free, free + change)


async def _wallet(network: Network, holder: Address, change: int) -> BalanceView:
    """A permission may be given for coins that are not there; better said now than by the contract."""
    held = await network.token.balance_of(holder)
    if held + change < 0:
        message = f"the wallet {holder} holds {vcn(held)} VCN, {vcn(-change)} are needed"
        raise Fault("reverted", message, f"send it {vcn(-change - held)} VCN")
    return BalanceView("wallet", VCN, held, held + change)


async def _paying(network: Network, by: Key, call: Call, gain: BalanceView) -> TransactionPlan:
    """A call that takes from a wallet what it adds to `gain`, after the permission that it needs. Raises: Fault."""
    amount = gain.after_wei - gain.before_wei
    wallet = await _wallet(network, by.address, -amount)
    assert call.to is not None
    allowing = await network.token.allowing(by.address, call.to, amount)
    return TransactionPlan(by.address, (*allowing, call), (wallet, gain))


async def _gas(network: Network, plan: TransactionPlan, index: int) -> int:
    try:
        return await network.ethereum.estimate(plan.calls[index], plan.sender)
    except Reverted as error:
        # Before a permission is given, only its absence is no answer.
        permits = plan.calls[0].title == "VCoin.approve"
        if index == 0 or (permits and refusal_name(error) != "ERC20InsufficientAllowance"):
            raise _refused(error) from error
        return 0


def _refused(error: Reverted, more: str = "") -> Fault:
    return Fault("reverted", f"the contract refused {error}{more}", hint(error))


def _view(plan: TransactionPlan, gas: Sequence[int], fee: int, transactions: tuple[str, ...]) -> PlanView:
    calls = tuple(_decoded(call, each) for call, each in zip(plan.calls, gas, strict=True))
    return PlanView(plan.sender, calls, fee, plan.balances, transactions)


def _decoded(call: Call, gas: int) -> CallView:
    contract, _, function = call.title.partition(".")
    layout = interface(contract).functions[function]
    values = layout.decode_input(call.data)
    arguments = tuple((each.name, value_in_words(value)) for each, value in zip(layout.inputs, values, strict=True))
    return CallView(contract, call.to or "", function, arguments, gas)
