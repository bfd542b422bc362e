"""Events of the chain about nodes, money and rules; all but a new head at final depth."""

from protocol.stages.assignment import Account, Lane
from protocol.stages.offer import NodeRecord
from protocol.stages.verification import Calibration
from protocol.wire.codec import U16, U40, U64, U128, Bytes32
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
