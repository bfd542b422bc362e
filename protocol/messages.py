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
from protocol.stages.lane_notice import LaneCounted, SignedLaneOpen
from protocol.stages.offer import Offer, SignedOffer
from protocol.stages.request import Request
from protocol.stages.stop_order import SignedStopOrder, StopOrder
from protocol.stages.verification import (
    AuditQuery,
    CheckOpening,
    FingerprintOpening,
    FingerprintQuery,
    SampleOpening,
    SampleQuery,
)

Signable = Request | Offer | Assignment | Accept | Refuse | Result | Receipt | LaneOpen | StopOrder
"""The messages that the wallet signs, each with the key of its kind."""

OrderMessage = AssignmentOrder | SignedAccept | SignedRefuse | Withdrawal
ResultMessage = TokenFrame | ResultDelivery | SignedReceipt | ResultQuery
CheckMessage = SampleQuery | SampleOpening | FingerprintQuery | FingerprintOpening | AuditQuery | CheckOpening
LaterMessage = SignedLaneOpen | LaneCounted | SignedStopOrder
"""Peers of the first version do not know these: they travel on a protocol of their own."""
Message = SignedOffer | OrderMessage | ResultMessage | CheckMessage | LaterMessage
"""Messages that peers send each other directly."""
