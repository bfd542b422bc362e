"""The logits at one place of a text, in the form in which tokens are chosen: roughly of all, exactly of some.

A last matrix in half precision gives logits that are off by what that format rounds. So a chooser looks at all of them
roughly, and asks for those that matter once more, in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .fingerprint import Doubles, Floats, Integers


@dataclass(frozen=True, slots=True)
class Logits:
    """What a model says at one place. `rough`: float32 [vocab]; the largest logits lie no further than `off` from their
    rough ones; `exactly` gives those of some ids."""

    rough: Floats
    off: float
    exactly: Callable[[Integers], Doubles]


def as_they_are(logits: Floats) -> Logits:
    """Logits [vocab] that are not rough, float32."""
    return Logits(logits, 0.0, lambda ids: logits[ids].astype(np.float64))
