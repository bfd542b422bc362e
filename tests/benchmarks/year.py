"""A provider's journal after a long time: a few jobs of its own, and the chain's events about all other nodes.

Run as `python -m tests.benchmarks.year DIRECTORY ROWS`: it writes rows as a node does, lets snapshots take the place of
old ones, and prints the number of the last row after each commit.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from node.folding import COMPACT_ROWS, Folding
from node.journal import Entry, open_journal
from protocol import events as ev
from protocol.params import VCN
from protocol.roles.machine import Machine
from protocol.stages.assignment import Account, Lane
from protocol.stages.commitment import BatchContents, BatchSums, LaneDebit
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, Wei, checksum
from tests.simulation.node import Node
from tests.simulation.scene import START_MS, ask
from tests.simulation.world import World

OWN_JOBS = 20
JOB_EVERY_MS = 40_000
NODES, CLIENTS, CLIENTS_A_BATCH = 1_000, 10_000, 3
BATCH_EVERY_MS = 600
"""1,000 nodes with 144 batches a day each."""
COMMIT_ROWS = 500
LIKE_A_NODE, RARELY = 15 * COMPACT_ROWS, 10
"""The last rows, compacted as a node does it, and how many times as many are compacted at once before them."""
OWN_EVERY = 2_000
"""Rows of others between two of this node."""


def fresh_machine() -> Machine:
    """The provider's machine before its first event."""
    return _town()[1].machine.fresh()


def _town() -> tuple[World, Node]:
    world = World()
    client = world.add("requester", {"requester"})
    world.chain.deposit(client.address, 10_000 * VCN)
    provider = world.add("provider", {"provider", "verifier"}, 20_000)
    for number in range(3):
        world.add(f"verifier-{number}", {"verifier"}, 5_000)
    return world, provider


def own_rows() -> list[Entry]:
    """The rows of a provider with a few jobs, from bid to pay."""
    world, provider = _town()
    world.start()
    client = world.node("requester")
    for number in range(1, OWN_JOBS + 1):
        world.soon(
            lambda number=number: client.take(ask(number, now_ms=world.now_ms)),  # type: ignore[misc]
            JOB_EVERY_MS * number,
        )
    world.run(lambda: world.now_ms > world.started_ms + JOB_EVERY_MS * OWN_JOBS + 300_000, 10**6)
    return [Entry(*row) for row in provider.journal]


def others_rows(chance: random.Random) -> Iterator[Entry]:
    """Events of the chain about batches, lanes and courts of others, without end."""
    nodes, clients = ([_address(chance) for _ in range(count)] for count in (NODES, CLIENTS))
    for number in range(10**9):
        at_ms = START_MS + 3_600_000 + number * BATCH_EVERY_MS
        for event in _batch(number, at_ms // 1_000, nodes, clients, chance):
            yield Entry(event, at_ms)


def _batch(
    number: int, seconds: int, nodes: list[Address], clients: list[Address], chance: random.Random
) -> Iterator[ev.Event]:
    batch_id, node, root = chance.randbytes(32), chance.choice(nodes), chance.randbytes(32)
    chosen = chance.sample(clients, CLIENTS_A_BATCH)
    debits = tuple(LaneDebit(each, each, leaves=4, amount=VCN, index=number % 1_000) for each in chosen)
    sums = BatchSums(charge=3 * VCN, bonus=0, ms=1_000, ok_count=12, failed_count=0)
    yield ev.BatchSubmitted(
        batch_id=batch_id,
        node=node,
        slot=number % 64,
        class_id=1,
        block=number,
        timestamp=seconds,
        rate_bps=1_000,
        leaf_count=12,
        unreceipted=False,
        uncalibrated=False,
        checked=False,
        sums=sums,
        contents=BatchContents(root=root, max_leaf=VCN, debits=debits),
        lane_jobs=(number % 1_000,) * CLIENTS_A_BATCH,
    )
    for debit in debits:
        left = chance.choice((0, VCN, 5 * VCN))
        yield ev.LaneSeen(Lane(debit.client, debit.signer, node, left, number, number % 1_000))
        yield ev.AccountSeen(Account(debit.client, Wei(chance.choice((0, 90 * VCN)))))
    if number % 80 == 0:
        yield ev.SeedRevealed(number // 80, chance.randbytes(32))
    seats = tuple(chance.sample(nodes, 3))
    yield ev.CaseConvened(batch_id, node, number % 64, 1, (3,), seats, seconds)
    for seat in range(3):
        yield ev.SeatCommitted(batch_id, seat)
    for seat, judge in enumerate(seats):
        yield ev.SeatRevealed(batch_id, seat, judge, (9_900,), chance.randbytes(32))
    yield ev.CaseResolved(batch_id, Verdict.PASS, 9_900, number)
    yield ev.BatchSettled(batch_id, node, 3 * VCN, 0, 3 * VCN, 0, 0)


def _address(chance: random.Random) -> Address:
    return checksum("0x" + chance.randbytes(20).hex())


async def write(directory: Path, rows: int) -> None:
    """Write so many rows, with snapshots in the place of old ones as a node lets them take it."""
    own, others = iter(own_rows()), others_rows(random.Random(1))
    with open_journal(directory) as journal:
        folding = Folding(fresh_machine(), journal, lambda: time.time_ns() // 1_000_000)
        last = compacted = 0
        while last < rows:
            mixed = [next(others) for _ in range(COMMIT_ROWS)]
            mixed += [row for row in (next(own, None) for _ in range(COMMIT_ROWS // OWN_EVERY or 1)) if row]
            last = await journal.append(mixed)
            print(last, flush=True)
            # The final state does not tell how often the rows before were compacted.
            if last - compacted >= COMPACT_ROWS * (1 if last > rows - LIKE_A_NODE else RARELY):
                await folding.compact(last)
                compacted = last


if __name__ == "__main__":
    trio.run(write, Path(sys.argv[1]), int(sys.argv[2]))
