"""Events of the chain about audits of cases, at final depth."""

from protocol.effects.subjects import OfBatch
from protocol.wire.codec import U8, U40, Bytes32
from protocol.wire.ids import Address
from protocol.wire.names import wire_class


@wire_class("AuditConvened")
class AuditConvened(OfBatch):
    """A case that passed is checked once more, and who sat in it: by these nodes, from `timestamp` on."""

    auditors: tuple[Address, ...]
    timestamp: U40


@wire_class("AuditNotDrawn")
class AuditNotDrawn:
    """A case that passed is not audited, or by others: this node has nothing to convene."""

    batch_id: Bytes32


@wire_class("AuditCommitted")
class AuditCommitted:
    """An auditor has bound itself to what it found."""

    batch_id: Bytes32
    auditor: U8


@wire_class("AuditRevealed")
class AuditRevealed:
    """An auditor has said what it found."""

    batch_id: Bytes32
    auditor: U8


@wire_class("AuditEnded")
class AuditEnded:
    """The seats that an audit has caught; `fraud`: its node was condemned as well."""

    batch_id: Bytes32
    caught: tuple[U8, ...]
    fraud: bool


AuditEvent = AuditConvened | AuditCommitted | AuditRevealed | AuditEnded
