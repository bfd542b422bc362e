"""Transactions about lanes, batches and this node's own duties."""

from protocol.effects.subjects import InSlot, WithContents
from protocol.stages.assignment import LaneOpen
from protocol.stages.commitment import Batch
from protocol.wire.codec import U8, U32, U64, U128, Signature
from protocol.wire.ids import Address
from protocol.wire.names import wire_class


@wire_class("OpenLane")
class OpenLane:
    """> chain/settlement > TransactionMined, and LaneSeen at final depth."""

    order: LaneOpen
    signature: Signature


@wire_class("TryLane")
class TryLane:
    """> chain/settlement > LaneTried: would the order count now, by the newest state and what waits in the pool?

    risk_wei: what the owner risks a day for unconfirmed lanes; it comes back with the answer, for the journal.
    """

    order: LaneOpen
    signature: Signature
    risk_wei: U128


@wire_class("ConfirmLane")
class ConfirmLane:
    """> chain/settlement > LaneConfirmed, once the order has counted for so many blocks, its own among them.

    It fails once the order's deadline is final and the order has not counted.
    """

    order: LaneOpen
    confirmations: U8


@wire_class("LandLane")
class LandLane:
    """> chain/settlement > TransactionMined: a node brings its client's order on chain and pays the gas."""

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


LaneEffect = OpenLane | TryLane | ConfirmLane | LandLane
SettlementEffect = LaneEffect | SubmitBatch | SealEpoch | FinalizeBatch | RefundBatch | CheckIn
