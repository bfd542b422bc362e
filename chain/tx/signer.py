"""Signs what this node says. A signature is no transaction: it needs a key and a clock, and no endpoint."""

from dataclasses import dataclass

from chain.rpc.clock import HINT, ChainClock
from chain.tx.wallet import Wallet
from protocol.effects import SignMessage
from protocol.errors import ChainError
from protocol.events import MessageSigned
from protocol.messages import Signable
from protocol.stages.assignment import Assignment, LaneOpen
from protocol.stages.offer import Offer
from protocol.stages.request import Request

_WITH_DEADLINE = (Request, Offer, Assignment, LaneOpen)


@dataclass(frozen=True, slots=True)
class Signer:
    """The keys of this machine, and the clock by which their owner promises deadlines."""

    wallet: Wallet
    clock: ChainClock

    async def perform(self, effect: SignMessage) -> MessageSigned:
        """See `sign`."""
        return self.sign(effect.message)

    def sign(self, message: Signable) -> MessageSigned:
        """Sign a message with the key that its kind belongs to.

        Raises: ChainError if this machine has no such key, or if its clock is wrong and the message has a deadline.
        """
        if isinstance(message, _WITH_DEADLINE) and self.clock.trouble:
            raise ChainError(f"{self.clock.trouble}; {HINT}")
        return MessageSigned(message, self.wallet.sign(message))
