"""Assignments: the client's payment order for one attempt on one node, and the lane it draws on.

A lane is client money locked for one node. Its orders are cumulative: the newest covers all jobs so far, so one
signature settles any number of them and no money can be spent twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from protocol import params
from protocol.errors import Malformed, OutOfTurn
from protocol.stages.offer import SignedOffer
from protocol.stages.request import GENERATE, SignedRequest, accepts_class
from protocol.stages.token_rules import milli_of
from protocol.wire.codec import U8, U16, U24, U32, U40, U64, U96, U128, Bytes32, Signature, Size
from protocol.wire.envelope import Domain, digest, struct_hash, typed
from protocol.wire.ids import Address, JobId, Wei
from protocol.wire.names import wire_class

UNCALIBRATED_ACCEPTED = 1
"""Bit of JobDetails.flags: the client takes a class without calibration; always drawn, never slashed."""
CHECK_ORDERED = 2
"""Bit of JobDetails.flags: the client pays to have this job checked, whatever the draw."""
KIND_SHIFT = 8
"""From this bit on eight bits of JobDetails.flags are the kind of the request, so that the papers of a leaf name it."""


@typed("Assignment(address client,address signer,address node,uint24 index,uint96 cumulative,bytes32 details)")
@wire_class("Assignment")
class Assignment:
    """The payment order: job `index` of the lane, and all that the lane owes up to it in wei; signed by the signer."""

    client: Address
    signer: Address
    node: Address
    index: U24
    cumulative: U96
    details: Bytes32


@typed(
    "JobDetails(bytes32 requestId,bytes32 offerHash,uint96 price,uint96 bonusCap,uint96 verifyFee,bytes32 manifest,"
    "bytes32 inputCid,bytes32 contentKeyHash,uint32 temperature,bytes32 seedNonce,uint32 maxNewTokens,uint32 classes,"
    "uint32 expectedMs,uint40 deadline,uint8 attempt,uint96 maxTotal,uint32 flags)"
)
@dataclass(frozen=True, slots=True)
class JobDetails:
    """Everything that the two sides agreed on; the assignment signs its struct hash.

    Amounts in wei, temperature in thousandths with the bit of `token_rules`, deadline in seconds for this attempt.
    """

    request_id: Bytes32
    offer_hash: Bytes32
    price: U96
    bonus_cap: U96
    verify_fee: U96
    manifest: Bytes32
    input_cid: Bytes32
    content_key_hash: Bytes32
    temperature: U32
    seed_nonce: Bytes32
    max_new_tokens: U32
    classes: U32
    expected_ms: U32
    deadline: U40
    attempt: U8
    max_total: U96
    flags: U32

    @property
    def checked(self) -> bool:
        """Whether its client pays to have it checked."""
        return bool(self.flags & CHECK_ORDERED)


@wire_class("AssignmentOrder")
class AssignmentOrder:
    """An assignment as it is sent, with the request and the offer that it answers, so that it stands for itself.

    The content key is sealed to the node; the sealed input travels along where it is small.
    """

    request: SignedRequest
    offer: SignedOffer
    assignment: Assignment
    details: JobDetails
    signature: Signature
    sealed_key: Annotated[bytes, Size(128)]
    sealed_input: Annotated[bytes, Size(params.MAX_INLINE_BYTES)]


@typed("Accept(bytes32 jobId,uint64 ackMs)")
@wire_class("Accept")
class Accept:
    """The node's promise, given once it has the input; signed by the operator."""

    job_id: Bytes32
    ack_ms: U64


class RefuseCode(IntEnum):
    """Why a node does not take an assignment."""

    BUSY = 1
    DRAINING = 2
    PAUSED = 3
    LANE = 4
    DETAILS = 5
    INPUT = 6
    MODEL = 7
    EXPIRED = 8
    SIGNATURE = 9
    DISK = 10
    FAILED = 11
    """After an Accept: the work failed here, another node may do it."""
    CLIENT_FAULT = 12
    """After an Accept: the input is bad, no node can do it."""
    STOPPED = 13
    """After an Accept: its client has stopped it before it began, so it costs nothing."""


