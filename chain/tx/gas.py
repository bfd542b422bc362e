"""How far a key's gas money goes: an account that runs dry in the middle of a batch cannot end what it began."""

from dataclasses import dataclass

from chain.rpc.endpoints import RpcRefusal
from chain.rpc.ethereum import Ethereum
from chain.tx.transactions import DEFAULT_TIP, ETHER
from protocol.wire.ids import Address, Wei

CALL_GAS = 300_000
"""A batch of ten clients, or a convened court: what most of a node's calls stay below."""
LOW_CALLS = 50
"""Below so many calls there is still a day to fill it up."""


@dataclass(frozen=True, slots=True)
class GasMoney:
    """An account's balance of the chain's own coin, and how many calls it pays at today's fees."""

    address: Address
    balance: Wei
    calls: int

    @property
    def is_out(self) -> bool:
        """Nothing can be sent any more."""
        return self.calls == 0

    @property
    def trouble(self) -> str:
        """In a sentence, while it is low; empty while it is not."""
        if self.calls >= LOW_CALLS:
            return ""
        held = f"{self.address} has {self.balance / ETHER:.6f} of the chain's own coin for gas"
        return f"{held}: it can send nothing" if self.is_out else f"{held}: enough for about {self.calls} more calls"

    @property
    def hint(self) -> str:
        """The remedy."""
        return f"send some of the chain's own coin to {self.address}"


async def gas_money(ethereum: Ethereum, address: Address) -> GasMoney:
    """Look at an account. Raises: ChainError."""
    base = (await ethereum.block()).base_fee
    try:
        tip = await ethereum.tip()
    except RpcRefusal:
        tip = DEFAULT_TIP
    balance = await ethereum.balance(address)
    return GasMoney(address, balance, balance // max(1, CALL_GAS * (2 * base + tip)))
