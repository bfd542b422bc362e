"""top_k and top_p: which tokens may be drawn at a place, and how far each is from the edge of that set.

With the logits z in falling order (of equal ones the lower id first) and T above 0, a token is kept if
    its rank, counted from 0, is below top_k, and
    the tokens before it, of the top_k, hold less than top_p of what softmax(z / T) gives to the top_k
A worker and a checker see logits that differ by noise, and near the edge they may disagree. So each token has an
`edge`, in logit units: by how much logits would have to be off for the other side to be right; above 0 if it is kept.
Noise moves a token past its neighbours, by the distance of their logits; and it moves the share M of the tokens
before it, whose log-odds are off by at most d / T where all of them are off by d against the others. Each token's edge
is the cheapest mixture of both: past the neighbours within d, and the share of the rest by d.
"""

from dataclasses import dataclass

import numpy as np

from .fingerprint import Doubles, Integers
from .rules import ONE_PPM, ChoiceRules

FIRST = 512
"""Tokens that are put in order at first: nearly always all that are kept, and those beside the edge."""
MORE = 8


@dataclass(frozen=True, slots=True)
class TokenCut:
    """The tokens that are kept, and others less than `beside` away from it. `logits`, `edges`: of `ids`, in order."""

    ids: Integers
    logits: Doubles
    edges: Doubles
    kept: int
    top_k: int
    flips: Doubles
    shares: Doubles

    def edges_below(self, logits: Doubles) -> Doubles:
        """Edges, below 0, of tokens that are none of these, by their logits."""
        edges = np.full(len(logits), np.inf)
        if len(self.flips):
            edges = -_needed_to_rise(self.logits, self.flips, self.shares, logits)
        if self.top_k:
            edges = np.minimum(edges, logits - self.logits[self.top_k - 1])
        return np.minimum(edges, 0.0)


def cut(logits: Doubles, rules: ChoiceRules, temperature: float, beside: float) -> TokenCut:
    """The cut of a place, by its logits [vocab], which are finite; temperature, above 0, in units of one."""
    count = min(len(logits), max(FIRST, 2 * rules.top_k))
    while True:
        found = _cut_of_first(logits, count, rules, temperature)
        if count == len(logits) or found.edges[-1] <= -beside:
            break
        count = min(len(logits), count * MORE)
    # Edges fall with the rank.
    near = max(found.kept, int((found.edges > -beside).sum()))
    return TokenCut(
        found.ids[:near], found.logits, found.edges[:near], found.kept, found.top_k, found.flips, found.shares
    )


def _cut_of_first(logits: Doubles, count: int, rules: ChoiceRules, temperature: float) -> TokenCut:
    ids = np.argpartition(-logits, count - 1)[:count]
    ids = ids[np.lexsort((ids, -logits[ids]))]
    ordered, ranks = logits[ids], np.arange(count)
    edges, kept = np.full(count, np.inf), count
    flips = shares = np.empty(0)
    top_k = rules.top_k if rules.top_k < len(logits) else 0
    if top_k:
        # The first token that is left out, and the last one that is not.
        first_out, last_in = ordered[top_k], ordered[top_k - 1]
        edges = np.where(ranks < top_k, ordered - first_out, ordered - last_in)
        kept = top_k
    if rules.top_p_ppm < ONE_PPM:
        weights = np.exp((ordered - ordered[0]) / temperature)
        whole = weights[:top_k].sum() if top_k else np.exp((logits - ordered[0]) / temperature).sum()
        before = np.concatenate([[0.0], np.cumsum(weights)[:-1]]) / whole
        if top_k:
            before[top_k:] = 1.0
        top_p = rules.top_p_ppm / ONE_PPM
        shares = temperature * (_log_odds(before) - _log_odds(np.array([top_p])))
        flips = ordered - shares
        kept = min(kept, int((shares < 0).sum()))
        edges = np.minimum(edges, _share_edges(ordered, flips, shares))
    return TokenCut(ids, ordered, edges, kept, top_k, flips, shares)


def _share_edges(ordered: Doubles, flips: Doubles, shares: Doubles) -> Doubles:
    """Edges of tokens in order, by top_p alone."""
    # Where a token of this logit would stand on the edge; flips fall with the rank.
    at = np.searchsorted(-flips, -ordered, side="left")
    beyond = np.append(ordered, -np.inf)[at]
    falls = np.minimum(ordered - beyond, -shares[np.maximum(at, 1) - 1])
    return np.where(shares < 0, falls, -_needed_to_rise(ordered, flips, shares, ordered))


def _needed_to_rise(ordered: Doubles, flips: Doubles, shares: Doubles, logits: Doubles) -> Doubles:
    """How much larger the logits of tokens that top_p leaves out would have to be."""
    at = np.clip(np.searchsorted(-flips, -logits, side="left"), 1, len(ordered))
    by_share = np.append(shares, np.inf)[at]
    return np.maximum(0.0, np.minimum(by_share, ordered[at - 1] - logits))


def _log_odds(share: Doubles) -> Doubles:
    """ln(share / (1 - share)), infinite at both ends."""
    with np.errstate(divide="ignore"):
        return np.log(share) - np.log(np.maximum(0.0, 1.0 - share))