@typed("Refuse(bytes32 jobId,uint16 code,uint32 retryAfterMs)")
@wire_class("Refuse")
class Refuse:
    """The node does not take it; `code` is a RefuseCode. Signed by the operator."""

    job_id: Bytes32
    code: U16
    retry_after_ms: U32


@wire_class("Withdrawal")
class Withdrawal:
    """The requester has turned to another node: who has not promised, or has only just, stops and charges nothing."""

    job_id: Bytes32


@wire_class("SignedAccept")
class SignedAccept:
    """An Accept as it is sent."""

    accept: Accept
    signature: Signature


@wire_class("SignedRefuse")
class SignedRefuse:
    """A Refuse as it is sent."""

    refuse: Refuse
    signature: Signature


@typed("LaneOpen(address client,address signer,address node,uint96 amount,uint128 prevTotal,uint40 deadline)")
@wire_class("LaneOpen")
class LaneOpen:
    """Lock `amount` wei more for a node. prev_total = left + mark of the lane, so that it counts once."""

    client: Address
    signer: Address
    node: Address
    amount: U96
    prev_total: U128
    deadline: U40


@typed("OperatorConsent(address owner,address operator,uint40 deadline)")
@dataclass(frozen=True, slots=True)
class OperatorConsent:
    """An operator key agrees to be the node of `owner`."""

    owner: Address
    operator: Address
    deadline: U40


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane at a final block: wei left in it, highest cumulative settled, jobs settled."""

    client: Address
    signer: Address
    node: Address
    left: U96
    mark: U96
    jobs: U24
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """The free balance of a client in the settlement contract, in wei."""

    client: Address
    free: Wei


def job_id(assignment: Assignment, domain: Domain) -> JobId:
    """The EIP-712 digest: one attempt of one request on one node."""
    return JobId(digest(assignment, domain))


def accept_within_ms(input_bytes: int) -> int:
    """How long a requester waits for a promise before it turns to another node, in ms; with time for the input."""
    return params.ACCEPT_WITHIN_MS + input_bytes // params.INPUT_BYTES_PER_MS


def verify_fee(charge: int, *, checked: bool = False) -> Wei:
    """The fee that pays for checks, on top of a charge: 5%, or half for a job that is certainly checked; rounded up."""
    return Wei(-(-charge // (params.CHECKED_FEE_DIVISOR if checked else params.VERIFY_FEE_DIVISOR)))


def bonus_cap(price: int) -> Wei:
    """The largest speed bonus of a price: 9%, rounded down."""
    return Wei(price * params.BONUS_PERCENT // 100)


def order_total(price: int, *, with_bonus: bool, checked: bool = False) -> Wei:
    """The amount that one order adds to its lane's cumulative amount: price, fee and the largest bonus."""
    return Wei(price + verify_fee(price, checked=checked) + (bonus_cap(price) if with_bonus else 0))


