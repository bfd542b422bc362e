"""Answers while a worker writes them, alone or side by side with others."""

from dataclasses import dataclass, field

import numpy as np

from .fingerprint import Floats
from .job import STOP_ORDER
from .stops import StopSearch


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker has generated: `states` are those that chose its tokens, float32 [n, hidden].

    stopped: by a stop token; cut: by a stop string, which its last token has brought; ordered: by its client's order.
    """

    ids: list[int]
    states: Floats
    stopped: bool
    cut: bool = False
    ordered: bool = False

    @property
    def finish(self) -> str:
        """Why it ended, as result.json says it."""
        if self.ordered:
            return STOP_ORDER
        if self.cut:
            return "stop"
        return "eos" if self.stopped else "length"


@dataclass(slots=True)
class Growing:
    """An answer while it is written. `search`: for its stop strings, where it has any. `ordered`: see Answer."""

    ids: list[int] = field(default_factory=list)
    states: list[Floats] = field(default_factory=list)
    stopped: bool = False
    search: StopSearch | None = None
    cut: bool = False
    ordered: bool = False

    def add(self, token: int, state: Floats, *, is_stop: bool) -> None:
        """A stop token ends it, and is no part of it. A stop string ends it, too: see `cut`."""
        if is_stop:
            self.stopped = True
            return
        self.ids.append(token)
        self.states.append(state)
        if self.search is not None:
            self.cut = self.search.push(token)

    def answer(self, hidden: int) -> Answer:
        """What was written; `hidden` is the size of a state, also of an answer without tokens."""
        states = np.array(self.states, np.float32).reshape(len(self.ids), hidden)
        return Answer(self.ids, states, self.stopped, self.cut, self.ordered)
