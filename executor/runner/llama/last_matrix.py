"""The exact logits of a few tokens, beside the rough ones of an engine that is not torch: head.py, done in numpy."""

import math
from functools import partial
from typing import Any, Protocol

import numpy as np

from ..fingerprint import Doubles, Floats, Integers
from ..gguf import tensors
from ..logits import Logits
from ..weights import widened

BLOCK = 1 << 12
UNIT = 2.0**-7
"""The distance from 1 to the next number of bfloat16."""
DEVIATIONS = 7
LEVELS, BLOCK_NUMBERS = 127, 32
"""Of a block of Q8_0, in which a state goes into a product with such a matrix."""


class MatrixRows(Protocol):
    """The rows of a matrix in the format in which they are stored."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    def wide(self, rows: Any) -> Floats:
        """Some rows, chosen by a slice or by their numbers, as the float32 numbers that they are."""

    def error(self, state: Floats) -> float:
        """How far a rough product with a row of length 1 may be off: seven standard deviations of its rounding."""


class WordRows:
    """Rows of words of bfloat16, or of float32."""

    def __init__(self, words: Any) -> None:
        # A plain array: to look up rows of a mapped file takes twice as long.
        self._words = np.asarray(words)
        self.shape: tuple[int, int] = words.shape

    def wide(self, rows: Any) -> Floats:
        """See MatrixRows."""
        return widened(self._words[rows])

    def error(self, state: Floats) -> float:
        """See MatrixRows. As in head.py: of n numbers that are rounded by chance it grows with the root of n."""
        return 2 * UNIT * math.sqrt(float(np.dot(state, state))) / math.sqrt(self.shape[1])


class BlockRows:
    """Rows of blocks of a GGUF type, [rows, bytes]."""

    def __init__(self, blocks: Any, type_id: int) -> None:
        self._blocks, self._type_id = np.asarray(blocks), type_id
        self.shape: tuple[int, int] = (blocks.shape[0], self.wide(slice(0, 1)).shape[1])

    def wide(self, rows: Any) -> Floats:
        """See MatrixRows."""
        return tensors.widened(self._blocks[rows], self._type_id)

    def error(self, state: Floats) -> float:
        """See MatrixRows. llama.cpp rounds each number of the state by up to half a step of its block."""
        steps = np.abs(state).reshape(-1, BLOCK_NUMBERS).max(axis=1) / LEVELS
        # A row may lie where the steps are largest.
        return DEVIATIONS * float(steps.max()) / math.sqrt(12)


class LastMatrix:
    """The last matrix of a model, [vocab, hidden], and how far rough logits may be off."""

    def __init__(self, rows: MatrixRows, cap: float | None = None) -> None:
        """Args: cap, what logits are bent to stay below; the engine bends its rough ones itself."""
        self._rows, self._cap = rows, cap
        self._longest = self._norm()

    def _norm(self) -> float:
        """The norm of the row that has the largest."""
        starts = range(0, self._rows.shape[0], BLOCK)
        blocks = (self._rows.wide(slice(start, start + BLOCK)) for start in starts)
        return math.sqrt(max(np.einsum("ij,ij->i", block, block).max() for block in blocks))

    def logits(self, rough: Floats, state: Floats) -> Logits:
        """Those of a state [hidden]. `rough`: float32 [vocab], of the state as the engine rounds it."""
        return Logits(rough, self._longest * self._rows.error(state), partial(self.exactly, state))

    def exactly(self, state: Floats, tokens: Integers) -> Doubles:
        """The logits of some tokens, of one state [hidden] or of several [n, hidden]: float64."""
        wide = state.astype(np.float64)
        # In blocks, because of a model that likes all tokens the same every one may matter.
        parts = [
            wide @ self._rows.wide(tokens[start : start + BLOCK]).astype(np.float64).T
            for start in range(0, len(tokens), BLOCK)
        ]
        found = np.concatenate(parts, axis=-1)
        return found if self._cap is None else self._cap * np.tanh(found / self._cap)
