"""Timers of the roles: each timer is a value, asked for by AwaitDeadline and given back by DeadlinePassed.

Some wait for no time at all: what a role knows from beats, blocks and round trips is not in the journal, but the
DeadlinePassed of such a timer is, so that a decision may rest on it.
"""

from dataclasses import dataclass
from typing import Annotated

from protocol.wire.codec import U8, U32, U64, Bytes32, Size
from protocol.wire.ids import Address, PeerId
from protocol.wire.names import wire_class

AskId = Annotated[bytes, Size(16, exact=True)]


@dataclass(frozen=True, slots=True)
class _OfRound:
    """Of a round of offers."""

    ask_id: AskId
    attempt: U32
    round: U32


@dataclass(frozen=True, slots=True)
class _OfJob:
    """Of a job."""

    job_id: Bytes32


@dataclass(frozen=True, slots=True)
class _OfCase:
    """Of a case."""

    batch_id: Bytes32


# --- a requester, for a request ---------------------------------------------------------------------------------------
@wire_class("CallTimer")
class CallTimer(_OfRound):
    """The call for offers of a round may go out."""


@wire_class("LastCallTimer")
class LastCallTimer(_OfRound):
    """The last call of an attempt may go out: other nodes are heard."""


@wire_class("OffersTimer")
class OffersTimer(_OfRound):
    """A round of offers is over."""


@wire_class("RequestTimer")
class RequestTimer:
    """The deadline of a request has passed."""

    ask_id: AskId


@wire_class("AheadTimer")
class AheadTimer:
    """A lane is to be opened for a node that is likely to be hired."""

    node: Address


# --- a requester, for an order ----------------------------------------------------------------------------------------
@wire_class("AcceptTimer")
class AcceptTimer(_OfJob):
    """The provider should have accepted the order by now."""


@wire_class("ResultTimer")
class ResultTimer(_OfJob):
    """The provider should have delivered by now."""


@wire_class("OfflineTimer")
class OfflineTimer(_OfJob):
    """The provider of a running job beats no more."""


@wire_class("RetryTimer")
class RetryTimer(_OfJob):
    """No batch may bring a silent job on chain any more."""


@wire_class("LatencyTimer")
class LatencyTimer:
    """The mean round trip to a peer has become slow, or quick again."""

    peer_id: PeerId
    slow: bool


# --- a provider -------------------------------------------------------------------------------------------------------
@wire_class("LaneTimer")
class LaneTimer(_OfJob):
    """The lane of an order that came before it should be seen on chain by now."""


@wire_class("LandingTimer")
class LandingTimer:
    """A lane that a node counts on should be on chain by now or, if it was there already, final.

    order: the struct hash of the order that opens it.
    """

    order: Bytes32
    was_on_chain: bool


@wire_class("ReceiptTimer")
class ReceiptTimer(_OfJob):
    """The receipt for a delivered result should have come by now."""


@wire_class("HeldTimer")
class HeldTimer:
    """Jobs have waited in containers that stand still for as long as they may. from_ms: of the hold."""

    from_ms: U64


@wire_class("BatchTimer")
class BatchTimer:
    """A batch may be due."""


# --- a verifier -------------------------------------------------------------------------------------------------------
@wire_class("ResolveTimer")
class ResolveTimer(_OfCase):
    """It is this seat's turn to close a case in which every seat has revealed."""


@wire_class("FraudProofTimer")
class FraudProofTimer(_OfCase):
    """It is this seat's turn to send a fraud proof."""


@wire_class("AbstainTimer")
class AbstainTimer(_OfCase):
    """A seat that cannot judge may step down."""

    seat: U8


@wire_class("DataDemandTimer")
class DataDemandTimer(_OfCase):
    """It is this seat's turn to demand a leaf on chain."""

    seat: U8


@wire_class("ConveneAuditTimer")
class ConveneAuditTimer(_OfCase):
    """The seed that says whether a case is audited is there."""


@wire_class("CommitAuditTimer")
class CommitAuditTimer(_OfCase):
    """An auditor has to commit to what it has."""


@wire_class("RevealAuditTimer")
class RevealAuditTimer(_OfCase):
    """The auditors' turn to commit is over."""


@wire_class("CloseAuditTimer")
class CloseAuditTimer(_OfCase):
    """It is this auditor's turn to close an audit."""


RoundTimer = CallTimer | LastCallTimer | OffersTimer
"""Timers of a round of offers."""
OrderTimer = AcceptTimer | ResultTimer | OfflineTimer | RetryTimer
"""Timers of an attempt's order."""
AuditTimer = CommitAuditTimer | RevealAuditTimer | CloseAuditTimer
"""Timers of an audit that this node was drawn for."""
ProviderTimer = LaneTimer | LandingTimer | ReceiptTimer | HeldTimer | BatchTimer
VerifierTimer = ResolveTimer | FraudProofTimer | AbstainTimer | DataDemandTimer | ConveneAuditTimer
Timer = RoundTimer | RequestTimer | AheadTimer | OrderTimer | LatencyTimer | ProviderTimer | VerifierTimer | AuditTimer
