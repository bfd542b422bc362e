"""What is said and what is signed: the messages of all stages together, for events, effects and adapters alike."""

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
from protocol.stages.verification import AuditQuery, CheckOpening, ProofOpening, ProofQuery, SampleOpening, SampleQuery

Signable = Request | Offer | Assignment | Accept | Refuse | Result | Receipt | LaneOpen
"""What the wallet signs, each with the key that its kind belongs to."""

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
    | ProofQuery
    | ProofOpening
    | AuditQuery
    | CheckOpening
)
"""What peers send each other directly."""
