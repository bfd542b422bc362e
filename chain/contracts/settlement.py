"""The Settlement contract: accounts, lanes, batches and their money, in wei."""

from dataclasses import astuple, dataclass
from typing import Any

from chain.abi.enums import BatchState, LaneState
from chain.contracts.contract import CallTo, Contract, ContractStruct, DecodedLog
from chain.contracts.facts import ClientTouched, Fact
from chain.contracts.token import Permit
from chain.rpc.ethereum import BlockTag, Call
from protocol.events import AccountSeen, BatchRefunded, BatchSettled, BatchSubmitted, BatchVoided, LaneSeen
from protocol.stages.assignment import Account, Lane, LaneOpen
from protocol.stages.commitment import Batch, BatchContents, BatchSums, LaneClaim, LaneDebit
from protocol.wire.envelope import compact
from protocol.wire.ids import ZERO_HASH, Address, BatchId, Wei

UNRECEIPTED = 1
UNCALIBRATED = 2
CHECKED = 32
"""Bits of a batch's flags."""


@dataclass(frozen=True, slots=True)
class StoredBatch(ContractStruct):
    """One slot of a node's ring; the fields of Batch. Amounts in wei, times in seconds."""

    charge: Wei
    bonus: Wei
    response_ms: int
    score_hundredths: int
    fee: Wei
    leaf_count: int
    ok_count: int
    failed_count: int
    commit_block: int
    commit_time: int
    class_id: int
    rate_percent: int
    state: BatchState
    flags: int
    contents_hash: bytes

    @property
    def unreceipted(self) -> bool:
        """Whether its jobs have no receipts."""
        return bool(self.flags & UNRECEIPTED)

    @property
    def uncalibrated(self) -> bool:
        """Whether its class has no constants for its models."""
        return bool(self.flags & UNCALIBRATED)

    @property
    def checked(self) -> bool:
        """Whether its clients pay to have it checked."""
        return bool(self.flags & CHECKED)

    @property
    def sums(self) -> BatchSums:
        """As its submission said."""
        return BatchSums(self.charge, self.bonus, self.response_ms, self.ok_count, self.failed_count)


@dataclass(frozen=True, slots=True)
class Book:
    """A node's money in the contract: what it may claim, and what its open batches are worth.

    While it is accused of fraud or in jail, all that it has open is drawn in full.
    """

    rewards: Wei
    open_value: Wei
    open_batches: int
    accusations: int
    jailed: bool


