"""From measured distances to the constants that a chain keeps. Pure.

Each pair (D0, D1) is in ppm: an honest distance stays under D0, one of D1 or more fails. D0 lies six standard
deviations over the mean of honest runs and a quarter over the worst of them, whichever is more: a client could ask for
the noisiest things on purpose, and must not be able to bring down an honest node with them.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from protocol.stages.reading import SETTLED_TEXTS

FULL_LENGTH = 64
SIGMAS = 6
OVER_WORST = 1.25
# D1 over D0. What lies between is looked at again and costs nobody anything.
ACT_WIDTH, CHUNK_WIDTH, TOK_WIDTH, WORST_WIDTH = 1.125, 1.22, 2, 2
EMBED_WIDTH, CLASSIFY_WIDTH = 1.5, 1.75


@dataclass(frozen=True, slots=True)
class Floors:
    """The least D0 of terms whose honest values are mostly zero, so that a deviation says little.

    tok: ppm of a nat, mean over an answer. worst: for a single token. embed, classify: of a reading.
    """

    tok: int
    worst: int
    embed: int
    classify: int


FLOORS = {1: Floors(500, 100_000, 500, 2_500), 2: Floors(2_000, 1_000_000, 5_000, 40_000)}


@dataclass(frozen=True, slots=True)
class Measured:
    """The four distances of one run, in ppm."""

    act: int
    chunk: int
    tok: int
    worst: int
    tokens: int


def constants(runs: Sequence[Measured], class_id: int) -> dict[str, Any]:
    """The class's entry of a calibration file. `n` counts the runs of full length among them."""
    full = [run for run in runs if run.tokens == FULL_LENGTH]
    floors = FLOORS[class_id]
    # Short answers are no noisier in these two: the first token's state comes from the same pass on both sides.
    act, chunk = (_bound([getattr(run, term) for run in runs]) for term in ("act", "chunk"))
    # The mean margin of a short answer is, and the score allows for it by length; here it is that of 64 tokens.
    tok = max(_bound([run.tok for run in full]), floors.tok)
    # One token decides this term, so it is bounded by what any honest run has shown, twice.
    worst = max(floors.worst, 2 * max(run.worst for run in runs))
    pairs = (
        ("act", act, ACT_WIDTH),
        ("chunk", chunk, CHUNK_WIDTH),
        ("tok", tok, TOK_WIDTH),
        ("worst", worst, WORST_WIDTH),
    )
    return {"n": len(full), **{name: [d0, math.ceil(d0 * width)] for name, d0, width in pairs}}


def reading_constants(
    distances: Sequence[int], label_sets: Sequence[Sequence[Sequence[int]]], class_id: int
) -> dict[str, list[int]]:
    """The pairs of a class for embeddings and classification, in ppm.

    Two ways to read a text differ by a step of rounding or not at all, and once in a while by several; so here the
    largest that was seen counts, not a deviation. D0 bounds the root mean square of any 32 texts in a row and, with
    the room that the score gives a single text, each of them.
    Args: distances, of each embedding; label_sets, for each set of labels and text the difference and the lead.
    """
    floors = FLOORS[class_id]
    embed = max(floors.embed, _bound_texts([distances]))
    differences = [[difference for difference, _ in rows] for rows in label_sets]
    classify = max(floors.classify, _bound_texts(differences))
    return {
        "embed": [embed, math.ceil(EMBED_WIDTH * embed)],
        "classify": [classify, math.ceil(CLASSIFY_WIDTH * classify)],
    }


def _bound_texts(series: Sequence[Sequence[int]]) -> int:
    room = math.sqrt(math.sqrt(SETTLED_TEXTS))
    singles = [max(values) / room for values in series]
    groups = [
        _root_mean_square(values[start : start + SETTLED_TEXTS])
        for values in series
        for start in range(0, max(1, len(values) - SETTLED_TEXTS + 1), SETTLED_TEXTS)
    ]
    return math.ceil(OVER_WORST * max(*singles, *groups))


def _root_mean_square(values: Sequence[int]) -> float:
    return math.sqrt(statistics.fmean(value * value for value in values))


def _bound(values: Sequence[int]) -> int:
    spread = statistics.fmean(values) + SIGMAS * statistics.stdev(values)
    return math.ceil(max(spread, OVER_WORST * max(values)))
