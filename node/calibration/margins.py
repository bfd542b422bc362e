"""The score of one token's margin about its node: scores whose sum over many jobs finds what no single job shows.

The cheat to find is the adaptive one: tokens of a cheap model, and the fingerprint of one true pass over them. Then
only margins tell, and each tells little. The test looks at which of two near tokens was taken, given how near they
were: the further apart, the less often a node should have taken the lesser one. How often tokens are near at all is a
matter of what was asked, and says nothing. A score is the log likelihood ratio of that one choice, the cheat's against
an honest one that errs a little more than was measured; then it is shrunk until the ratio of an honest answer, exp of
its sum, is at most 1 on average for every family of prompts, so no client can drive an honest node up by what it asks.
Pure.
"""

import math
import random
import statistics
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol.judging.margins import HEAD_START, MOST_A_CASE, RUNNING_ALARM, margin_llr
from protocol.stages.verification import MAX_MARGIN_SCORE, MarginScores

MILLI = 1_000
NEVER = 1_000_000

BINS = 12
FURTHEST = 1_000_000
"""Of tokens that are a nat apart the margin is not told; nor does it say anything."""
ERRING = tuple(percent / 100 for percent in range(100, 420, 20))
SHRINKS = tuple(percent / 100 for percent in range(100, 5, -10))
BOUND_SIGMAS = 1.645
"""One-sided, 95 %."""
SIMULATED = 2_000
MAX_ANSWERS = 1_024
WITHIN_TOKENS = 1_024

Margins = Sequence[Sequence[int]]
"""The margins of answers, in ppm, token by token, without that of the end."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Scores, and for each group of honest answers the mean of their likelihood ratios with its upper bound."""

    scores: MarginScores
    honest: Mapping[str, tuple[float, float]]


def fit(honest: Margins, cheat: Margins, groups: Mapping[str, Margins]) -> Weighed:
    """Scores of honest answers against those of a cheat, made safe for other honest ones, `groups`, by what they are.

    Of all safe tables it is the one by which nineteen of twenty nodes that answer like the cheat come nearest to an
    alarm within `WITHIN_TOKENS`.
    Raises: ValueError if there is nothing to learn from, or no table is safe.
    """
    gaps = _gaps(cheat)
    honest_share, cheat_share = _lesser(honest, gaps), _lesser(cheat, gaps)
    best: tuple[float, MarginScores] | None = None
    for erring in ERRING:
        for shrink in SHRINKS:
            scores = _scores(gaps, honest_share, cheat_share, erring, shrink)
            if all(mean_likelihood_ratio(scores, answers)[1] <= 1 for answers in groups.values()):
                mean, spread = _told(scores, cheat)
                reached = mean - BOUND_SIGMAS * spread
                if mean > 0 and (best is None or reached > best[0]):
                    best = reached, scores
                # Less of a safe table finds less.
                break
    if best is None:
        raise ValueError("no table of margin scores is safe for honest nodes and finds this cheat")
    return Weighed(best[1], {name: mean_likelihood_ratio(best[1], answers) for name, answers in groups.items()})


def mean_likelihood_ratio(scores: MarginScores, answers: Margins) -> tuple[float, float]:
    """Mean of exp(llr) over answers, at most 1 for a safe table, and what it may be with this many of them.

    For that each bin has half a token more, over all of the answers, than was seen: where exact arithmetic never puts a
    token, the spread alone would say that none ever comes, and any score be safe.
    """
    values = [math.exp(margin_llr(each, scores) / MILLI) for each in answers]
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else mean
    unseen = sum(max(0.0, math.exp(score / MILLI) - 1) for score in scores.scores) / 2
    return mean, mean + BOUND_SIGMAS * spread / math.sqrt(len(values)) + unseen / len(values)


