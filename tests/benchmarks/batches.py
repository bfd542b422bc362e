"""Gas of a whole batch: all its transactions from submit to finalize, as Anvil's receipts have them.

Sent by the adapter that nodes use. A tenth of the leaves is drawn, so the court is in it, with every seat's commit and
reveal, and so is the seal, which other batches of the epoch would share. A word that is written for the first time
costs four times as much. A ring has 64 slots that are used over and over, so the bare key is a slot that was used
before; `_fresh` is a slot that never was; `_first` is a fresh slot whose case has seats that were never paid. Lanes
are open: they outlive many batches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trio

from chain.contracts.settlement import contents_of
from chain.tx.wallet import Key
from protocol.effects import (
    CommitSeat,
    ConveneCourt,
    FinalizeBatch,
    OpenLane,
    ResolveCase,
    RevealSeat,
    SealEpoch,
    SubmitBatch,
)
from protocol.events import BatchMined
from protocol.judging.margins import HEAD_START
from protocol.params import VCN
from protocol.stages.sampling import epoch_of
from protocol.stages.verification import seat_commitment
from protocol.wire.ids import BatchId
from tests.benchmarks.line import Line
from tests.support.anvil_ledger import AnvilLedger, open_anvil_ledger
from tests.support.jobs import CLASS, PRICE, Orders, batch_of, key, named

NEEDS = ("venv", "node tools")
KEYS = ("gas.batch",)
NODE = key("node")
CLIENTS = tuple(key(f"client {number}") for number in range(10))
SEATS = 3
PROBATION = 20
THREE_SEATS, ONE_SEAT = VCN // 10, VCN // 20
"""Price of a job: a tenth of a hundred of them is worth three seats, or just not."""
NO_BONUS_MS = 5_000
SCORE = 9_700
LLR_MILLINATS = -1_800
"""The ratio that seats tell of an honest node."""
REPEATS = 3
"""How many tickets a draw takes is chance."""


@dataclass(frozen=True)
class Work:
    """Equal jobs, evenly spread over clients; the goal is gas a job."""

    name: str
    jobs: int
    clients: int
    price: int
    goal: str

    def line(self, state: str, *batches: list[int]) -> Line:
        """The mean of some batches, each with the gas of its transactions."""
        gas = sum(sum(each) for each in batches) / len(batches)
        anchor = f"{len(batches[0])} transactions"
        return Line(f"gas.{self.name}{state}", gas / self.jobs, "gas/job", self.goal, anchor, len(batches))


WORKS = (
    Work("batch100_1client", 100, 1, THREE_SEATS, "<= 8500"),
    Work("batch100_10clients", 100, 10, THREE_SEATS, "<= 10000"),
    Work("batch100_one_seat", 100, 1, ONE_SEAT, "<= 5000"),
    Work("batch500", 500, 1, THREE_SEATS, "<= 2000"),
)


def run() -> list[Line]:
    """Raises: ChainError if a transaction is refused."""
    return trio.run(_measured)


async def _measured() -> list[Line]:
    lines = []
    async with open_anvil_ledger() as ledger:
        scene = Scene(ledger)
        await scene.set_up()
        for slot, work in enumerate(WORKS):
            fresh = await scene.gas_of(work, slot)
            used = [await scene.gas_of(work, slot) for _ in range(REPEATS)]
            lines += [work.line("", *used), work.line("_fresh", fresh)]
    async with open_anvil_ledger() as ledger:
        scene = Scene(ledger)
        await scene.set_up()
        for slot, work in enumerate(WORKS):
            await scene.replace_bench()
            lines.append(work.line("_first", await scene.gas_of(work, slot)))
    return lines


@dataclass
class Scene:
    """A node past its probation, the lanes of its clients, and all the verifiers there are: three."""

    ledger: AnvilLedger
    lanes: list[Orders] = field(default_factory=list)
    bench: list[Key] = field(default_factory=list)
    benches: int = 0

    async def set_up(self) -> None:
        ledger = self.ledger
        await ledger.register(NODE, 20_000 * VCN)
        for client in CLIENTS:
            await ledger.deposit(client, 500 * VCN)
            lane = Orders(client, NODE, ledger.domain)
            async with ledger.adapter(NODE, client) as adapter:
                await adapter.perform(OpenLane(*lane.lane_open(400 * VCN, (await ledger.now())[1] + 600)))
            self.lanes.append(lane)
        await self.replace_bench()
        # The few cases in which an honest node's head start goes cost a word each.
        await self.gas_of(Work("probation", PROBATION, 1, PRICE, ""), 63, -HEAD_START)

    async def replace_bench(self) -> None:
        """Three verifiers who were not paid yet take the place of those of now."""
        for old in self.bench:
            await self.ledger.actions(old).leave_verifiers(old.address, CLASS)
        self.benches += 1
        self.bench = [key(f"verifier {self.benches}.{number}") for number in range(SEATS)]
        for new in self.bench:
            await self.ledger.register(new)
            await self.ledger.join(new)

    async def gas_of(self, work: Work, slot: int, llr_millinats: int = LLR_MILLINATS) -> list[int]:
        """Gas of every transaction of a batch, in order."""
        ledger = self.ledger
        lanes = self.lanes[: work.clients]
        for lane in lanes:
            for _ in range(work.jobs // work.clients):
                lane.finish(price=work.price, actual_ms=NO_BONUS_MS)
        batch = batch_of(NODE.address, slot, *lanes)
        contents = contents_of(batch)
        before, _ = await ledger.now()
        async with ledger.adapter(NODE) as adapter:
            mined = await adapter.perform(SubmitBatch(batch))
            assert isinstance(mined, BatchMined)
            name = BatchId(mined.batch_id)
            await ledger.mine(ledger.rules.epoch + ledger.rules.lag + 1)
            await adapter.perform(SealEpoch(epoch_of(mined.block, ledger.rules.epoch)))
            await adapter.perform(ConveneCourt(name, NODE.address, slot, contents))
            await self._judge(name, llr_millinats)
            await adapter.perform(ResolveCase(name, contents))
            await ledger.warp(ledger.rules.challenge_window_s)
            await adapter.perform(FinalizeBatch(name, NODE.address, slot))
        return await self._spent(before)

    async def _judge(self, name: BatchId, llr_millinats: int) -> None:
        court = self.ledger.network.court
        seats, drawn = await court.seats_of(name), (await court.case_of(name)).drawn_count
        keys = {one.address: one for one in self.bench}
        for step in (CommitSeat, RevealSeat):
            for seat, each in enumerate(seats):
                digest, salt = named(f"projections {seat}"), named(f"salt {seat}")
                async with self.ledger.adapter(keys[each.node]) as adapter:
                    if step is CommitSeat:
                        await adapter.perform(
                            CommitSeat(name, seat, seat_commitment(name, 0, seat, digest, salt, llr_millinats))
                        )
                    else:
                        await adapter.perform(RevealSeat(name, seat, digest, (SCORE,) * drawn, salt, llr_millinats))

    async def _spent(self, before: int) -> list[int]:
        raw = self.ledger.controls.raw
        gas: list[int] = []
        for block in range(before + 1, (await self.ledger.now())[0] + 1):
            receipts: list[dict[str, Any]] = await raw("eth_getBlockReceipts", hex(block))
            gas += [int(receipt["gasUsed"], 16) for receipt in receipts]
        return gas