class Settlement(Contract):
    """Clients' accounts, lanes to nodes, and batches of finished jobs."""

    NAME = "Settlement"

    # ---- accounts

    async def account_of(self, client: Address, block: BlockTag = "latest") -> Account:
        """A client's free money."""
        return Account(client, Wei(await self.read("accountOf", client, block=block)))

    async def accounts_of(self, clients: list[Address], block: BlockTag = "latest") -> list[Account]:
        """Many accounts on the same state, in order."""
        found = await self.read_many("accountOf", [(client,) for client in clients], block)
        return [Account(client, Wei(free)) for client, free in zip(clients, found, strict=True)]

    deposit = CallTo[int, Permit]("depositWithPermit")
    """(amount, permit) Pay into the sender's account."""

    deposit_for = CallTo[Address, int]("depositFor")
    """(client, amount) Pay into somebody's account; the contract takes it from an allowance."""

    withdraw = CallTo[int]("withdraw")
    """(amount) Pay free money out to the sender."""

    set_signer = CallTo[Address, int, int]("setSigner")
    """(signer, budget, expiry) Let a hot key move up to `budget` of the sender's free money into lanes until `expiry`.
    """

    # ---- lanes

    async def lane_of(self, client: Address, signer: Address, node: Address, block: BlockTag = "latest") -> Lane:
        """A lane; an empty one if it was never opened."""
        left, mark, _, jobs, state = await self.read("laneOf", client, signer, node, block=block)
        # As the log of a change has it: what was reclaimed takes no orders either.
        closing = LaneState(state) in (LaneState.CLOSING, LaneState.RECLAIMED)
        return Lane(client, signer, node, left, mark, jobs, closing=closing)

    async def lane_closes_at(self, lane: Lane) -> int:
        """When the rest of a closing lane may be taken back, in seconds since 1970; 0 for one that is not closing."""
        _, _, close_at, _, state = await self.read("laneOf", lane.client, lane.signer, lane.node)
        return int(close_at) if LaneState(state) is LaneState.CLOSING else 0

    def open_lane(self, order: LaneOpen, signature: bytes) -> Call:
        """Move a client's free money into a lane; the signature may be empty if the client itself sends it."""
        return self.call("openLane", *astuple(order), signature)

    def close_lane(self, lane: Lane) -> Call:
        """Start the clock after which the rest may be taken back; client or signer."""
        return self.call("closeLane", lane.client, lane.signer, lane.node)

    def reclaim_lane(self, lane: Lane) -> Call:
        """Move the rest of a closed lane into the client's account; anyone."""
        return self.call("reclaimLane", lane.client, lane.signer, lane.node)

    # ---- batches

    async def batch_of(self, node: Address, slot: int, block: BlockTag = "latest") -> StoredBatch:
        """The batch in a slot of a node's ring."""
        return StoredBatch(*await self.read("batchOf", node, slot, block=block))

    async def batch_id_of(self, node: Address, slot: int) -> BatchId | None:
        """The id of the batch in a slot; None if the slot was never used."""
        found = await self.read("batchIdOf", node, slot)
        return None if found == ZERO_HASH else BatchId(found)

    async def contents_of(self, node: Address, slot: int) -> BatchContents | None:
        """The contents of the batch in a slot, as it was submitted; None if the slot was never used."""
        block = (await self.batch_of(node, slot)).commit_block
        if not block:
            return None
        _, logs = await self.ethereum.logs([self.address], block, block, self.topics("BatchSubmitted"))
        found = (self.fact(entry) for log in logs if (entry := self.entry(log)))
        stored = (each for each in found if isinstance(each, BatchSubmitted) and (each.node, each.slot) == (node, slot))
        return next((each.contents for each in stored), None)

    def submit(self, batch: Batch) -> Call:
        """Settle jobs; the node's operator."""
        said = ((UNRECEIPTED, batch.unreceipted), (UNCALIBRATED, batch.uncalibrated), (CHECKED, batch.checked))
        flags = sum(flag for flag, holds in said if holds)
        head = (batch.node, batch.slot, batch.class_id, flags, batch.root)
        sums = (batch.price_sum, batch.bonus_sum, batch.ms_sum, batch.ok_count, batch.failed_count)
        return self.call(
            "submit", (*head, *sums, batch.max_leaf, batch.mine_by), [_claim(claim) for claim in batch.claims]
        )

    finalize = CallTo[Address, int]("finalize")
    """(node, slot) Pay out a batch that passed or was not drawn; anyone, once its window is over."""

    refund = CallTo[Address, int, BatchContents]("refund")
    """(node, slot, contents) Give the money of a void batch back to its lanes; anyone."""

    # ---- rewards, pool, burn

    async def book_of(self, node: Address) -> Book:
        """A node's money in the contract."""
        return Book(*await self.read("bookOf", node))

    async def pool(self) -> Wei:
        """The pool that pays seats."""
        return Wei(await self.read("pool"))

    async def burn_pending(self) -> Wei:
        """The amount that batches have set aside to burn."""
        return Wei(await self.read("burnPending"))

    claim = CallTo[Address]("claim")
    """(node) Pay a node's rewards to its payout address; anyone."""

    fund_pool = CallTo[int]("fundPool")
    """(amount) Add to the pool; the contract takes it from an allowance."""

    flush_burn = CallTo[[]]("flushBurn")
    """Burn what is set aside; anyone."""

    # ---- logs

    def fact(self, entry: DecodedLog) -> Fact | None:
        """The fact in a log of this contract."""
        match entry.event, entry.values:
            case "Deposited", (client, _, _, free):
                return AccountSeen(Account(client, free))
            case "Withdrawn", (client, _, free):
                return AccountSeen(Account(client, free))
            case "LaneChanged", (client, signer, node, left, mark, jobs, close_at):
                return LaneSeen(Lane(client, signer, node, left, mark, jobs, closing=close_at != 0))
            case "LaneReclaimed", (client, *_):
                return ClientTouched(client)
            case "BatchSubmitted", (node, slot, batch_id, stored, contents):
                return _submitted(BatchId(batch_id), node, slot, StoredBatch(*stored), contents)
            case "BatchFinal", (node, _, batch_id, price, burned, reward, bonus, pooled):
                return BatchSettled(batch_id, node, price, burned, reward, bonus, pooled)
            case "BatchVoided", (node, _, batch_id):
                return BatchVoided(batch_id, node)
            case "BatchRefunded", (node, _, batch_id, amount):
                return BatchRefunded(batch_id, node, amount)
        return None


def contents_of(batch: Batch) -> BatchContents:
    """The contents that the chain keeps of a batch, if every index of its lanes has its leaf."""
    debits = tuple(
        LaneDebit(claim.client, claim.signer, claim.leaves, debit, claim.jobs)
        for claim, debit in zip(batch.claims, batch.debits, strict=True)
    )
    return BatchContents(batch.root, batch.max_leaf, debits)


def _claim(claim: LaneClaim) -> tuple[Any, ...]:
    r, vs = compact(claim.signature)
    return (claim.client, claim.signer, claim.jobs, claim.cumulative, claim.details, claim.charge, claim.bonus, r, vs)


def _submitted(
    batch_id: BatchId, node: Address, slot: int, stored: StoredBatch, contents: tuple[Any, ...]
) -> BatchSubmitted:
    """Its lanes' job counts are not in this log; `log_decoder` adds them from the logs before it."""
    return BatchSubmitted(
        batch_id=batch_id,
        node=node,
        slot=slot,
        class_id=stored.class_id,
        block=stored.commit_block,
        timestamp=stored.commit_time,
        rate_bps=stored.rate_percent * 100,
        leaf_count=stored.leaf_count,
        unreceipted=stored.unreceipted,
        uncalibrated=stored.uncalibrated,
        checked=stored.checked,
        sums=stored.sums,
        contents=stored_contents(contents),
        lane_jobs=(),
    )


def stored_contents(values: tuple[Any, ...]) -> BatchContents:
    """The contents of a batch, as the contract encodes them."""
    root, max_leaf, debits = values
    return BatchContents(root, max_leaf, tuple(LaneDebit(*debit) for debit in debits))
