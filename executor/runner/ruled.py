"""The choice of tokens under the rules of an input: penalties, top_k and top_p, then the draw of gumbel.py.

    z'_v = z_v - presence [n_v > 0] - frequency n_v,  n_v: how often v is among the tokens of the answer so far
Of these logits those that top_k and top_p keep take part in the draw; at temperature 0, where the largest is taken,
both change nothing. Another token is the better choice by what makes it so under noise: it must score more and be kept.
So it leads by the smaller one of its lead and its edge, and a token that is not kept lies behind by its edge at least.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .cuts import TokenCut, cut
from .fingerprint import Doubles, Integers
from .gumbel import NEAR, Chooser, Standing
from .logits import Logits
from .rules import ChoiceRules

EXACT = 256
"""So many of the largest logits are looked at exactly for a cut; of the others the errors cancel out in their sum."""
MILLI = 1000


@dataclass(frozen=True, slots=True)
class RuledChooser(Chooser):
    """Chooses under rules. `written`: the tokens of the answer; those from a place on have no say in it."""

    rules: ChoiceRules
    written: list[int]

    def choose(self, logits: Logits, place: int) -> int:
        """The token at `place`, which follows the tokens that this chooser chose before it."""
        del self.written[place:]
        penalised = self._penalised(logits, place)
        found = self._cut(penalised)
        if found is not None:
            rough = np.full_like(penalised.rough, -np.inf)
            kept = found.ids[: found.kept]
            rough[kept] = penalised.rough[kept]
            penalised = replace(penalised, rough=rough)
        token = Chooser.choose(self, penalised, place)
        self.written.append(token)
        return token

    def standing(self, logits: Logits, place: int, stops: Sequence[int], chosen: int | None) -> Standing:
        """What stands between this choice at `place` and ours, each other token led by what noise would take."""
        penalised = self._penalised(logits, place)
        found = self._cut(penalised)
        if found is None:
            return Chooser.standing(self, penalised, place, stops, chosen)
        asked = np.array([*stops] if chosen is None else [*stops, chosen], np.int64)
        own = penalised.exactly(asked)
        ids, edges = np.concatenate([asked, found.ids]), np.concatenate([_edges(found, asked, own), found.edges])
        numbers = self._numbers(place, ids)
        scores = np.concatenate([own, penalised.rough[found.ids]]) + numbers
        floor = min(scores.max(), scores[len(asked) - 1]) - NEAR - 2 * penalised.off
        matters = np.flatnonzero(scores >= floor)
        scores[matters] = penalised.exactly(ids[matters]) + numbers[matters]

        def behind(at: int) -> float:
            others = ids != asked[at]
            led = np.minimum(scores[others] - scores[at], edges[others]).max(initial=-np.inf)
            return float(max(led, -edges[at]))

        stop_margin = max(0.0, min(map(behind, range(len(stops)))))
        if chosen is None:
            return Standing(0.0, stop_margin, 0.0)
        last = len(stops)
        lead = float(np.minimum(scores[:last] - scores[last], edges[:last]).max())
        return Standing(behind(last), stop_margin, lead)

    def _penalised(self, logits: Logits, place: int) -> Logits:
        if not self.rules.penalises or not place:
            return logits
        ids, counts = np.unique(np.array(self.written[:place], np.int64), return_counts=True)
        taken = np.zeros(len(logits.rough))
        taken[ids] = (self.rules.presence_milli + self.rules.frequency_milli * counts) / MILLI
        rough = logits.rough.copy()
        rough[ids] -= taken[ids].astype(np.float32)

        def exactly(asked: Integers) -> Doubles:
            return logits.exactly(asked) - taken[np.asarray(asked, np.int64)]

        return replace(logits, rough=rough, exactly=exactly)

    def _cut(self, logits: Logits) -> TokenCut | None:
        """The cut of a place; None where there is none, or what is no number would be hidden by it."""
        if not self.rules.cuts or not self.temperature_milli or not np.isfinite(logits.rough).all():
            return None
        values = logits.rough.astype(np.float64)
        if logits.off:
            count = min(EXACT, len(values))
            largest = np.argpartition(-values, count - 1)[:count]
            values[largest] = logits.exactly(largest)
        return cut(values, self.rules, self.temperature_milli / MILLI, NEAR)


def _edges(found: TokenCut, asked: Integers, logits: Doubles) -> Doubles:
    """The edges of some tokens, of which some may be far out."""
    order = np.argsort(found.ids)
    at = np.minimum(np.searchsorted(found.ids, asked, sorter=order), len(order) - 1)
    places = order[at]
    return np.where(found.ids[places] == asked, found.edges[places], found.edges_below(logits))
