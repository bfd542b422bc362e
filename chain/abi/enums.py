"""The enumerations of the contracts, numbered as in contracts/types."""

from enum import IntEnum

from protocol.judging.fraud_proofs import FraudKind


class NodeState(IntEnum):
    """Life of a node: active > jailed > active, active > exiting > gone."""

    NONE = 0
    ACTIVE = 1
    JAILED = 2
    EXITING = 3
    GONE = 4


class LaneState(IntEnum):
    """Life of a lane: none > open > closing > reclaimed; opening it again leads back to open."""

    NONE = 0
    OPEN = 1
    CLOSING = 2
    RECLAIMED = 3


class BatchState(IntEnum):
    """Life of a batch: pending > final, or pending > in court > passed > final, or > void > refunded.

    One that passed may be audited in between, and then passes again or is void.
    """

    NONE = 0
    PENDING = 1
    IN_COURT = 2
    PASSED = 3
    VOID = 4
    FINAL = 5
    REFUNDED = 6
    AUDITED = 7


class CaseState(IntEnum):
    """Life of a case: open > closed, or > decided, arbiter or data challenge in between; proven while code ends it."""

    NONE = 0
    OPEN = 1
    CLOSED = 2
    DATA_CHALLENGE = 3
    ARBITER = 4
    DECIDED = 5
    PROVEN = 6


class SeatState(IntEnum):
    """Life of a seat: drawn > committed > revealed, or silent."""

    NONE = 0
    DRAWN = 1
    COMMITTED = 2
    REVEALED = 3
    SILENT = 4


BY_NAME: dict[str, type[IntEnum]] = {
    kind.__name__: kind for kind in (NodeState, LaneState, BatchState, CaseState, SeatState, FraudKind)
}
"""By their Solidity names, so that a contract's refusal can be told in words."""
