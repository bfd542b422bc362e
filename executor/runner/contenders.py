"""The numbers of a draw and the tokens that may win it, found by compiled code that the image has: build/draw.c.

Where it is missing, and for logits that cannot be compared, gumbel.py finds them itself.
"""

import ctypes
import math
from functools import cache
from pathlib import Path

import numpy as np

from .fingerprint import Doubles, Floats, Integers

FILE = Path("/opt/vcoin/compiled/libdraw.so")
ROOM = 1 << 13
"""Contenders at most. A model that likes more tokens the same is left to gumbel.py."""


class ContenderFinder:
    """The compiled code. Not for two threads at once."""

    def __init__(self, file: Path) -> None:
        library = ctypes.CDLL(str(file))
        self._find, self._number = library.contenders, library.numbers
        self._find.restype = ctypes.c_int64
        self._find.argtypes = (
            *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_double, ctypes.c_double),
            *(ctypes.c_uint64, ctypes.c_double, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64),
        )
        self._number.restype = None
        self._number.argtypes = (ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
        self._found, self._scores = np.empty(ROOM, np.int64), np.empty(ROOM)
        self._room = self._found.ctypes.data, self._scores.ctypes.data, ROOM

    def find(
        self, rough: Floats, key: int, temperature: float, apart: float, rare: int, high: float
    ) -> Integers | None:
        """All tokens whose score may be the largest or lies at most `apart` below it; None: not known.

        Args: rough, the logits [vocab]; temperature, in units of one; rare and high, as in gumbel.py.
        """
        if rough.dtype != np.float32 or not rough.flags.c_contiguous or not math.isfinite(apart):
            return None
        count = self._find(rough.ctypes.data, len(rough), key, temperature, apart, rare, high, *self._room)
        return None if count < 0 else self._found[:count].copy()

    def numbers(self, key: int, ids: Integers) -> Doubles:
        """The Gumbel numbers of some tokens."""
        asked, found = np.ascontiguousarray(ids, np.int64), np.empty(len(ids))
        self._number(key, asked.ctypes.data, len(asked), found.ctypes.data)
        return found


@cache
def finder(file: Path = FILE) -> ContenderFinder | None:
    """The code of this image, if it has it."""
    return ContenderFinder(file) if file.is_file() else None
