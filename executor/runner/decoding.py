"""Answers while a worker writes them, alone or side by side with others."""

from dataclasses import dataclass, field

import numpy as np

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
