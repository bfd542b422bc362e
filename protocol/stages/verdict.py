"""Verdicts: what the scores of a bench come to. Twin of MedianLib and of Rounds."""

from collections.abc import Sequence

from protocol.params import PASS_ABOVE_BPS, REVIEW_ABOVE_BPS, SPREAD_MAX_BPS
from protocol.stages.verification import Verdict


def median_of(scores: Sequence[int]) -> int:
    """The middle one, of an even number the lower of two; 0 of none."""
    return sorted(scores)[(len(scores) - 1) // 2] if scores else 0


def verdict_of(score_bps: int) -> Verdict:
    """The verdict of a median: above 9500 a pass, above 8500 a doubt, else fraud."""
    if score_bps > PASS_ABOVE_BPS:
        return Verdict.PASS
    return Verdict.REVIEW if score_bps > REVIEW_ABOVE_BPS else Verdict.SEVERE


def is_spread(scores: Sequence[int]) -> bool:
    """Whether seats differ by more than noise does, so that a larger bench has to decide."""
    return bool(scores) and max(scores) - min(scores) > SPREAD_MAX_BPS
