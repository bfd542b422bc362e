"""The EpochBeacon contract: one block hash an epoch, the randomness of its batches."""

from dataclasses import dataclass

from chain.contracts.contract import CallTo, Contract, DecodedLog
from chain.contracts.facts import Fact
from protocol.events import SeedRevealed
from protocol.wire.ids import ZERO_HASH


@dataclass(frozen=True, slots=True)
class Seed:
    """The seed of an epoch, None while it is not sealed; `rearmed` if the first one was lost."""

    value: bytes | None
    rearmed: bool


class Beacon(Contract):
    """The EpochBeacon contract, the source of the draws."""

    NAME = "EpochBeacon"

    async def seed_of(self, epoch: int) -> Seed:
        """The seed of an epoch."""
        value, rearmed = await self.read("seedOf", epoch)
        return Seed(None if value == ZERO_HASH else value, rearmed)

    async def seed_block_of(self, epoch: int) -> int:
        """The block whose hash is the seed."""
        return int(await self.read("seedBlockOf", epoch))

    seal = CallTo[int]("seal")
    """(epoch) Keep the seed; anyone, once its block is there."""

    rearm = CallTo[int]("rearm")
    """(epoch) Give an epoch whose seed was lost one more block."""

    def fact(self, entry: DecodedLog) -> Fact | None:
        """The fact in a log of this contract."""
        match entry.event, entry.values:
            case "EpochSealed", (epoch, seed, _):
                return SeedRevealed(epoch, seed)
        return None
