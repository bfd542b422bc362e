"""The holder of one key, for tests: stakes, accounts and transfers, each one call, with the balances after it."""

from dataclasses import dataclass

from chain.contracts.network import Network
from chain.contracts.stakes import Delegation, Registration, StakedNode, StakeTerms
from chain.rpc.ethereum import Call
from chain.tx.pending import Prepared, Record
from chain.tx.transactions import Sender
from chain.tx.wallet import Key
from protocol.errors import ChainError
from protocol.stages.assignment import Lane
from protocol.stages.commitment import BatchContents
from protocol.wire.ids import Address, BatchId, Hash32, Wei


@dataclass(frozen=True, slots=True)
class Balances:
    """The balances of a wallet, in wei: VCN in it, VCN free in its account, and the chain's own coin for gas."""

    coins: Wei
    free: Wei
    gas: Wei


@dataclass(frozen=True, slots=True)
class Performed:
    """A transaction that was mined: its cost in the chain's coin, and the wallet's balances after it."""

    transaction: Hash32
    block: int
    gas_used: int
    fee: Wei
    balances: Balances


class Actions:
    """The acts of one key's holder."""

    def __init__(self, network: Network, key: Key, record: Record | None = None, *, poll_s: float = 0.5) -> None:
        self._network = network
        self._key = key
        self._sender = Sender(network.ethereum, key, record or _unrecorded, poll_s=poll_s)

    # ---- to look at

    async def balances(self, holder: Address | None = None) -> Balances:
        """The balances of an address; None for this wallet's own."""
        whose = holder or self._key.address
        return Balances(
            coins=await self._network.token.balance_of(whose),
            free=(await self._network.settlement.account_of(whose)).free,
            gas=await self._network.ethereum.balance(whose),
        )

    async def stake(self, node: Address) -> StakedNode | None:
        """A node's stake and record; None if it is not registered."""
        return await self._network.stakes.node_of(node)

    async def delegation(self, node: Address, staker: Address | None = None) -> Delegation:
        """A staker's part in a node; None for this wallet."""
        return await self._network.stakes.delegation_of(node, staker or self._key.address)

    async def terms(self, node: Address) -> StakeTerms:
        """A node's commission, and what its owner has announced."""
        return await self._network.stakes.terms_of(node)

    async def rewards(self, node: Address) -> Wei:
        """The amount that a node may claim."""
        return (await self._network.settlement.book_of(node)).rewards

    # ---- nodes

    async def register(self, operator: Key, amount: int, class_mask: int, payout: Address | None = None) -> Performed:
        """Register a node with this wallet as its owner; the operator key agrees by a signature.

        Args: amount of stake in wei; class_mask, bit i for device class i; payout, None for this wallet.
        """
        stakes, owner = self._network.stakes, self._key.address
        agreed = await stakes.consent(operator, owner)
        terms = Registration(
            agreed.operator, payout or owner, Wei(amount), class_mask, agreed.deadline, agreed.signature
        )
        permit = await self._network.token.permit(self._key, stakes.address, amount)
        return await self._perform(stakes.register(terms, permit))

    async def add_stake(self, node: Address, amount: int) -> Performed:
        """Add to a node's stake, in wei. Two transactions: the permission first."""
        stakes = self._network.stakes
        await self._allow(stakes.address, amount)
        return await self._perform(stakes.stake(node, amount))

    async def rotate_operator(self, node: Address, operator: Key) -> Performed:
        """Give this wallet's node another operator key, which agrees by a signature."""
        stakes = self._network.stakes
        return await self._perform(stakes.rotate_operator(node, await stakes.consent(operator, self._key.address)))

    async def set_classes(self, node: Address, class_mask: int) -> Performed:
        """Change the device classes of this wallet's node; full probation follows."""
        return await self._perform(self._network.stakes.set_classes(node, class_mask))

    async def set_payout(self, node: Address, payout: Address) -> Performed:
        """Announce where the rewards of this wallet's node go."""
        return await self._perform(self._network.stakes.set_payout(node, payout))

    async def confirm_payout(self, node: Address) -> Performed:
        """Put an announced payout in force."""
        return await self._perform(self._network.stakes.confirm_payout(node))

    async def set_commission(self, node: Address, commission_bps: int) -> Performed:
        """Announce another commission of this wallet's node, in basis points."""
        return await self._perform(self._network.stakes.set_commission(node, commission_bps))

    async def confirm_commission(self, node: Address) -> Performed:
        """Put an announced commission in force."""
        return await self._perform(self._network.stakes.confirm_commission(node))

    async def penalize_offline(self, node: Address) -> Performed:
        """Burn what a node's absence of more than a week costs it; anyone, for nothing."""
        return await self._perform(self._network.stakes.penalize_offline(node))

    async def challenge_liveness(self, node: Address, by: Address) -> Performed:
        """Ask another node for a sign within five minutes, as the owner of `by`; the bond is allowed first."""
        stakes = self._network.stakes
        bond = (await self._network.params.profile()).min_deposit
        await self._allow(stakes.address, bond)
        return await self._perform(stakes.challenge_liveness(node, by))

    async def answer_liveness(self, node: Address, challenger: Address) -> Performed:
        """Give the sign that was asked for, as the node's operator."""
        return await self._perform(self._network.stakes.answer_liveness(node, challenger))

    async def miss_liveness(self, node: Address, challenger: Address) -> Performed:
        """Say that no sign came in time; the bond goes back."""
        return await self._perform(self._network.stakes.miss_liveness(node, challenger))

    # ---- stake, on one's own node or on somebody else's

    async def delegate(self, node: Address, amount: int) -> Performed:
        """Stake on somebody else's node, in wei."""
        stakes = self._network.stakes
        await self._require_coins(amount)
        permit = await self._network.token.permit(self._key, stakes.address, amount)
        return await self._perform(stakes.delegate(node, amount, permit))

    async def unbond(self, node: Address, amount: int) -> Performed:
        """Start to take this wallet's stake back, in wei."""
        return await self._perform(self._network.stakes.unbond(node, amount))

    async def rebond(self, node: Address, amount: int) -> Performed:
        """Take back an unbond, in wei."""
        return await self._perform(self._network.stakes.rebond(node, amount))

    async def withdraw_stake(self, node: Address) -> Performed:
        """Pay unbonded stake out to this wallet."""
        return await self._perform(self._network.stakes.withdraw(node))

    async def claim_rewards(self, node: Address) -> Performed:
        """Pay out what this wallet's stake on somebody else's node has earned."""
        return await self._perform(self._network.stakes.claim_rewards(node))

    async def unjail(self, node: Address) -> Performed:
        """Let a node out of jail once its time is over."""
        return await self._perform(self._network.stakes.unjail(node))

    async def join_verifiers(self, node: Address, class_id: int) -> Performed:
        """Put a node on the list of those who check a device class; its owner or operator."""
        return await self._perform(self._network.court.join_verifiers(node, class_id))

    async def leave_verifiers(self, node: Address, class_id: int) -> Performed:
        """Take a node off that list."""
        return await self._perform(self._network.court.leave_verifiers(node, class_id))

    async def claim(self, node: Address) -> Performed:
        """Pay a node's rewards to its payout address."""
        return await self._perform(self._network.settlement.claim(node))

    async def appeal(self, node: Address, case: BatchId, contents: BatchContents) -> Performed:
        """Ask a larger bench about a node's decided case, for a bond out of this wallet. Two transactions."""
        court = self._network.court
        await self._allow(court.address, await court.appeal_bond_of(node))
        return await self._perform(court.appeal(case, contents))

    # ---- clients

    async def deposit(self, amount: int) -> Performed:
        """Pay into this wallet's account, in wei."""
        settlement = self._network.settlement
        permit = await self._network.token.permit(self._key, settlement.address, amount)
        return await self._perform(settlement.deposit(amount, permit))

    async def withdraw(self, amount: int) -> Performed:
        """Pay free money out of the account to this wallet, in wei."""
        return await self._perform(self._network.settlement.withdraw(amount))

    async def set_signer(self, signer: Address, budget: int, expiry: int) -> Performed:
        """Let a hot key move up to `budget` wei of this account into lanes until `expiry`, in seconds."""
        return await self._perform(self._network.settlement.set_signer(signer, budget, expiry))

    async def close_lane(self, lane: Lane) -> Performed:
        """Start the clock after which a lane's rest may be taken back."""
        return await self._perform(self._network.settlement.close_lane(lane))

    async def reclaim_lane(self, lane: Lane) -> Performed:
        """Take a closed lane's rest back into the account."""
        return await self._perform(self._network.settlement.reclaim_lane(lane))

    # ---- coins

    async def transfer(self, to: Address, amount: int) -> Performed:
        """Pay VCN to somebody, in wei."""
        return await self._perform(self._network.token.transfer(to, amount))

    async def send_gas(self, to: Address, amount: int) -> Performed:
        """Pay of the chain's own coin to somebody, in wei, so that it can send transactions."""
        return await self._perform(Call("transfer of gas money", to, b"", Wei(amount)))

    # ---- inside

    async def _allow(self, spender: Address, amount: int) -> None:
        """Let a contract take this wallet's coins, in wei, where it may not already."""
        await self._require_coins(amount)
        for call in await self._network.token.allowing(self._key.address, spender, amount):
            await self._sender.send(call)

    async def _require_coins(self, amount: int) -> None:
        held = await self._network.token.balance_of(self._key.address)
        if held < amount:
            raise ChainError(f"the wallet {self._key.address} holds {held} wei of VCN, {amount} are needed")

    async def _perform(self, call: Call) -> Performed:
        receipt = await self._sender.send(call)
        return Performed(receipt.transaction, receipt.block, receipt.gas_used, receipt.fee, await self.balances())


async def _unrecorded(prepared: Prepared) -> None:
    """A person who sends one transaction sees what became of it."""
