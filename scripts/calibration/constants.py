"""From measured distances of readings to their constants, as those of text are made in node/calibration. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from node.calibration.constants import OVER_WORST
from protocol.judging.reading import SETTLED_TEXTS

# D1 over D0. What lies between is examined again and costs no stake.
EMBED_WIDTH, CLASSIFY_WIDTH = 1.5, 1.75


@dataclass(frozen=True, slots=True)
class Floors:
    """The least D0 in ppm: honest values are mostly zero, so that what was seen says little."""

    embed: int
    classify: int


FLOORS = {1: Floors(500, 2_500), 2: Floors(5_000, 40_000)}


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
