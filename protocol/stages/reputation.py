"""Reputation: one score from 0 to 100, a fold over settled jobs, in hundredths of a point.

The specification's formula with a prior of 20 jobs and 7 days that fades as history comes in, so that one lucky job
does not make a node perfect. Twin of ReputationLib; tests/vectors/reputation.json.
"""

from dataclasses import dataclass

from protocol.params import FRESH_SCORE_DAYS, FRESH_SCORE_JOBS, SCORE_MAX


@dataclass(frozen=True, slots=True)
class ReputationRecord:
    """The chain's counts of a node: response in ms over all jobs, days with a check-in, penalty in hundredths."""

    successes: int
    total: int
    response_ms: int
    check_in_days: int
    days_active: int
    penalty: int


@dataclass(frozen=True, slots=True)
class ScoreTerms:
    """The terms of a score in hundredths, to show beside each other."""

    success: int
    speed: int
    uptime: int
    stake: int
    penalty: int

    @property
    def score(self) -> int:
        """Their sum, between 0 and 10000."""
        return max(0, min(SCORE_MAX, self.success + self.speed + self.uptime + self.stake - self.penalty))


def score_terms(record: ReputationRecord, stake: int, recommended_stake: int) -> ScoreTerms:
    """The score's terms; every quotient is rounded down."""
    jobs = record.total + FRESH_SCORE_JOBS
    mean_ms = (record.response_ms + FRESH_SCORE_JOBS * 60_000) // jobs
    return ScoreTerms(
        success=5_000 * (record.successes + FRESH_SCORE_JOBS // 2) // jobs,
        speed=2_000 * 60_000 // (60_000 + mean_ms),
        uptime=2_000 * record.check_in_days // (record.days_active + FRESH_SCORE_DAYS),
        stake=1_000 * min(stake, recommended_stake) // recommended_stake,
        penalty=record.penalty,
    )
