"""The messages that are sent and signed: those of all stages together, for events, effects and adapters alike."""

from protocol.stages.assignment import (
    Accept,
    Assignment,
    AssignmentOrder,
    LaneOpen,
    Refuse,
    SignedAccept,
    SignedRefuse,
    Withdrawal,
)
from protocol.stages.commitment import Receipt, Result, ResultDelivery, ResultQuery, SignedReceipt, TokenFrame
from protocol.stages.offer import Offer, SignedOffer
from protocol.stages.request import Request
from protocol.stages.verification import (
    AuditQuery,
    CheckOpening,
    FingerprintOpening,
    FingerprintQuery,
    SampleOpening,
    SampleQuery,
)

Signable = Request | Offer | Assignment | Accept | Refuse | Result | Receipt | LaneOpen
"""The messages that the wallet signs, each with the key of its kind."""

Message = (
    SignedOffer
    | AssignmentOrder
    | SignedAccept
    | SignedRefuse
    | Withdrawal
    | TokenFrame
    | ResultDelivery
    | SignedReceipt
    | ResultQuery
    | SampleQuery
    | SampleOpening
    | FingerprintQuery
    | FingerprintOpening
    | AuditQuery
    | CheckOpening
)
"""Messages that peers send each other directly."""
