"""Lane notices: a client shows its node the signed order for a lane that the chain does not have yet, and the node says
what it counts.

A node that has the signed order can bring it on chain itself, so the client cannot take it back; only another use of
the same deposit can make it worthless.
"""

from protocol.params import VCN
from protocol.stages.assignment import LaneOpen
from protocol.wire.codec import U96, U128, Bytes32, Signature
from protocol.wire.envelope import struct_hash
from protocol.wire.ids import Hash32, TimestampMs
from protocol.wire.names import wire_class

LEAST_LANE_WEI = 10 * VCN
"""Smallest amount of an order that a node holds: it may have to pay for the gas of bringing it on chain."""
LEAST_VALID_S = 240
"""Shortest time that such an order has left: long enough to bring it on chain, and nothing to fill a disk with."""
MOST_VALID_S = 3_600
"""The contract takes no order whose deadline is further away."""


@wire_class("SignedLaneOpen")
class SignedLaneOpen:
    """A LaneOpen as it is shown to its node. needs_wei: what the first order on it will come to; 0: none waits."""

    order: LaneOpen
    signature: Signature
    needs_wei: U96


@wire_class("LaneCounted")
class LaneCounted:
    """The node takes orders as if the lane held `total` wei, left and mark together, before that is final.

    order: the struct hash of the LaneOpen that was shown.
    """

    order: Bytes32
    total: U128


def lane_open_id(order: LaneOpen) -> Hash32:
    """The name of an order for a lane: its struct hash."""
    return Hash32(struct_hash(order))


def is_worth_holding(order: LaneOpen, now_ms: TimestampMs) -> bool:
    """Whether a node holds an order at all: it is large enough, and valid for neither too short nor too long."""
    left_s = order.deadline - now_ms // 1000
    return order.amount >= LEAST_LANE_WEI and LEAST_VALID_S <= left_s <= MOST_VALID_S


def total_after(order: LaneOpen) -> int:
    """What the lane holds, left and mark together in wei, once the order has counted."""
    return order.prev_total + order.amount