def charge_of(price: int, delivered: int, max_new_tokens: int) -> Wei:
    """The charge for delivered tokens: their share of the price, at least a tenth of it, rounded up."""
    share = -(-price * delivered // max_new_tokens)
    return Wei(min(price, max(-(-price // params.MIN_CHARGE_DIVISOR), share)))


def bonus_of(charge: int, cap: int, actual_ms: int, expected_ms: int) -> Wei:
    """The speed bonus: 9% of the charge if the job took less than 0.8 of the expected time."""
    early = actual_ms * 100 < expected_ms * params.BONUS_BELOW_PERCENT
    return Wei(min(cap, charge * params.BONUS_PERCENT // 100) if early else 0)


def require_consistent(order: AssignmentOrder, domain: Domain) -> None:
    """Check an order against the request and the offer that it answers, and against what no runner does.

    Raises: Malformed if a field contradicts them, or the temperature is too high.
    """
    details, assignment = order.details, order.assignment
    request, offer = order.request.request, order.offer.offer
    wrong = (
        assignment.details != struct_hash(details)
        or assignment.client != request.client
        or assignment.signer != request.signer
        or assignment.node != offer.node_id
        or details.request_id != digest(request, domain)
        or offer.request_id != details.request_id
        or details.offer_hash != digest(offer, domain)
        or details.price != offer.price
        or details.manifest != request.manifest
        or details.max_new_tokens != request.max_new_tokens
        or details.classes != request.classes
        or not accepts_class(details.classes, offer.class_id)
        or details.verify_fee != verify_fee(details.price, checked=details.checked)
        or details.bonus_cap not in (0, bonus_cap(details.price))
        or details.max_total != details.price + details.verify_fee + details.bonus_cap
        or details.expected_ms != min(offer.eta_ms, request.timeout_ms)
        or details.deadline > request.deadline
        or kind_of(details) != request.kind
    )
    if wrong:
        raise Malformed("the assignment contradicts its request or offer")
    require_temperature(details.temperature)
    if details.temperature and kind_of(details) != GENERATE:
        raise Malformed("only text is drawn at a temperature")


def kind_of(details: JobDetails) -> int:
    """The kind of the request that a job is for."""
    return details.flags >> KIND_SHIFT & 0xFF


def kind_flags(kind: int) -> int:
    """The bits of JobDetails.flags that name a kind."""
    return kind << KIND_SHIFT


def require_temperature(temperature: int) -> None:
    """Raises: Malformed for a signed temperature that no honest node runs at."""
    temperature_milli = milli_of(temperature)
    if temperature_milli > params.MAX_TEMPERATURE_MILLI:
        raise Malformed(
            f"the temperature is {temperature_milli} thousandths, and 0 to {params.MAX_TEMPERATURE_MILLI} are served"
        )


def is_reclaimed(index: int, cumulative: int, lane: Lane) -> bool:
    """Whether a lane can pay an order no more, by its number and cumulative wei: its client has reclaimed the lane.

    That moves the mark past every order and leaves their numbers, while a batch moves both.
    """
    return index > lane.jobs and cumulative <= lane.mark


@dataclass(frozen=True, slots=True)
class TakenOrder:
    """An order that a node took and that is not settled: amounts in wei."""

    cumulative: int
    max_total: int


def require_covered(order: AssignmentOrder, lane: Lane, taken: Mapping[int, TakenOrder], submitted: int) -> None:
    """Check that a lane pays for an order beside the orders taken on it, by number; `submitted` went into a batch.

    Orders travel side by side, so one may come after a newer one; it must fit in between. An order may skip a few
    numbers: those were signed for attempts that this node never saw, and are settled with charge 0. More than
    MAX_SKIPPED_ORDERS would not fit one batch, so nothing above them could ever be settled.

    Raises: OutOfTurn if the number is used up or skips too much, or the lane does not hold what it owes.
    """
    assignment, total = order.assignment, order.details.max_total
    index, first = assignment.index, max(lane.jobs, submitted)
    if index <= first or index in taken:
        raise OutOfTurn(f"job {index} of the lane is already taken")
    if index > max(first, *taken, 0) + 1 + params.MAX_SKIPPED_ORDERS:
        raise OutOfTurn(f"job {index} of the lane skips more than {params.MAX_SKIPPED_ORDERS} numbers")
    below = max((number for number in taken if number < index), default=None)
    above = min((number for number in taken if number > index), default=None)
    owed = max(lane.mark, taken[below].cumulative if below is not None else 0)
    if assignment.cumulative < owed + total:
        raise OutOfTurn("the order does not add up")
    if above is not None and assignment.cumulative + taken[above].max_total > taken[above].cumulative:
        raise OutOfTurn("the order does not add up with a newer one")
    if lane.closing or assignment.cumulative > lane.mark + lane.left:
        raise OutOfTurn("the lane does not cover the order")
