"""Signs of life: this node answers a liveness challenge on the chain within minutes."""

import logging
from dataclasses import dataclass

import trio

from chain.contracts.network import Network
from chain.tx.transactions import MAX_PAUSE_S, Sender
from protocol.errors import ChainError, Reverted
from protocol.wire.ids import Address, Hash32

log = logging.getLogger(__name__)

LOOK_BACK_BLOCKS = 300
"""The five minutes of a challenge in blocks of a second; a finality of its own would come too late."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The challenger, the deadline of an answer in seconds, and the transaction: two may come in one second."""

    challenger: Address
    answer_by: int
    transaction: Hash32


class LivenessResponder:
    """Answers challenges of one node at the head of the chain; each once."""

    def __init__(self, network: Network, operator: Sender, node: Address) -> None:
        self._network = network
        self._operator = operator
        self._node = node
        self._answered: set[Challenge] = set()

    async def give(self, pause_s: float) -> None:
        """Look and answer until cancelled. Silent endpoints only make it wait."""
        wait_s = pause_s
        while True:
            try:
                await self.look()
            except ChainError:
                wait_s = min(wait_s * 2, MAX_PAUSE_S)
            else:
                wait_s = pause_s
            await trio.sleep(wait_s)

    async def look(self) -> None:
        """Answer what can still be answered.

        Raises: ChainError, transient, if no endpoint answers; it is asked for again at the next look.
        """
        head = await self._network.ethereum.block()
        self._answered = {each for each in self._answered if each.answer_by >= head.timestamp}
        for asked in await self._challenges(head.number):
            if asked.answer_by < head.timestamp or asked in self._answered:
                continue
            about = {"challenger": asked.challenger}
            try:
                await self._operator.send(self._network.stakes.answer_liveness(self._node, asked.challenger))
                log.info("sign of life given", extra=about)
            except Reverted as error:
                log.info("no sign of life was taken", extra={**about, "error": str(error)})
            self._answered.add(asked)

    async def _challenges(self, head: int) -> list[Challenge]:
        first = max(0, head - LOOK_BACK_BLOCKS)
        return [
            Challenge(challenger, answer_by, entry.log.transaction)
            for entry in await self._network.stakes.entries("LivenessChallenged", first, head)
            for node, challenger, answer_by in [entry.values]
            if node == self._node
        ]
