"""The VCoin contract: balances and transfers, in wei."""

from chain.contract import Contract
from chain.ethereum import Call
from protocol.wire.ids import Address, Wei


class Token(Contract):
    """The coin of the network."""

    NAME = "VCoin"

    async def balance_of(self, holder: Address) -> Wei:
        """What an account holds."""
        return Wei(await self.read("balanceOf", holder))

    async def allowance(self, holder: Address, spender: Address) -> Wei:
        """What `spender` may take from `holder`."""
        return Wei(await self.read("allowance", holder, spender))

    async def total_supply(self) -> Wei:
        """What has not been burned."""
        return Wei(await self.read("totalSupply"))

    def approve(self, spender: Address, amount: int) -> Call:
        """Let `spender` take `amount`."""
        return self.call("approve", spender, amount)

    def transfer(self, to: Address, amount: int) -> Call:
        """Pay `amount` to somebody."""
        return self.call("transfer", to, amount)
