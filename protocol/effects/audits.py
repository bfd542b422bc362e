"""Transactions about audits of cases."""

from protocol.effects.subjects import WithContents
from protocol.wire.codec import U8, U16, Bytes32
from protocol.wire.ids import Address
from protocol.wire.names import wire_class


@wire_class("ConveneAudit")
class ConveneAudit(WithContents):
    """> chain/audits > TransactionMined and AuditConvened, or AuditNotDrawn: this node would be one of the auditors."""

    auditor: Address


@wire_class("CommitAudit")
class CommitAudit:
    """> chain/audits > TransactionMined, and AuditCommitted."""

    batch_id: Bytes32
    auditor: U8
    commitment: Bytes32


@wire_class("RevealAudit")
class RevealAudit:
    """> chain/audits > TransactionMined, and AuditRevealed: the seats that did not compute, and the batch's score."""

    batch_id: Bytes32
    auditor: U8
    off: tuple[U8, ...]
    score: U16
    salt: Bytes32


@wire_class("CloseAudit")
class CloseAudit:
    """> chain/audits > TransactionMined, and AuditEnded."""

    batch_id: Bytes32


AuditEffect = ConveneAudit | CommitAudit | RevealAudit | CloseAudit
