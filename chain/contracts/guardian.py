"""The Guardian contract: who may stop new obligations for a while, and whether they are stopped."""

from dataclasses import dataclass

from chain.contracts.contract import CallTo, Contract
from protocol.wire.ids import Address


@dataclass(frozen=True, slots=True)
class Pausing:
    """The account that may pause, zero for none; from when on, in seconds, 0 for at any time."""

    keeper: Address
    next_pause_at_s: int


class Guardian(Contract):
    """The brake. Whether it is pulled stands in StakeManager, which every submit asks anyway."""

    NAME = "Guardian"

    async def pausing(self) -> Pausing:
        """The account that may pause next, and when."""
        return Pausing(await self.read("keeper"), int(await self.read("nextPauseAt")))

    pause = CallTo[int]("pause")
    """(seconds) Stop register, openLane and submit, for at most 72 hours and once a week; the keeper."""

    resume = CallTo[[]]("resume")
    """End a pause before its time; the keeper or the governor."""

    set_keeper = CallTo[Address]("setKeeper")
    """(keeper) Name who may pause; the governor."""
