"""A node's score, and what it is made of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChangeView:
    """One change of a node's record on the chain, and what is behind it; points in hundredths.

    cause: batch, case, seat (it was silent on one), classes, offline, check_in, absence, audit, release (from jail).
    batch_id: the batch and its case, or "". jobs: those in it that this node knows. counted and lost: jobs that count
    as passed and as failed. response_ms: what the counted took together. penalty: added, below 0 where some healed.
    score: after it, 0 where only a day or the stake changed. day: the one that was counted, since 1970.
    """

    block: int
    transaction: str
    cause: str
    batch_id: str
    jobs: tuple[str, ...]
    verdict: str
    seat: int
    counted: int
    lost: int
    response_ms: int
    penalty: int
    lost_wei: int
    score: int
    day: int


@dataclass(frozen=True, slots=True)
class ScoreView:
    """A node's score and what it is made of: terms and score in hundredths of a point.

    penalised and healed: all that was ever added to the penalty and taken from it. changes: every one that hurt, and
    the newest of the others, oldest first; left_out: how many older ones are not among them.
    """

    node_id: str
    score: int
    success: int
    speed: int
    uptime: int
    stake: int
    penalty: int
    successes: int
    total: int
    response_ms: int
    check_in_days: int
    days_active: int
    stake_wei: int
    recommended_stake_wei: int
    rate_bps: int
    samples_left: int
    recent_failures: int
    penalised: int
    healed: int
    changes: tuple[ChangeView, ...]
    left_out: int
