"""What logs say: protocol events where a log holds all of one, else what has to be read again."""

from dataclasses import dataclass

from protocol import events as ev
from protocol.court.docket import BatchEvent
from protocol.stages.commitment import BatchContents, BatchSums
from protocol.wire.ids import Address, BatchId


@dataclass(frozen=True, slots=True)
class NodeTouched:
    """Something about a node changed."""

    node: Address


@dataclass(frozen=True, slots=True)
class ClientTouched:
    """A client's free balance changed in a way that the log does not show."""

    client: Address


@dataclass(frozen=True, slots=True)
class BatchStored:
    """A batch as the contract stored it; its lanes' job counts stand in the lane logs of the same transaction."""

    batch_id: BatchId
    node: Address
    slot: int
    class_id: int
    block: int
    timestamp: int
    rate_bps: int
    leaf_count: int
    unreceipted: bool
    uncalibrated: bool
    checked: bool
    sums: BatchSums
    contents: BatchContents


Fact = (
    NodeTouched
    | ClientTouched
    | BatchStored
    | BatchEvent
    | ev.LaneSeen
    | ev.AccountSeen
    | ev.CalibrationSeen
    | ev.SeedRevealed
    | ev.IntakeStopped
)
