"""Timers of the roles: each timer is a value, asked for by AwaitDeadline and given back by DeadlinePassed.

Some wait for no time at all: what a role knows from beats, blocks and round trips is not in the journal, but the
DeadlinePassed of such a timer is, so that a decision may rest on it.
"""

from typing import Annotated

from protocol.wire.codec import U8, U32, Bytes32, Size
from protocol.wire.ids import PeerId
from protocol.wire.names import wire_class

AskId = Annotated[bytes, Size(16, exact=True)]


# --- a requester, for a request ---------------------------------------------------------------------------------------
@wire_class("CallTimer")
class CallTimer:
    """The call for offers of a round may go out."""

    ask_id: AskId
    attempt: U32
    round: U32


@wire_class("LastCallTimer")
class LastCallTimer:
    """The last call of an attempt may go out: other nodes are heard."""

    ask_id: AskId
    attempt: U32
    round: U32


@wire_class("OffersTimer")
class OffersTimer:
    """A round of offers is over."""

    ask_id: AskId
    attempt: U32
    round: U32


@wire_class("RequestTimer")
class RequestTimer:
    """The deadline of a request has passed."""

    ask_id: AskId


# --- a requester, for an order ----------------------------------------------------------------------------------------
@wire_class("AcceptTimer")
class AcceptTimer:
    """The provider should have accepted the order by now."""

    job_id: Bytes32


@wire_class("ResultTimer")
class ResultTimer:
    """The provider should have delivered by now."""

    job_id: Bytes32


@wire_class("OfflineTimer")
class OfflineTimer:
    """The provider of a running job beats no more."""

    job_id: Bytes32


@wire_class("RetryTimer")
class RetryTimer:
    """No batch may bring a silent job on chain any more."""

    job_id: Bytes32


@wire_class("LatencyTimer")
class LatencyTimer:
    """The mean round trip to a peer has become slow, or quick again."""

    peer_id: PeerId
    slow: bool


# --- a provider -------------------------------------------------------------------------------------------------------
@wire_class("LaneTimer")
class LaneTimer:
    """The lane of an order that came before it should be seen on chain by now."""

    job_id: Bytes32


@wire_class("ReceiptTimer")
class ReceiptTimer:
    """The receipt for a delivered result should have come by now."""

    job_id: Bytes32


@wire_class("BatchTimer")
class BatchTimer:
    """A batch may be due."""


# --- a verifier -------------------------------------------------------------------------------------------------------
@wire_class("ResolveTimer")
class ResolveTimer:
    """It is this seat's turn to close a case in which every seat has revealed."""

    batch_id: Bytes32


@wire_class("FraudProofTimer")
class FraudProofTimer:
    """It is this seat's turn to send a fraud proof."""

    batch_id: Bytes32


@wire_class("AbstainTimer")
class AbstainTimer:
    """A seat that cannot judge may step down."""

    batch_id: Bytes32
    seat: U8


@wire_class("DataDemandTimer")
class DataDemandTimer:
    """It is this seat's turn to demand a leaf on chain."""

    batch_id: Bytes32
    seat: U8


@wire_class("ConveneAuditTimer")
class ConveneAuditTimer:
    """The seed that says whether a case is audited is there."""

    batch_id: Bytes32


@wire_class("CommitAuditTimer")
class CommitAuditTimer:
    """An auditor has to commit to what it has."""

    batch_id: Bytes32


@wire_class("RevealAuditTimer")
class RevealAuditTimer:
    """The auditors' turn to commit is over."""

    batch_id: Bytes32


@wire_class("CloseAuditTimer")
class CloseAuditTimer:
    """It is this auditor's turn to close an audit."""

    batch_id: Bytes32


RoundTimer = CallTimer | LastCallTimer | OffersTimer
"""Timers of a round of offers."""
OrderTimer = AcceptTimer | ResultTimer | OfflineTimer | RetryTimer
"""Timers of an attempt's order."""
AuditTimer = CommitAuditTimer | RevealAuditTimer | CloseAuditTimer
"""Timers of an audit that this node was drawn for."""
ProviderTimer = LaneTimer | ReceiptTimer | BatchTimer
VerifierTimer = ResolveTimer | FraudProofTimer | AbstainTimer | DataDemandTimer | ConveneAuditTimer
Timer = RoundTimer | RequestTimer | OrderTimer | LatencyTimer | ProviderTimer | VerifierTimer | AuditTimer
