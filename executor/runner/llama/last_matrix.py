"""The exact logits of a few tokens, beside the rough ones of an engine that is not torch: head.py, done in numpy."""

import math
from functools import partial
from typing import Any

import numpy as np

from ..fingerprint import Doubles, Floats, Integers
from ..logits import Logits
from .weights import widened

BLOCK = 1 << 12
UNIT = 2.0**-7
"""The distance from 1 to the next number of bfloat16."""


class LastMatrix:
    """The last matrix of a model, [vocab, hidden], as words of bfloat16, and how far rough logits may be off."""

    def __init__(self, rows: Any) -> None:
        # A plain array: to look up rows of a mapped file takes twice as long.
        self._rows = np.asarray(rows)
        # As in head.py: of n numbers that are rounded by chance the error grows with the root of n.
        self._spread = 2 * UNIT * self._longest() / float(rows.shape[1]) ** 0.5

    def _longest(self) -> float:
        """The norm of the row that has the largest."""
        blocks = (widened(self._rows[start : start + BLOCK]) for start in range(0, len(self._rows), BLOCK))
        return math.sqrt(max(np.einsum("ij,ij->i", block, block).max() for block in blocks))

    def logits(self, rough: Floats, state: Floats) -> Logits:
        """Those of a state [hidden]. `rough`: float32 [vocab], of the state in bfloat16, added up in float32."""
        off = self._spread * math.sqrt(float(np.dot(state, state)))
        return Logits(rough, off, partial(self.exactly, state))

    def exactly(self, state: Floats, tokens: Integers) -> Doubles:
        """The logits of some tokens, of one state [hidden] or of several [n, hidden]: float64."""
        wide = state.astype(np.float64)
        # In blocks, because of a model that likes all tokens the same every one may matter.
        parts = [
            wide @ widened(self._rows[tokens[start : start + BLOCK]]).astype(np.float64).T
            for start in range(0, len(tokens), BLOCK)
        ]
        return np.concatenate(parts, axis=-1)
