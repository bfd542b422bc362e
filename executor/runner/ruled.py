"""The choice of tokens under the rules of an input: penalties, top_k and top_p, then the draw of gumbel.py.

    z'_v = z_v - presence [n_v > 0] - frequency n_v,  n_v: how often v is among the tokens of the answer so far
Of these logits those that top_k and top_p keep take part in the draw; at temperature 0, where the largest is taken,
both change nothing. Another token is the better choice by what makes it so under noise: it must score more and be kept.
So it leads by the smaller one of its lead and its edge, and a token that is not kept lies behind by its edge at least.
A schema comes before all cuts: a token that its grammar forbids is none, to a worker and to a checker, and no noise of
logits makes it one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .cuts import TokenCut, cut
from .fingerprint import Doubles, Integers
from .grammar import AnswerGrammar
from .gumbel import NEAR, Chooser, Standing
from .job import BadInput
from .logits import Logits
from .rules import ChoiceRules

MILLI = 1000


@dataclass(frozen=True, slots=True)
class RuledChooser(Chooser):
    """Chooses under rules. `written`: the tokens of the answer; those from a place on have no say in it."""

    rules: ChoiceRules
    written: list[int]
    grammar: AnswerGrammar | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether the schema let no token follow at the last place."""
        return self.grammar is not None and self.grammar.is_stuck

    def choose(self, logits: Logits, place: int) -> int:
        """The token at `place`, which follows the tokens that this chooser chose before it; a stop token if none may.

        Source of the order: vLLM and SGLang, which mask before top_k and top_p. Penalties and a mask change each other
        in no order.
        """
        del self.written[place:]
        penalised = self._penalised(logits, place)
        allowed = self._allowed(place)
        if allowed is not None:
            if self.grammar is not None and not allowed.any():
                self.grammar.is_stuck = True
                return self.grammar.stop_id
            penalised = _only(penalised, allowed)
        found = self._cut(penalised, allowed)
        if found is not None:
            rough = np.full_like(penalised.rough, -np.inf)
            kept = found.ids[: found.kept]
            rough[kept] = penalised.rough[kept]
            penalised = replace(penalised, rough=rough)
        token = Chooser.choose(self, penalised, place)
        self.written.append(token)
        return token

    def standing(self, logits: Logits, place: int, stops: Sequence[int], chosen: int | None) -> Standing:
        """What stands between this choice at `place` and ours, each other token led by what noise would take.

        Raises BadInput with code bad_result for a token that the schema forbids.
        """
        penalised = self._penalised(logits, place)
        allowed = self._allowed(place)
        if allowed is not None:
            if chosen is not None and not allowed[chosen]:
                raise BadInput("bad_result", "the answer holds a token that its schema forbids")
            if not allowed.any():
                return Standing(0.0, 0.0, 0.0)
            penalised = _only(penalised, allowed)
        found = self._cut(penalised, allowed)
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

        # The stop tokens may be forbidden.
        stop_margin = max(0.0, min((behind(at) for at in range(len(stops)) if scores[at] > -np.inf), default=np.inf))
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

    def _allowed(self, place: int) -> NDArray[np.bool_] | None:
        return None if self.grammar is None else self.grammar.allowed(self.written, place)

    def _cut(self, logits: Logits, allowed: NDArray[np.bool_] | None) -> TokenCut | None:
        """The cut of a place; None where there is none, or what is no number would be hidden by it."""
        if not self.rules.cuts or not self.temperature_milli:
            return None
        if allowed is not None:
            return self._cut_of(logits, np.flatnonzero(allowed))
        return self._cut_of_all(logits)

    def _cut_of(self, logits: Logits, ids: Integers) -> TokenCut | None:
        """The cut of some tokens, as if there were no others."""
        found = self._cut_of_all(replace(logits, rough=logits.rough[ids], exactly=lambda at: logits.exactly(ids[at])))
        return found and replace(found, ids=ids[found.ids])

    def _cut_of_all(self, logits: Logits) -> TokenCut | None:
        if not np.isfinite(logits.rough).all():
            return None
        return cut(logits, self.rules, self.temperature_milli / MILLI, NEAR)


def _only(logits: Logits, allowed: NDArray[np.bool_]) -> Logits:
    """The logits of these tokens; of the others there is nothing to choose."""

    def exactly(asked: Integers) -> Doubles:
        return np.where(allowed[asked], logits.exactly(asked), -np.inf)

    return replace(logits, rough=np.where(allowed, logits.rough, np.float32(-np.inf)), exactly=exactly)


def _edges(found: TokenCut, asked: Integers, logits: Doubles) -> Doubles:
    """The edges of some tokens, of which some may be far out."""
    order = np.argsort(found.ids)
    at = np.minimum(np.searchsorted(found.ids, asked, sorter=order), len(order) - 1)
    places = order[at]
    return np.where(found.ids[places] == asked, found.edges[places], found.edges_below(logits))
