"""What the margin of one token says about a node: scores whose sum over many jobs finds what no single job shows.

The cheat to find is the adaptive one: tokens of a cheap model, and the fingerprint of one true pass over them. Then
only margins tell, and each tells little. A score is a log likelihood ratio, tokens of the cheat against honest ones,
over a few bins; it is then shrunk until the evidence of an honest answer, exp of its sum, is at most 1 on average for
every family of prompts, so that nobody can drive an honest node up by what it asks. Pure.
"""

import math
import random
import statistics
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol.stages.margins import HEAD_START, MOST_A_CASE, RUNNING_ALARM, evidence_of
from protocol.stages.verification import MAX_MARGIN_SCORE, MarginScores

MILLI = 1_000
NEVER = 1_000_000
MAX_MARGIN = 2**32 - 1

BINS = 6
SHRINKS = tuple(percent / 100 for percent in range(100, 4, -5))
BOUND_SIGMAS = 1.645
"""One-sided, 95 %."""
SIMULATED = 2_000
MAX_ANSWERS = 1_024

Margins = Sequence[Sequence[int]]
"""The margins of answers, in ppm, token by token, without that of the end."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Scores, with what an honest answer's evidence comes to: for each group its mean and the upper bound of that."""

    scores: MarginScores
    honest: Mapping[str, tuple[float, float]]


def fit(honest: Margins, cheat: Margins, groups: Mapping[str, Margins]) -> Weighed:
    """Scores of honest answers against those of a cheat, shrunk on other honest ones, `groups`, by what they are like.

    Raises: ValueError if there is nothing to learn from.
    """
    edges = _edges(cheat)
    raw = _ratios(_counts(honest, edges), _counts(cheat, edges))
    best: tuple[float, MarginScores] | None = None
    cheat_share = _shares(_counts(cheat, edges))
    for shrink in SHRINKS:
        scores = _level(edges, [shrink * each for each in raw], groups)
        if scores is not None:
            growth = sum(share * score for share, score in zip(cheat_share, scores.scores, strict=True))
            if best is None or growth > best[0]:
                best = growth, scores
    if best is None or best[0] <= 0:
        raise ValueError("no table of margin scores is safe for honest nodes and finds this cheat")
    return Weighed(best[1], {name: mean_evidence(best[1], answers) for name, answers in groups.items()})


def mean_evidence(scores: MarginScores, answers: Margins) -> tuple[float, float]:
    """Mean of exp(evidence) over answers, at most 1 for a safe table, and what it may be with this many of them.

    For that each bin has half a token more, over all of the answers, than was seen: where exact arithmetic never puts a
    token, the spread alone would say that none ever comes, and any score be safe.
    """
    values = [math.exp(evidence_of(each, scores) / MILLI) for each in answers]
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else mean
    unseen = sum(max(0.0, math.exp(score / MILLI) - 1) for score in scores.scores) / 2
    return mean, mean + BOUND_SIGMAS * spread / math.sqrt(len(values)) + unseen / len(values)


def tokens_to_alarm(
    scores: MarginScores, answers: Margins, begin: int = HEAD_START, alarm: int = RUNNING_ALARM
) -> list[int]:
    """After how many checked tokens a node is found that answers like these, in many trials, ascending, or NEVER.

    Answers are drawn with a fixed seed, one case each; evidence never sinks below none. `begin` is the node's sum
    before the first: the head start of a new one, or 0 after honest cases.
    """
    told = [(min(MOST_A_CASE, evidence_of(each, scores)), len(each)) for each in answers if each]
    found = []
    chance = random.Random(1)  # noqa: S311 (a simulation that can be repeated)
    for _ in range(SIMULATED):
        running, tokens = begin, 0
        for _ in range(MAX_ANSWERS):
            one, length = chance.choice(told)
            running, tokens = max(0, running + one), tokens + length
            if running >= alarm:
                break
        else:
            tokens = NEVER
        found.append(tokens)
    return sorted(found)


def _edges(cheat: Margins) -> tuple[int, ...]:
    """So that the cheat's margins above zero fall evenly into the bins above the first."""
    above = sorted(margin for answer in cheat for margin in answer if margin > 0)
    if not above:
        raise ValueError("the cheat's tokens are those of an honest node")
    edges = [1, *(above[len(above) * step // BINS] for step in range(1, BINS))]
    return tuple(sorted(set(edges)))


def _counts(answers: Margins, edges: Sequence[int]) -> list[int]:
    counts = [0] * (len(edges) + 1)
    for answer in answers:
        for margin in answer:
            counts[bisect_right(edges, margin)] += 1
    return counts


def _shares(counts: Sequence[int]) -> list[float]:
    """With half a token more in each bin: what was never seen may yet come."""
    total = sum(counts) + len(counts) / 2
    return [(count + 0.5) / total for count in counts]


def _ratios(honest: Sequence[int], cheat: Sequence[int]) -> list[float]:
    """The logarithm of each bin's likelihood ratio. A larger margin never says less: bins are pooled where it would."""
    if not sum(honest) or not sum(cheat):
        raise ValueError("there are no tokens to compare")
    pools: list[tuple[float, float, int]] = []
    for pool in zip(_shares(honest), _shares(cheat), [1] * len(honest), strict=True):
        pools.append(pool)
        while len(pools) > 1 and pools[-2][1] * pools[-1][0] > pools[-1][1] * pools[-2][0]:
            (p, q, bins), (next_p, next_q, next_bins) = pools[-2:]
            pools[-2:] = [(p + next_p, q + next_q, bins + next_bins)]
    return [math.log(q / p) for p, q, bins in pools for _ in range(bins)]


def _level(edges: tuple[int, ...], ratios: Sequence[float], groups: Mapping[str, Margins]) -> MarginScores | None:
    """These ratios less what makes them safe, the same from every token; None if nothing does."""
    low, high = -MILLI, 2 * MILLI

    def scores(less: int) -> MarginScores:
        found = (math.floor(MILLI * each) - less for each in ratios)
        return MarginScores(edges, tuple(max(-MAX_MARGIN_SCORE, min(MAX_MARGIN_SCORE, each)) for each in found))

    def is_safe(less: int) -> bool:
        table = scores(less)
        return all(mean_evidence(table, answers)[1] <= 1 for answers in groups.values())

    if not is_safe(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_safe(middle) else (middle + 1, high)
    return scores(low)
