"""The states after the final norm, of those tokens of a pass whose logits are wanted.

llama.cpp gives out states as embeddings only, and then makes the logits of every token of the pass. Compiled code of
ours looks on while it computes instead: build/states.c.
"""

import ctypes
from ctypes import Structure, c_bool, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..fingerprint import Floats
from .library import LlamaUnusable

FILE = Path("/opt/vcoin/compiled/libstates.so")


class _StateRoom(Structure):
    """`struct taken` of build/states.c."""

    _fields_ = (("rows", c_void_p), ("room", c_size_t), ("filled", c_size_t))


class StateTaker:
    """Room for the states of a pass. `callback` and `data` belong into the parameters of a context."""

    def __init__(self, rows: int, hidden: int) -> None:
        """Raises LlamaUnusable if the image has no such code."""
        self._states = np.empty((rows, hidden), np.float32)
        self._taken = _StateRoom(self._states.ctypes.data, self._states.nbytes, 0)
        self.callback, self.data = _function(), ctypes.addressof(self._taken)

    def clear(self) -> None:
        """Before each pass."""
        self._taken.filled = 0

    def taken(self, rows: int) -> Floats:
        """The states of the last pass, which last until the next. Raises LlamaUnusable if they are not so many."""
        size = rows * self._states.strides[0]
        if self._taken.filled != size:
            raise LlamaUnusable(f"llama.cpp shows {self._taken.filled} bytes of states, and {size} are wanted")
        return self._states[:rows]


@cache
def _function() -> Any:
    try:
        function = ctypes.CDLL(str(FILE)).take_states
    except (OSError, AttributeError) as error:
        raise LlamaUnusable(f"the states of llama.cpp cannot be taken: {error}") from error
    function.restype, function.argtypes = c_bool, (c_void_p, c_bool, c_void_p)
    return ctypes.cast(function, c_void_p).value
