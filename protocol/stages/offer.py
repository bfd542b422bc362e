"""Offers: what a node would do the job for, and the order in which a requester hires.

The specification's rule is (reputation, stake) descending among the able nodes; price and time break ties.
"""

from dataclasses import dataclass

from protocol.params import PRICE_PER_STAKE, TOKENS_PER_PRICE
from protocol.stages.request import Request, accepts_class
from protocol.wire.codec import U16, U32, U40, U96, Bytes32, Signature
from protocol.wire.envelope import typed
from protocol.wire.ids import Address, PeerId, Wei
from protocol.wire.names import wire_class

START_MS = 12_000
"""A cold container: start, imports, loading the model."""
FETCH_MS = 60_000
"""Allowed for a model that is not here yet."""


@typed(
    "Offer(bytes32 requestId,address nodeId,uint96 price,uint32 etaMs,uint16 classId,bool cached,bytes32 hpkeKey,"
    "uint40 validUntil)"
)
@wire_class("Offer")
class Offer:
    """A node's price in wei for the whole request and its time until the last token; signed by the operator."""

    request_id: Bytes32
    node_id: Address
    price: U96
    eta_ms: U32
    class_id: U16
    cached: bool
    hpke_key: Bytes32
    valid_until: U40


@wire_class("SignedOffer")
class SignedOffer:
    """An Offer as it is sent to the requester."""

    offer: Offer
    signature: Signature


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as the chain has it at a final block: stakes in wei, score in hundredths, rate in basis points.

    `stake` is the owner's own: what others have staked on the node deters it from nothing and raises no limit.
    """

    node_id: Address
    owner: Address
    operator: Address
    payout: Address
    active: bool
    class_mask: int
    stake: Wei
    unbonding: Wei
    score: int
    rate_bps: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """An offer beside what the requester knows of its node: chain record, peer, whether its answers come late."""

    signed: SignedOffer
    record: NodeRecord
    peer_id: PeerId
    is_slow: bool


def price_of(wei_per_thousand: Wei, max_new_tokens: int) -> Wei:
    """The price of a request at a node's rate, rounded up to a wei."""
    return Wei(-(-wei_per_thousand * max_new_tokens // TOKENS_PER_PRICE))


def is_able(request: Request, candidate: Candidate, excluded_owners: frozenset[Address], now_ms: int) -> bool:
    """Whether the requester may hire this node for the request."""
    offer, record = candidate.signed.offer, candidate.record
    return (
        record.active
        and offer.price <= request.max_price
        and offer.price * PRICE_PER_STAKE <= record.stake
        and record.score >= request.min_reputation * 100
        and offer.valid_until * 1000 > now_ms
        and accepts_class(request.classes, offer.class_id)
        and accepts_class(record.class_mask, offer.class_id)
        and record.owner not in excluded_owners
    )


def rank(candidates: list[Candidate]) -> list[Candidate]:
    """Best first: no delay alert, reputation in whole points, stake, then price, time and id."""
    return sorted(candidates, key=_key)


def _key(candidate: Candidate) -> tuple[bool, int, int, int, int, str]:
    offer, record = candidate.signed.offer, candidate.record
    return (candidate.is_slow, -(record.score // 100), -record.stake, offer.price, offer.eta_ms, record.node_id)
