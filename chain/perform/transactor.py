"""Sends the transaction of an effect unless the chain shows that it is done already."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import trio

from chain.contracts.network import Network
from chain.rpc.ethereum import Call, refusal_name
from chain.tx.signer import Signer
from chain.tx.transactions import Sender
from protocol import effects as fx
from protocol.errors import Reverted
from protocol.events import Event, TransactionMined
from protocol.params import ChainRules

NEXT_BLOCK_POLLS = 8
_DONE_REFUSALS = frozenset({"SameDay", "AlreadySealed", "DemandedBefore", "AlreadyConvened"})
_OF_MONEY = (fx.FinalizeBatch, fx.RefundBatch, fx.VoidStarved, fx.EndChallenge)
_OF_COURT = (fx.ConveneCourt, fx.ReplaceSeat, fx.ResolveCase, fx.ProveFraud, fx.ConveneAudit, fx.CloseAudit)
_SHARED = (*_OF_MONEY, *_OF_COURT)
"""Effects that several nodes may want at once."""


class Payer(Enum):
    """The key that pays for a call. ANYONE: the operator, or the client if the operator has no coin for gas."""

    OPERATOR = auto()
    CLIENT = auto()
    ANYONE = auto()


@dataclass(frozen=True, slots=True)
class ContractCall:
    """One call, the question whether its work is done already, and the key that pays."""

    call: Call
    is_done: Callable[[], Awaitable[bool]]
    payer: Payer = Payer.OPERATOR


@dataclass(frozen=True, slots=True)
class Transactor:
    """The contracts of a network, and the senders of this machine's keys. `poll_s` is the pause between questions.

    agreed: the same contracts as all endpoints together tell of them.
    """

    network: Network
    agreed: Network
    rules: ChainRules
    signer: Signer
    operator: Sender
    client: Sender
    poll_s: float

    async def do(self, effect: fx.ChainEffect, step: ContractCall) -> TransactionMined:
        """Send the call of a step unless its work is done; a refusal counts as done if another sender was faster.

        Raises: Reverted, ChainError.
        """
        if await step.is_done():
            return await self.mined(effect)
        try:
            receipt = await (await self.sender(step.payer)).send(step.call, effect)
        except Reverted as error:
            if refusal_name(error) in _DONE_REFUSALS or await step.is_done():
                return await self.mined(effect)
            if error.transient or not isinstance(effect, _SHARED):
                raise
            # Another sender's call may wait in the pool: an endpoint that simulates on it refuses before a block tells.
            await self.next_block()
            if not await step.is_done():
                raise
            return await self.mined(effect)
        return TransactionMined(type(effect), fx.about(effect), receipt.block)

    async def mined(self, effect: fx.ChainEffect) -> TransactionMined:
        """The answer to an effect whose work the chain shows already."""
        return TransactionMined(type(effect), fx.about(effect), await self.network.ethereum.head())

    async def sender(self, payer: Payer) -> Sender:
        """The sender of a payer's key."""
        match payer:
            case Payer.OPERATOR:
                return self.operator
            case Payer.CLIENT:
                return self.client
            case Payer.ANYONE:
                has_gas = self.client is self.operator or await self.network.ethereum.balance(self.operator.address)
                return self.operator if has_gas else self.client

    async def next_block(self) -> None:
        """Wait until the pool's calls are in a block, at most some polls long."""
        head = await self.network.ethereum.head()
        for _ in range(NEXT_BLOCK_POLLS):
            await trio.sleep(self.poll_s)
            if await self.network.ethereum.head() != head:
                return


Performer = Callable[[Transactor, Any], Awaitable[Event]]
"""Performs one class of effects."""


def performer(plan: Callable[[Network, Any], ContractCall]) -> Performer:
    """The performer of effects that are one step each."""

    async def perform(at: Transactor, effect: Any) -> Event:
        return await at.do(effect, plan(at.network, effect))

    return perform
