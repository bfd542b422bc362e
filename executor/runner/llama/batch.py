"""Answers that llama.cpp writes side by side. Each joins and leaves at any token; prompts are read in pieces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..engine import AnswerSize, Written
from ..fingerprint import Floats
from ..gumbel import Chooser
from .last_matrix import LastMatrix
from .net import LlamaNet

WRITERS = 16
"""Answers that are written at once, at most."""


@dataclass(slots=True)
class Writer:
    """One answer. `read`: tokens of the prompt whose keys and values are kept; `last`: the token to go on from, at
    first the last one of the prompt."""

    number: int
    sequence: int
    prompt: list[int]
    length: int
    chooser: Chooser
    last: int
    read: int = 0
    written: int = 0

    @property
    def is_read(self) -> bool:
        """Whether all of the prompt is read but its last token, which goes through with those that are written."""
        return self.read >= len(self.prompt) - 1


class Piece(NamedTuple):
    """Tokens of prompts that go through in one pass, with their places and sequences."""

    ids: list[int]
    places: list[int]
    sequences: list[int]


class LlamaBatch:
    """See AnswerBatch. `stop_ids` end an answer, as its length does."""

    def __init__(self, net: LlamaNet, last_matrix: LastMatrix, stop_ids: Sequence[int], pass_tokens: int) -> None:
        """Args: pass_tokens, the most that one pass takes."""
        self._net, self._last_matrix, self._stop_ids = net, last_matrix, stop_ids
        self._pass_tokens = pass_tokens
        self.read_on = 0
        self._free = list(range(WRITERS))
        self._writers: dict[int, Writer] = {}

    @property
    def is_reading(self) -> bool:
        """Whether a prompt waits to be read on."""
        return any(not writer.is_read for writer in self._writers.values())

    @property
    def is_writing(self) -> bool:
        """Whether an answer waits for its next token."""
        return any(writer.is_read for writer in self._writers.values())

    def join(self, number: int, prompt: list[int], max_new_tokens: int, chooser: Chooser) -> None:
        """Begin one more answer; `has_room` was asked before."""
        self._writers[number] = Writer(number, self._free.pop(), prompt, max_new_tokens, chooser, prompt[-1])

    def leave(self, number: int) -> None:
        """Drop an answer; does nothing if it has ended."""
        writer = self._writers.pop(number, None)
        if writer is not None:
            self._net.forget(writer.sequence)
            self._free.append(writer.sequence)

    def read(self, tokens: int) -> int:
        """See AnswerBatch. Raises LlamaUnusable."""
        piece = self._piece(min(tokens, self._pass_tokens))
        if piece.ids:
            self._net.read(piece.ids, piece.places, piece.sequences)
        return len(piece.ids)

    def choose(self, tokens: int = 0) -> list[Written]:
        """See AnswerBatch: all in one pass, for llama.cpp takes rows of any texts. Raises LlamaUnusable."""
        writing = [writer for writer in self._writers.values() if writer.is_read]
        self.read_on = 0
        if not writing:
            return []
        piece = self._piece(min(tokens, self._pass_tokens - len(writing)))
        self.read_on = len(piece.ids)
        logits, states = self._net.run(
            piece.ids + [writer.last for writer in writing],
            piece.places + [len(writer.prompt) - 1 + writer.written for writer in writing],
            piece.sequences + [writer.sequence for writer in writing],
            wanted=len(writing),
        )
        return [self._chosen(*each) for each in zip(writing, logits, states.copy(), strict=True)]

    def _piece(self, most: int) -> Piece:
        """The next tokens of the prompts, in their order, all but the last token of each: at most so many."""
        piece = Piece([], [], [])
        for writer in self._writers.values():
            end = min(len(writer.prompt) - 1, writer.read + most - len(piece.ids))
            if end > writer.read:
                piece.ids.extend(writer.prompt[writer.read : end])
                piece.places.extend(range(writer.read, end))
                piece.sequences.extend([writer.sequence] * (end - writer.read))
                writer.read = end
        return piece

    def _chosen(self, writer: Writer, rough: Floats, state: Floats) -> Written:
        writer.last = writer.chooser.choose(self._last_matrix.logits(rough, state), writer.written)
        writer.written += 1
        return Written(writer.number, writer.last, state)

    def advance(self) -> None:
        """Drop the answers that have ended."""
        for writer in [*self._writers.values()]:
            if writer.written and (writer.last in self._stop_ids or writer.written == writer.length):
                self.leave(writer.number)


def cells_of(sizes: Sequence[AnswerSize]) -> int:
    """Tokens whose keys and values these answers may need."""
    return sum(size.prompt + size.answer for size in sizes)
