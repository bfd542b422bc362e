"""Answers while a worker writes them, alone or side by side with others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

from .fingerprint import Floats


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker has generated: `states` are those that chose its tokens, float32 [n, hidden]."""

    ids: list[int]
    states: Floats
    stopped: bool


@dataclass(slots=True)
class Growing:
    """An answer while it is written."""

    ids: list[int] = field(default_factory=list)
    states: list[Floats] = field(default_factory=list)
    stopped: bool = False

    def add(self, token: int, state: Floats, *, is_stop: bool) -> None:
        """A stop token ends it, and is no part of it."""
        if is_stop:
            self.stopped = True
            return
        self.ids.append(token)
        self.states.append(state)

    def answer(self, hidden: int) -> Answer:
        """What was written; `hidden` is the size of a state, also of an answer without tokens."""
        return Answer(self.ids, np.array(self.states, np.float32).reshape(len(self.ids), hidden), self.stopped)


def side_by_side(caches: Sequence[Any], joined: Any) -> Any:
    """Keys and values of several texts as those of one batch, filled up on the left with zeros."""
    width = max(each.get_seq_length() for each in caches)
    for place in range(len(caches[0].layers)):
        layers = [each.layers[place] for each in caches]
        keys, values = (
            torch.cat([pad(part, (0, 0, width - part.shape[2], 0)) for part in parts])
            for parts in ([layer.keys for layer in layers], [layer.values for layer in layers])
        )
        joined.update(keys, values, place)
    return joined
