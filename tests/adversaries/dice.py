"""Seeds that draw who a row needs: in a court, and for an audit. Chance would need hundreds of jobs for that.

A seed is the hash of a block, and a proposer of blocks has some say in it; here a test has all of it. It puts a seed
into the beacon before anybody can seal the epoch. The contracts draw from it as ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import trio
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocol.events import SeedRevealed
from protocol.params import AUDITORS, FULL_BENCH
from protocol.stages.sampling import ListSlot, batch_seed, draw_order, epoch_of, is_audited
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, BatchId
from tests.support.anvil_ledger import AnvilLedger

TICKETS = 64
"""For every seat, as the contract has it; what is first among fewer is first among all."""
THROWS = 1_000_000
SEEDS_SLOT = 0
"""The storage slot of EpochBeacon's seeds."""
Bench = Callable[[Sequence[Address]], bool]


@dataclass(frozen=True)
class Wish:
    """The verifiers of a node's batches, in the order of the draw; whether a case that passes is audited."""

    bench: Bench
    is_audited: bool = False


@dataclass(frozen=True)
class Batch:
    """A batch that waits for its seats, or a case that passed and may be audited: then with those who sat."""

    node: Address
    name: BatchId
    block: int
    sat: frozenset[Address] = frozenset()


@dataclass
class Dice:
    """Throws for the batches and cases of each epoch once it is over.

    owners: of every node. crooked: nodes that begin no court unless that is wished. tell: who hears of a seed.
    """

    ledger: AnvilLedger
    owners: Mapping[Address, Address]
    crooked: frozenset[Address]
    tell: Callable[[SeedRevealed], Awaitable[None]]
    wishes: dict[Address, Wish] = field(default_factory=dict)
    blocks: dict[BatchId, int] = field(default_factory=dict)

    async def after(self, block: int) -> None:
        """A block was mined; before the seed of its epoch can be sealed, if it was the last one, throw."""
        length = self.ledger.rules.epoch
        if epoch_of(block + 1, length) == epoch_of(block, length):
            return
        epoch, network = epoch_of(block, length), self.ledger.network
        first = epoch * length
        submitted = await network.settlement.entries("BatchSubmitted", first, block)
        resolved = await network.court.entries("CaseResolved", first, block)
        new = [Batch(entry.values[0], BatchId(entry.values[2]), entry.log.block) for entry in submitted]
        self.blocks.update({batch.name: batch.block for batch in new})
        passed = [
            await self._passed(BatchId(entry.values[0]), entry.values[1])
            for entry in resolved
            if entry.values[3] == Verdict.PASS
        ]
        if new or passed:
            slots = await self.ledger.verifiers()
            seed = await trio.to_thread.run_sync(self._throw, epoch, slots, new, passed)
            await self._put(epoch, seed)
            await self.tell(SeedRevealed(epoch, seed))

    async def _passed(self, name: BatchId, node: Address) -> Batch:
        seats = await self.ledger.network.court.seats_of(name)
        return Batch(node, name, self.blocks[name], frozenset(seat.node for seat in seats))

    def _throw(self, epoch: int, slots: list[ListSlot], new: Sequence[Batch], passed: Sequence[Batch]) -> bytes:
        for seed in _seeds(epoch):
            if all(self._suits_audit(seed, epoch, slots, batch) for batch in passed) and all(
                self._suits_bench(seed, slots, batch) for batch in new
            ):
                return seed
        raise AssertionError(f"none of {THROWS} seeds draws whom the rows need")

    def _suits_bench(self, seed: bytes, slots: list[ListSlot], batch: Batch) -> bool:
        wish = self.wishes.get(batch.node)
        drawn_by, kin = batch_seed(seed, batch.name), self._kin(batch.node)
        order = draw_order(drawn_by, batch.name, batch.block, slots, kin, TICKETS)
        # Two more sit over a node of the crooks.
        count = 1 if self.crooked.isdisjoint(kin) else FULL_BENCH
        return wish.bench(order) if wish else self.crooked.isdisjoint(order[:count])

    def _suits_audit(self, seed: bytes, epoch: int, slots: list[ListSlot], case: Batch) -> bool:
        wish = self.wishes.get(case.node)
        wanted = wish is not None and wish.is_audited
        if is_audited(seed, case.name) is not wanted:
            return False
        excluded, first = self._kin(case.node) | case.sat, epoch % (1 << 16)
        order = draw_order(seed, case.name, case.block, slots, excluded, AUDITORS * TICKETS, first) if wanted else []
        return self.crooked.isdisjoint(order[:AUDITORS])

    def _kin(self, node: Address) -> frozenset[Address]:
        return frozenset(other for other, owner in self.owners.items() if owner == self.owners[node])

    async def _put(self, epoch: int, seed: bytes) -> None:
        beacon = self.ledger.network.beacon
        place = keccak(encode(["uint256", "uint256"], [epoch, SEEDS_SLOT]))
        await self.ledger.controls.raw("anvil_setStorageAt", beacon.address, f"0x{place.hex()}", f"0x{seed.hex()}")
        assert (await beacon.seed_of(epoch)).value == seed, "EpochBeacon keeps its seeds somewhere else by now"


def _seeds(epoch: int) -> Iterator[bytes]:
    return (keccak(epoch.to_bytes(8, "big") + number.to_bytes(8, "big")) for number in range(THROWS))