def tokens_to_alarm(
    scores: MarginScores, answers: Margins, begin: int = HEAD_START, alarm: int = RUNNING_ALARM
) -> list[int]:
    """After how many checked tokens a node is found that answers like these, in many trials, ascending, or NEVER.

    Answers are drawn with a fixed seed, one case each; the sum never sinks below 0. `begin` is the node's sum
    before the first: the head start of a new one, or 0 after honest cases.
    """
    told = [(min(MOST_A_CASE, margin_llr(each, scores)), len(each)) for each in answers if each]
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


def _gaps(cheat: Margins) -> tuple[int, ...]:
    """Edges of how far tokens are apart, in ppm, so that the cheat's lesser choices fall evenly between them."""
    lesser = sorted(margin for answer in cheat for margin in answer if margin > 0)
    if not lesser:
        raise ValueError("the cheat's tokens are those of an honest node")
    inner = (lesser[len(lesser) * step // BINS] for step in range(1, BINS))
    return tuple(sorted({1, *(edge for edge in inner if edge < FURTHEST), FURTHEST}))


def _lesser(answers: Margins, gaps: Sequence[int]) -> list[float]:
    """For each gap of two tokens in how many of its places the lesser one was taken; of a larger gap never in more.

    The first gap is that of equals, of which neither is lesser. With half a token more of each in every bin: what was
    never seen may yet come.
    """
    taken, all_of = [0.5] * len(gaps), [1.0] * len(gaps)
    for margin in (margin for answer in answers for margin in answer):
        at = bisect_right(gaps, abs(margin)) - 1
        if at >= 0:
            all_of[at] += 1
            taken[at] += margin > 0
    if sum(all_of) == len(gaps):
        raise ValueError("there are no tokens to compare")
    pools: list[tuple[float, float, int]] = []
    for pool in zip(taken, all_of, [1] * len(gaps), strict=True):
        pools.append(pool)
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] < pools[-1][0] * pools[-2][1]:
            (some, of, bins), (more, of_more, more_bins) = pools[-2:]
            pools[-2:] = [(some + more, of + of_more, bins + more_bins)]
    return [some / of for some, of, bins in pools for _ in range(bins)]


def _scores(
    gaps: Sequence[int], honest: Sequence[float], cheat: Sequence[float], erring: float, shrink: float
) -> MarginScores:
    """The table for an honest node that takes the lesser token `erring` times as often as was seen.

    A lesser token never says less for being further off.
    """
    lesser: list[int] = []
    greater: list[int] = []
    for seen, theirs in zip(honest, cheat, strict=True):
        ours = erring * seen
        tells = ours < theirs
        lesser.append(max([_score(shrink * math.log(theirs / ours)) if tells else 0, *lesser[-1:]]))
        greater.append(_score(shrink * math.log((1 - theirs) / (1 - ours))) if tells else 0)
    edges = [*(1 - gap for gap in reversed(gaps)), *gaps]
    return _merged(edges, [*reversed(greater), 0, *lesser])


def _score(ratio: float) -> int:
    """Rounded in favour of the node."""
    return max(-MAX_MARGIN_SCORE, min(MAX_MARGIN_SCORE, math.floor(MILLI * ratio)))


def _merged(edges: Sequence[int], scores: Sequence[int]) -> MarginScores:
    """Without the edges that part nothing."""
    kept = [place for place in range(len(edges)) if scores[place] != scores[place + 1]]
    return MarginScores(tuple(edges[place] for place in kept), (scores[0], *(scores[place + 1] for place in kept)))


def _told(scores: MarginScores, cheat: Margins) -> tuple[float, float]:
    """The ratio against a node that answers so, after `WITHIN_TOKENS`, one case an answer: its mean and its spread."""
    told = [min(MOST_A_CASE, margin_llr(each, scores)) for each in cheat]
    answers = WITHIN_TOKENS * len(cheat) / sum(map(len, cheat))
    return statistics.fmean(told) * answers, statistics.pstdev(told) * math.sqrt(answers)
