"""What a container asks of an engine: a loaded model that answers, or checks what another engine has answered.

Two engines keep to it: torch (`model.py`), which does every kind of job, and llama.cpp (`llama/`), which writes answers
and checks them. tests/integration/inside_engines.py holds both to the same.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from .fingerprint import Doubles, Floats
from .gumbel import NEAR, Chooser
from .logits import Logits
from .prompts import PromptReader

TORCH, LLAMA = "torch", "llama.cpp"


class Unfit(Exception):
    """This engine cannot run the model, or not in this number format; another one may."""


class Written(NamedTuple):
    """A token of the answer with this number, and the state that chose it. A stop token is told, too."""

    number: int
    token: int
    state: Floats


class AnswerSize(NamedTuple):
    """Tokens of an answer's prompt, and those that it may get."""

    prompt: int
    answer: int


class AnswerBatch(Protocol):
    """Answers side by side. Each joins and leaves at any token; prompts are read in pieces.

    `read_on`: tokens of prompts that the last `choose` has read.
    """

    read_on: int

    @property
    def is_reading(self) -> bool:
        """Whether a prompt waits to be read on."""

    @property
    def is_writing(self) -> bool:
        """Whether an answer waits for its next token."""

    def join(self, number: int, prompt: list[int], max_new_tokens: int, chooser: Chooser) -> None:
        """Begin one more answer."""

    def leave(self, number: int) -> None:
        """Drop an answer; does nothing if it has ended."""

    def read(self, tokens: int) -> int:
        """Read on in the prompts, at most so many tokens. Returns: how many it were."""

    def choose(self, tokens: int = 0) -> list[Written]:
        """The next token of each answer, and at most so many tokens of the prompts read beside; `advance` comes next.

        Without an answer to go on with, nothing is read.
        """

    def advance(self) -> None:
        """Go on with the answers that neither a stop token nor their length has ended."""


class AnswerEngine(Protocol):
    """A loaded model. `manifest_sha256` is its content id; `build` names program and release, for what is signed."""

    build: str
    manifest_sha256: bytes
    eos_ids: tuple[int, ...]
    hidden: int
    vocab: int
    loaded_bytes: int
    prompts: PromptReader
    piece_tokens: int
    """How many tokens of a finished text are read at once; 0: all of them."""

    def require_memory(self, tokens: int, memory_bytes: int) -> None:
        """Whether a prompt can be read in the memory that its client has given to the job. Raises BadInput."""

    def has_room(self, sizes: Sequence[AnswerSize], memory_bytes: int) -> bool:
        """Whether these answers can be written side by side."""

    def batch(self, tokens: int = 0) -> AnswerBatch:
        """Answers side by side, none yet, which need so many tokens; 0: as many as the memory allows."""

    def tracing(self, prompt: list[int], output: list[int], chooser: Chooser) -> "Generator[None, None, Trace]":
        """One pass over a finished text. Yields after each piece of it."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One pass over a finished text, in logit units, by place: how far each token lay behind the best other one (less
    than zero: before it, as far as `NEAR`), the best stop token behind the best one (one place more, that after the
    text), and a stop token before the token."""

    states: Floats
    margins: Doubles
    stop_margins: Doubles
    stop_leads: Doubles

    def of_first(self, tokens: int, stopped: bool) -> Doubles:
        """The tokens + 1 margins of check.bin, had the answer been that short: the last one is that of its end."""
        end = self.stop_margins[tokens] if stopped else max([0.0, *self.stop_leads[:tokens]])
        return np.append(self.margins[:tokens], end)


class Tracer:
    """Gathers the margins of a finished text, place by place."""

    def __init__(self, output: Sequence[int], eos_ids: Sequence[int], chooser: Chooser) -> None:
        self._output, self._eos_ids, self._chooser = output, eos_ids, chooser
        self._margins: list[float] = []
        self._stop_margins: list[float] = []
        self._stop_leads: list[float] = []

    @property
    def place(self) -> int:
        """The place of which the logits are wanted next."""
        return len(self._stop_margins)

    def add(self, logits: Logits) -> None:
        """The logits of the next place."""
        place = self.place
        chosen = self._output[place] if place < len(self._output) else None
        seen = self._chooser.standing(logits, place, self._eos_ids, chosen)
        self._stop_margins.append(seen.stop_margin)
        if chosen is not None:
            self._margins.append(max(seen.margin, -NEAR))
            self._stop_leads.append(seen.stop_lead)

    def trace(self, states: Floats) -> Trace:
        """What was gathered, with the states of the answer's tokens [n, hidden]."""
        return Trace(states, *(np.array(each) for each in (self._margins, self._stop_margins, self._stop_leads)))
