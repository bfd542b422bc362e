"""The Panel contract: the arbiters of a court, who come last."""

from chain.contracts.contract import CallTo, Contract
from chain.rpc.ethereum import Call
from protocol.wire.ids import Address, BatchId


class Panel(Contract):
    """People who let a doubtful batch pass or void it."""

    NAME = "Panel"

    async def arbiters(self) -> tuple[Address, ...]:
        """The arbiters; none while doubts are void at once."""
        return tuple(await self.read("arbiters"))

    async def quorum(self) -> int:
        """How many of them decide."""
        return int(await self.read("quorum"))

    async def votes_of(self, case: BatchId) -> tuple[int, int]:
        """Votes on a case so far: to let it pass, and to void it."""
        passes, voids = await self.read("votesOf", case)
        return passes, voids

    def set_arbiters(self, arbiters: tuple[Address, ...], quorum: int) -> Call:
        """Name the arbiters; the governor. More than half of them must be the quorum."""
        return self.call("setArbiters", tuple(sorted(arbiters, key=str.lower)), quorum)

    vote = CallTo[BatchId, bool]("vote")
    """(case, passes) An arbiter's vote, once a case."""
