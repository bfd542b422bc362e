"""Events of the chain about cases, at final depth."""

from typing import Annotated

from protocol.effects.subjects import InSlot, OfSeat
from protocol.params import MAX_ANSWER_BYTES
from protocol.stages.verification import Verdict
from protocol.wire.codec import U8, U16, U24, U40, U64, Bytes32, Size
from protocol.wire.ids import Address
from protocol.wire.names import wire_class


@wire_class("CaseConvened")
class CaseConvened(InSlot):
    """A court sits over a batch: the drawn leaves and the seats, in order."""

    class_id: U16
    drawn: tuple[U24, ...]
    seats: tuple[Address, ...]
    timestamp: U40


@wire_class("SeatAdded")
class SeatAdded(OfSeat):
    """A case grew by a seat: `node` sits on it from `timestamp` on."""

    node: Address
    timestamp: U40


@wire_class("SeatSilenced")
class SeatSilenced(OfSeat):
    """A seat let its turn pass: it no longer counts."""

    node: Address


@wire_class("SeatCommitted")
class SeatCommitted(OfSeat):
    """A seat posted its commitment."""


@wire_class("SeatRevealed")
class SeatRevealed(OfSeat):
    """A seat revealed its scores, one a drawn leaf, in basis points, and the digest of what it had computed.

    `llr_millinats`: what it says of the margins, in thousandths of a nat.
    """

    node: Address
    scores: tuple[U16, ...]
    digest: Bytes32
    llr_millinats: int = 0


@wire_class("CaseGrown")
class CaseGrown:
    """A case goes on with a larger bench: the seats from `first_seat` on, each told by a SeatAdded, decide alone."""

    batch_id: Bytes32
    round: U8
    first_seat: U8
    standing: Verdict
    median: U16


@wire_class("CaseDecided")
class CaseDecided:
    """Seats agree on fraud; it has consequences if no appeal came `until` then, in seconds of the chain."""

    batch_id: Bytes32
    verdict: Verdict
    median: U16
    until: U40


@wire_class("DataDemanded")
class DataDemanded(OfSeat):
    """A seat wants a drawn leaf opened on chain, its content key sealed to `hpke_key`, until then in chain seconds."""

    leaf_index: U24
    hpke_key: Bytes32
    until: U40


@wire_class("DataAnswered")
class DataAnswered:
    """The node has shown on chain what a seat asked for; every turn begins anew at `timestamp`."""

    batch_id: Bytes32
    data: Annotated[bytes, Size(MAX_ANSWER_BYTES)]
    timestamp: U40


@wire_class("CaseResolved")
class CaseResolved:
    """A case ended with a verdict, in this block; `median` in basis points."""

    batch_id: Bytes32
    verdict: Verdict
    median: U16
    block: U64


SeatEvent = SeatCommitted | SeatRevealed | SeatSilenced
CaseEvent = CaseConvened | SeatAdded | SeatEvent | CaseGrown | CaseDecided | DataDemanded | DataAnswered | CaseResolved
