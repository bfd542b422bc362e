"""The VCoin contract: balances, transfers and permissions, in wei."""

from dataclasses import dataclass

from chain.contracts.contract import CallTo, Contract
from chain.rpc.ethereum import Call
from chain.tx.wallet import Key
from protocol.wire.envelope import Domain, typed
from protocol.wire.ids import Address, Wei

PERMIT_SECONDS = 600


@typed("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")
@dataclass(frozen=True, slots=True)
class PermitMessage:
    """ERC-2612: `spender` may take `value` from `owner`, once, until `deadline` in seconds."""

    owner: Address
    spender: Address
    value: int
    nonce: int
    deadline: int


@dataclass(frozen=True, slots=True)
class Permit:
    """A signed permission as the contracts take it."""

    deadline: int
    v: int
    r: bytes
    s: bytes


class Token(Contract):
    """The coin of the network."""

    NAME = "VCoin"

    async def balance_of(self, holder: Address) -> Wei:
        """The balance of an account."""
        return Wei(await self.read("balanceOf", holder))

    async def allowance(self, holder: Address, spender: Address) -> Wei:
        """The amount that `spender` may take from `holder`."""
        return Wei(await self.read("allowance", holder, spender))

    async def total_supply(self) -> Wei:
        """The supply that has not been burned."""
        return Wei(await self.read("totalSupply"))

    async def permit(self, owner: Key, spender: Address, amount: int) -> Permit:
        """A permission that rides along with the call that needs it, signed by the owner; good for ten minutes."""
        now = (await self.ethereum.block()).timestamp
        nonce = await self.read("nonces", owner.address)
        message = PermitMessage(owner.address, spender, amount, nonce, now + PERMIT_SECONDS)
        signature = owner.sign(message, Domain(self.ethereum.chain_id, self.address))
        return Permit(message.deadline, signature[64], signature[:32], signature[32:64])

    approve = CallTo[Address, int]("approve")
    """(spender, amount) Let `spender` take `amount`."""

    async def allowing(self, holder: Address, spender: Address, amount: int) -> tuple[Call, ...]:
        """The calls of `holder` before `spender` may take `amount`: none if it may already."""
        return () if await self.allowance(holder, spender) >= amount else (self.approve(spender, amount),)

    transfer = CallTo[Address, int]("transfer")
    """(to, amount) Pay `amount` to somebody."""
