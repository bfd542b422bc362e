"""Shares of all by the counts of few: exact intervals and tests for shares, in plain floats. Pure."""

import math
from collections.abc import Callable

CONFIDENCE = 0.95
_STEPS = 60


def at_most(hits: int, of: int, share: float) -> float:
    """The chance of at most so many hits where each of `of` tries is one with probability `share`."""
    if share <= 0:
        return 1.0
    if share >= 1:
        return 1.0 if hits >= of else 0.0
    return min(1.0, math.fsum(math.exp(_log_chance(k, of, share)) for k in range(hits + 1)))


def interval(hits: int, of: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The shares that a two-sided exact test does not exclude (Clopper and Pearson).

    Raises: ValueError unless there was a try, and no more hits than tries.
    """
    if not 0 <= hits <= of or of < 1:
        raise ValueError(f"{hits} of {of}")
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else _share_where(lambda share: 1 - at_most(hits - 1, of, share) > tail)
    high = 1.0 if hits == of else _share_where(lambda share: at_most(hits, of, share) < tail)
    return low, high


def same_share(hits: int, of: int, other_hits: int, other_of: int) -> float:
    """How often chance alone makes two counts as unlike as these if their shares are equal: Fisher's exact test."""
    total = hits + other_hits
    chances = [
        math.exp(_log_choose(of, k) + _log_choose(other_of, total - k) - _log_choose(of + other_of, total))
        for k in range(max(0, total - other_of), min(of, total) + 1)
    ]
    seen = chances[hits - max(0, total - other_of)]
    # An outcome as unlikely as the one seen counts, and floats must not decide about that.
    return min(1.0, math.fsum(each for each in chances if each <= seen * (1 + 1e-9)))


def _share_where(is_beyond: Callable[[float], bool]) -> float:
    """The share from which on something holds, by halving."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_beyond(middle) else (middle, high)
    return high


def _log_chance(hits: int, of: int, share: float) -> float:
    return _log_choose(of, hits) + hits * math.log(share) + (of - hits) * math.log1p(-share)


def _log_choose(of: int, hits: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(hits + 1) - math.lgamma(of - hits + 1)
