"""The chain of a simulated world: the contracts of the fakes under a clock, with a pool of transactions and reorgs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from chain.abi.enums import BatchState
from chain.contracts.profiles import profiles
from chain.rpc.ethereum import TOO_EARLY
from protocol.effects import ChainEffect
from protocol.events import Event
from protocol.wire.ids import Address
from tests.fakes.audits import Audits
from tests.fakes.contracts import MemoryBatch, Refused
from tests.fakes.hand import Hand, answer_of, mined
from tests.simulation.scene import DOMAIN, RULES

ALREADY = {"SameDay"}
DATA_SECONDS = 120
"""Two turns of a seat, and longer than any weather keeps a node away: as on the networks that are no laptop's, where a
node that was away answers what a seat demanded meanwhile."""
Change = Callable[[Audits], None]


@dataclass(frozen=True)
class Sent:
    """A transaction and who hears of its end: with an event, or with the name of the contract's error."""

    hand: Hand
    effect: ChainEffect
    heard: Callable[[Event | Refused], None] = field(compare=False)


@dataclass(frozen=True)
class Block:
    """A block: the contracts before it, who came to the world in it, what it took in, and what it says."""

    before: Audits
    founding: tuple[Change, ...] = ()
    sent: tuple[Sent, ...] = ()
    events: tuple[Event, ...] = ()


class Chain:
    """Blocks of one branch; block 0 is empty. Each block checks that no wei was made or lost."""

    def __init__(self, now_s: int) -> None:
        self.contracts = Audits(
            replace(profiles()[RULES.profile], min_burn=1, data_seconds=DATA_SECONDS), DOMAIN, timestamp=now_s
        )
        self.blocks: list[Block] = [Block(self.contracts)]
        self.reorgs = 0
        self._pool: list[Sent] = []
        self._founding: list[Change] = []
        self._supply = 0

    @property
    def head(self) -> int:
        """The number of the newest block."""
        return len(self.blocks) - 1

    @property
    def final(self) -> int:
        """The number of the newest block that counts."""
        return max(0, self.head - RULES.final_depth)

    def state_at(self, block: int) -> Audits:
        """The contracts after a block that is no older than the newest final one."""
        return self.contracts if block >= self.head else self.blocks[max(0, block) + 1].before

    # --- people, by whom the world begins ---------------------------------------------------------------------------
    def register(self, node: Address, owner: Address, stake: int, *, verifier: bool) -> None:
        """A node with its stake, from the next block on."""
        self._supply += stake
        self._founding.append(lambda contracts: contracts.register(node, owner, stake))
        if verifier:
            self._founding.append(lambda contracts: contracts.join_verifiers(node))

    def deposit(self, client: Address, amount: int) -> None:
        """Money of a client, from the next block on."""
        self._supply += amount
        self._founding.append(lambda contracts: contracts.deposit(client, amount))

    def change(self, how: Change) -> None:
        """Something that the contracts remember, such as a node's record, from the next block on."""
        self._founding.append(how)

    # --- transactions and blocks ------------------------------------------------------------------------------------
    def send(self, sent: Sent) -> None:
        """Simulate a transaction and put it into the pool; the sender hears at once what is done or refused."""
        if (answer := answer_of(self.contracts, sent.effect)) is not None:
            sent.heard(answer)
            return
        try:
            sent.hand.do(self.contracts.fork(), sent.effect)
        except Refused as refused:
            sent.heard(mined(self.contracts, sent.effect) if str(refused) in ALREADY else refused)
        else:
            self._pool.append(sent)

    def mine(self, now_s: int) -> None:
        """Make a block of what waits."""
        pool, self._pool = self._pool, []
        founding, self._founding = tuple(self._founding), []
        for sent, end in self._append(founding, pool, now_s):
            sent.heard(end)

    def reorg(self, depth: int, now_s: int) -> None:
        """Lose the newest `depth` blocks to a branch that is longer by one, in which everything is mined later.

        Nothing final is lost, so `depth` is at most the final depth. Transactions of lost blocks are sent again by the
        endpoints that have it; who had heard of it hears nothing new.
        """
        assert depth <= RULES.final_depth
        # The first block brings everybody into the world.
        depth = min(depth, self.head - 1)
        if depth < 1:
            return
        lost = self.blocks[len(self.blocks) - depth :]
        self.reorgs += 1
        self.contracts = lost[0].before
        self.blocks = self.blocks[: len(self.blocks) - depth]
        self._append((), (), now_s)
        for block in lost:
            self._append(block.founding, block.sent, now_s)

    def _append(
        self, founding: Sequence[Change], pool: Sequence[Sent], now_s: int
    ) -> list[tuple[Sent, Event | Refused]]:
        before = self.contracts
        # Most blocks are empty: nothing changes in them but their number and time.
        current = before.fork() if founding or pool else replace(before, events=[])
        current.block, current.timestamp = len(self.blocks), now_s
        for found in founding:
            found(current)
        ends: list[tuple[Sent, Event | Refused]] = []
        taken: list[Sent] = []
        for sent in pool:
            draft = current.fork()
            draft.events = list(current.events)
            try:
                sent.hand.do(draft, sent.effect)
            except Refused as refused:
                ends.append((sent, answer_of(current, sent.effect) or refused))
            else:
                current = draft
                taken.append(sent)
                ends.append((sent, answer_of(current, sent.effect) or mined(current, sent.effect)))
        self.contracts = current
        self.blocks.append(Block(before, tuple(founding), tuple(taken), tuple(current.events)))
        self._forget()
        assert self.held == self._supply, f"block {self.head}: {self.held - self._supply} wei from nowhere"
        return ends

    def _forget(self) -> None:
        """Blocks that no reorg reaches keep only what they say."""
        old = len(self.blocks) - RULES.final_depth - 2
        if old > 0:
            self.blocks[old] = replace(self.blocks[old], before=self.contracts, sent=())

    @property
    def has_open_batches(self) -> bool:
        """Whether any batch still waits for its court, its pay or its refund."""
        return any(self.contracts.is_open(node, slot) for node, slot in self.contracts.batches)

    # --- money ------------------------------------------------------------------------------------------------------
    @property
    def held(self) -> int:
        """Every wei: free, in lanes, in batches, earned, at stake, pooled, burned and in bonds."""
        contracts = self.contracts
        return (
            sum(contracts.free.values())
            + sum(lane.left for lane in contracts.lanes.values())
            + sum(_held_in(batch) for batch in contracts.batches.values())
            + sum(contracts.rewards.values())
            + sum(node.stake for node in contracts.nodes.values())
            + contracts.pool
            + contracts.burned
            + contracts.bonds
            + sum(contracts.wallets.values())
        )


def is_too_early(refused: Refused) -> bool:
    """Whether only time, or somebody else's turn, is missing."""
    return str(refused) in TOO_EARLY


def _held_in(batch: MemoryBatch) -> int:
    if batch.state in (BatchState.FINAL, BatchState.REFUNDED):
        return 0
    # A court that let it pass has moved the fee to the pool.
    return batch.value - (batch.fee if batch.state in (BatchState.PASSED, BatchState.AUDITED) else 0)
