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

FULL_LENGTH = 64
SIGMAS = 6
OVER_WORST = 1.25
# D1 over D0. What lies between is looked at again and costs nobody anything.
ACT_WIDTH, CHUNK_WIDTH, TOK_WIDTH, WORST_WIDTH = 1.125, 1.22, 2, 2


@dataclass(frozen=True, slots=True)
class Floors:
    """The least D0 of the margin terms: their honest values are mostly zero, so that a deviation says little.

    tok: ppm of a nat, mean over an answer. worst: for a single token.
    """

    tok: int
    worst: int


FLOORS = {1: Floors(tok=500, worst=100_000), 2: Floors(tok=2_000, worst=1_000_000)}


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


def _bound(values: Sequence[int]) -> int:
    spread = statistics.fmean(values) + SIGMAS * statistics.stdev(values)
    return math.ceil(max(spread, OVER_WORST * max(values)))
