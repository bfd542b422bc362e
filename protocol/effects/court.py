"""Transactions about cases."""

from typing import Annotated

from protocol.effects.subjects import OfSeat, WithContents
from protocol.params import MAX_ANSWER_BYTES
from protocol.stages.commitment import BatchContents
from protocol.wire.codec import U16, U24, Bytes32, Size
from protocol.wire.names import wire_class


@wire_class("ConveneCourt")
class ConveneCourt(WithContents):
    """> chain/court > TransactionMined, and CaseConvened at final depth."""


@wire_class("CommitSeat")
class CommitSeat(OfSeat):
    """> chain/court > TransactionMined, and SeatCommitted at final depth."""

    commitment: Bytes32


@wire_class("RevealSeat")
class RevealSeat(OfSeat):
    """> chain/court > TransactionMined, and SeatRevealed at final depth."""

    digest: Bytes32
    scores: tuple[U16, ...]
    salt: Bytes32
    llr_millinats: int = 0
    """The log-likelihood ratio of all drawn leaves; see judging/margins."""


@wire_class("AbstainSeat")
class AbstainSeat(OfSeat):
    """> chain/court > TransactionMined, SeatSilenced and SeatAdded: this node steps down for the next of the order."""

    contents: BatchContents


@wire_class("ReplaceSeat")
class ReplaceSeat(OfSeat):
    """> chain/court > TransactionMined, and SeatAdded: the next of the order for a seat that stayed silent."""

    contents: BatchContents


@wire_class("ResolveCase")
class ResolveCase:
    """> chain/court > TransactionMined, and SeatAdded, CaseGrown, CaseDecided or CaseResolved."""

    batch_id: Bytes32
    contents: BatchContents


@wire_class("DemandData")
class DemandData(OfSeat):
    """> chain/court > TransactionMined, and DataDemanded: a drawn leaf is to be shown to everybody.

    Its content key is to be sealed to `hpke_key`. Done as well where another seat was faster: a case has one demand.
    """

    leaf_index: U24
    hpke_key: Bytes32


@wire_class("AnswerDemand")
class AnswerDemand:
    """> chain/court > TransactionMined, and DataAnswered: what a seat asked for, for all to see."""

    batch_id: Bytes32
    data: Annotated[bytes, Size(MAX_ANSWER_BYTES)]


@wire_class("VoidStarved")
class VoidStarved(WithContents):
    """> chain/court > TransactionMined, and BatchVoided: the batch was not judged in time."""


SeatEffect = CommitSeat | RevealSeat | AbstainSeat | ReplaceSeat | DemandData
CourtEffect = ConveneCourt | SeatEffect | ResolveCase | AnswerDemand | VoidStarved
