"""Events of batches: answers to our own transactions, and the chain's events at final depth."""

from typing import Annotated

from protocol.effects import Effect
from protocol.effects.subjects import InSlot, OfBatch
from protocol.stages.commitment import BatchContents, BatchSums
from protocol.wire.codec import U8, U16, U24, U40, U64, U96, U128, Bytes32, Size
from protocol.wire.ids import Address
from protocol.wire.names import wire_class


@wire_class("TransactionMined")
class TransactionMined:
    """A transaction of ours, or one that did the same, is in a block. `effect` and `about` as in EffectFailed."""

    effect: type[Effect]
    about: Annotated[bytes, Size(32)]
    block: U64


@wire_class("BatchMined")
class BatchMined:
    """A batch of ours is in a block."""

    batch_id: Bytes32
    slot: U8
    block: U64
    root: Bytes32


@wire_class("BatchSubmitted")
class BatchSubmitted(InSlot):
    """Some node's batch is final on chain; `lane_jobs` is each debited lane's job count after it."""

    class_id: U16
    block: U64
    timestamp: U40
    rate_bps: U16
    leaf_count: U24
    unreceipted: bool
    uncalibrated: bool
    checked: bool
    sums: BatchSums
    contents: BatchContents
    lane_jobs: tuple[U24, ...]


@wire_class("SeedRevealed")
class SeedRevealed:
    """An epoch's seed is stored: its batches are drawn."""

    epoch: U64
    seed: Bytes32


@wire_class("BatchSettled")
class BatchSettled(OfBatch):
    """A batch is final and paid; amounts in wei."""

    price: U128
    burned: U128
    reward: U128
    bonus: U128
    pooled: U128


@wire_class("BatchChallenged")
class BatchChallenged(OfBatch):
    """A client has put up a bond to have a batch checked with all its leaves, for the one at `position`."""

    client: Address
    position: U24


@wire_class("BatchVoided")
class BatchVoided(OfBatch):
    """A batch is void: its clients get their money back."""


@wire_class("BatchRefunded")
class BatchRefunded(OfBatch):
    """The money of a void batch is back in its lanes and accounts: `amount` wei of what they were debited."""

    amount: U96


MoneyEvent = BatchSettled | BatchVoided | BatchRefunded
