"""Subjects of effects and events: a batch in its node's slot, and a seat of the case about a batch."""

from dataclasses import dataclass

from protocol.stages.commitment import BatchContents
from protocol.wire.codec import U8, Bytes32
from protocol.wire.ids import Address


@dataclass(frozen=True, slots=True)
class OfBatch:
    """About a batch of a node."""

    batch_id: Bytes32
    node: Address


@dataclass(frozen=True, slots=True)
class InSlot(OfBatch):
    """About a batch, by the slot of its node in which it stands."""

    slot: U8


@dataclass(frozen=True, slots=True)
class WithContents(InSlot):
    """About a batch in its slot, with the contents of which the chain has only the hash."""

    contents: BatchContents


@dataclass(frozen=True, slots=True)
class OfSeat:
    """About a seat of a case."""

    batch_id: Bytes32
    seat: U8
