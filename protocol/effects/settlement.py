"""Transactions about lanes, batches and this node's own duties."""

from protocol.effects.subjects import InSlot, WithContents
from protocol.stages.assignment import LaneOpen
from protocol.stages.commitment import Batch
from protocol.wire.codec import U32, U64, Signature
from protocol.wire.ids import Address
from protocol.wire.names import wire_class


@wire_class("OpenLane")
class OpenLane:
    """> chain/settlement > TransactionMined, and LaneSeen at final depth."""

    order: LaneOpen
    signature: Signature


@wire_class("SubmitBatch")
class SubmitBatch:
    """> chain/settlement > BatchMined, and BatchSubmitted at final depth."""

    batch: Batch


@wire_class("SealEpoch")
class SealEpoch:
    """> chain/beacon > TransactionMined, and SeedRevealed at final depth."""

    epoch: U64


@wire_class("FinalizeBatch")
class FinalizeBatch(InSlot):
    """> chain/settlement > TransactionMined, and BatchSettled."""


@wire_class("RefundBatch")
class RefundBatch(WithContents):
    """> chain/settlement > TransactionMined, and BatchRefunded."""


@wire_class("CheckIn")
class CheckIn:
    """> chain/stakes > TransactionMined: this node was up today."""

    node: Address
    day: U32


SettlementEffect = OpenLane | SubmitBatch | SealEpoch | FinalizeBatch | RefundBatch | CheckIn
