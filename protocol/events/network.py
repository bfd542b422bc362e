"""Events of the chain about nodes, money and rules; at final depth unless they say otherwise."""

from protocol.stages.assignment import Account, Lane
from protocol.stages.offer import NodeRecord
from protocol.stages.verification import Calibration
from protocol.wire.codec import U16, U40, U64, U128, Bytes32, Text
from protocol.wire.ids import Address
from protocol.wire.names import wire_class


@wire_class("BlockSeen")
class BlockSeen:
    """A new head; `final` is the newest block that counts as final, time in seconds."""

    head: U64
    final: U64
    timestamp: U40


@wire_class("NodeSeen")
class NodeSeen:
    """A node's record changed."""

    record: NodeRecord


@wire_class("LaneSeen")
class LaneSeen:
    """A lane changed."""

    lane: Lane


@wire_class("LaneTried")
class LaneTried:
    """Whether an order for a lane would count now: `refusal` says why not, and is empty if it would.

    order: its struct hash. risk_wei: what the owner risked a day when it was tried.
    """

    order: Bytes32
    refusal: Text
    risk_wei: U128


@wire_class("LaneConfirmed")
class LaneConfirmed:
    """An order for a lane has counted, though it need not be final; the lane as it stands at that block."""

    order: Bytes32
    lane: Lane
    block: U64


@wire_class("AccountSeen")
class AccountSeen:
    """A client's free balance changed."""

    account: Account


@wire_class("CalibrationSeen")
class CalibrationSeen:
    """Params has noise constants for a model on a device class."""

    manifest: Bytes32
    class_id: U16
    calibration: Calibration


@wire_class("NodeSlashed")
class NodeSlashed:
    """A node lost stake; amount in wei."""

    node: Address
    amount: U128
    batch_id: Bytes32


@wire_class("IntakeStopped")
class IntakeStopped:
    """The network takes no new nodes, lanes and batches before `until`, in seconds; 0: it takes them again."""

    until: U40
