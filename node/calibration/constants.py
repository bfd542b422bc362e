"""From measured distances to the constants that a chain keeps. Pure.

Each pair (D0, D1) is in ppm: an honest distance stays under D0, one of D1 or more fails. A client could ask for the
noisiest things on purpose, and must not be able to bring down an honest node with them: D1 lies a quarter over the
worst of honest runs. D0 lies six standard deviations over their mean, and over the worst of them as well; by little
where that is a single token whose state went astray in a short answer, since an answer in between is examined again.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from node.calibration.answers import Cut
from protocol.judging.reading import SETTLED_TEXTS
from protocol.stages.verification import CALIBRATED_TOKENS, SHORT_ANSWER, Calibration, Tolerance

SIGMAS = 6
# D0 over the worst.
OVER_WORST, STATES_OVER_WORST, TOKEN_OVER_WORST = 1.25, 1.1, 2
# D1 over D0. A distance between them is examined again and costs no stake.
ACT_WIDTH, CHUNK_WIDTH, TOK_WIDTH, WORST_WIDTH = 1.14, 1.22, 2, 2
EMBED_WIDTH, CLASSIFY_WIDTH = 1.5, 1.75


@dataclass(frozen=True, slots=True)
class Floors:
    """The least D0 where honest values are mostly zero, so that a deviation says little.

    tok: ppm of a nat, mean over an answer. worst: for a single token. embed, classify: ppm, of readings.
    """

    tok: int
    worst: int
    embed: int
    classify: int


_BF16 = Floors(2_000, 500_000, 5_000, 40_000)
FLOORS = {1: Floors(500, 100_000, 500, 2_500), 2: _BF16, 3: _BF16}
"""By class. Class 3 rounds what goes into a matrix to 8 bits, bfloat16 to as many."""


def constants(whole: Sequence[Cut], shortened: Sequence[Cut], class_id: int) -> Calibration:
    """The distances of honest answers. Raises: ValueError for fewer than two.

    Args: whole, the answers as they were; shortened, the same ones as jobs that allow less would have had them.
    """
    if len(whole) < 2:
        raise ValueError(f"{len(whole)} honest answers")
    floors = FLOORS[class_id]
    # A short answer's fingerprint spreads a little more; what it may thereby miss is looked at again and costs nothing.
    act, chunk = (_bound([getattr(cut.own, term) for cut in whole], STATES_OVER_WORST) for term in ("act", "chunk"))
    every = [*whole, *shortened]
    # Its mean margin spreads much more, and the score allows for that by length; here it is that of 64 tokens.
    tok = max(_bound([_at_full_length(cut) for cut in every], OVER_WORST), floors.tok)
    # One token decides this term, so it is bounded by what any honest run has shown, twice.
    worst = max(floors.worst, TOKEN_OVER_WORST * max(cut.own.worst for cut in every))
    return Calibration(
        act=_band(act, ACT_WIDTH),
        chunk=_band(chunk, CHUNK_WIDTH),
        tok=_band(tok, TOK_WIDTH),
        worst=_band(worst, WORST_WIDTH),
    )


def _at_full_length(cut: Cut) -> int:
    root = isqrt(min(max(cut.tokens, SHORT_ANSWER), CALIBRATED_TOKENS))
    return cut.own.tok * root // isqrt(CALIBRATED_TOKENS)


def _band(d0: int, width: float) -> Tolerance:
    return Tolerance(d0, math.ceil(d0 * width))


def _bound(values: Sequence[int], over_worst: float) -> int:
    spread = statistics.fmean(values) + SIGMAS * statistics.stdev(values)
    return math.ceil(max(spread, over_worst * max(values)))


def reading_constants(
    distances: Sequence[int], label_sets: Sequence[Sequence[Sequence[int]]], class_id: int
) -> dict[str, list[int]]:
    """The pairs of a class for embeddings and classification, in ppm.

    Two ways to read a text differ by a step of rounding or not at all, and once in a while by several; so here the
    largest that was seen counts, not a deviation. D0 bounds the root mean square of any 32 texts in a row and, with
    the room that the score gives a single text, each of them.
    Args: distances, of each embedding; label_sets, for each set of labels and text the difference and the lead.
    """
    differences = [[difference for difference, _ in rows] for rows in label_sets]
    pairs = (("embed", [distances], EMBED_WIDTH), ("classify", differences, CLASSIFY_WIDTH))
    floored = {name: max(getattr(FLOORS[class_id], name), _bound_texts(series)) for name, series, _ in pairs}
    return {name: [floored[name], math.ceil(width * floored[name])] for name, _, width in pairs}


def _bound_texts(series: Sequence[Sequence[int]]) -> int:
    room = math.sqrt(math.sqrt(SETTLED_TEXTS))
    singles = [max(values) / room for values in series]
    groups = [
        math.sqrt(statistics.fmean(value * value for value in values[start : start + SETTLED_TEXTS]))
        for values in series
        for start in range(0, max(1, len(values) - SETTLED_TEXTS + 1), SETTLED_TEXTS)
    ]
    return math.ceil(OVER_WORST * max(*singles, *groups))
