"""llama.cpp as the engine of a container: answers that jobs join and leave while others are written.

A pass takes one token of each text that is written and a piece of the prompts that are still read, so that a long
prompt holds up the others no longer than such a piece takes. Tokens are chosen by gumbel.py, as everywhere.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import libllama
from .fingerprint import Doubles, Floats
from .gguf_view import GgufView
from .gumbel import Chooser
from .job import BadInput
from .last_matrix import LastMatrix
from .llama_net import LlamaNet

PIECE_TOKENS = 256
"""Tokens of prompts that one pass reads beside the texts that are written."""
READ_TEXTS, READ_TOKENS = 8, 64
"""Texts that are read side by side, and their tokens in one pass: llama.cpp makes the logits of each of them, too."""


class NoRoom(Exception):
    """There are no keys and values left for one more text."""


@dataclass(slots=True)
class Writer:
    """One text that is written. `read`: tokens of the prompt whose keys and values are kept; `last`: the token to go on
    from, at first the last one of the prompt."""

    number: int
    sequence: int
    prompt: list[int]
    length: int
    chooser: Chooser
    last: int
    read: int = 0
    written: int = 0

    @property
    def cells(self) -> int:
        """Tokens whose keys and values it may need."""
        return len(self.prompt) + self.length


class LlamaEngine:
    """One loaded model. `manifest_sha256` is its content id."""

    def __init__(
        self,
        net: LlamaNet,
        last_matrix: LastMatrix,
        manifest: dict[str, Any],
        manifest_sha256: bytes,
        *,
        writers: int,
        cells: int,
    ) -> None:
        """Args: writers, texts that are written at once; cells, tokens of all of them that the net can keep."""
        self._net, self._last_matrix = net, last_matrix
        self.manifest_sha256 = manifest_sha256
        self.eos_ids = tuple(int(i) for i in manifest["eos_ids"])
        self.hidden, self.vocab, self.context = (int(manifest[key]) for key in ("hidden", "vocab", "context"))
        self._free_cells = cells
        self._free = list(range(writers))
        self._read_sequences = range(writers, writers + READ_TEXTS)
        self._writers: dict[int, Writer] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no text is being written."""
        return not self._writers

    def kept_bytes(self, tokens: int) -> int:
        """Memory of the keys and values of a text of so many tokens."""
        return tokens * self._net.kept_bytes

    def join(self, number: int, prompt: list[int], max_new_tokens: int, chooser: Chooser) -> None:
        """Begin an answer under this number. Raises NoRoom, and ValueError for what no engine could do."""
        if number in self._writers:
            raise ValueError(f"number {number} is being written")
        if not prompt or max_new_tokens < 1 or len(prompt) + max_new_tokens > self.context:
            raise ValueError(f"{len(prompt)} and {max_new_tokens} tokens do not fit a context of {self.context}")
        if not self._free or len(prompt) + max_new_tokens > self._free_cells:
            raise NoRoom(f"{len(prompt) + max_new_tokens} tokens are wanted, and {self._free_cells} are free")
        writer = Writer(number, self._free.pop(), prompt, max_new_tokens, chooser, prompt[-1])
        self._writers[number] = writer
        self._free_cells -= writer.cells

    def leave(self, number: int) -> None:
        """End an answer, whether or not it is whole."""
        writer = self._writers.pop(number)
        self._net.forget(writer.sequence)
        self._free.append(writer.sequence)
        self._free_cells += writer.cells

    def step(self) -> list[tuple[int, int, Floats]]:
        """One pass over all texts: number, token and the state that chose it, of each that has got a token.

        A stop token is told, too, and ends its answer, as its length does. Raises LlamaUnusable.
        """
        self._read_pieces()
        writing = [writer for writer in self._writers.values() if writer.read >= len(writer.prompt) - 1]
        if not writing:
            return []
        logits, states = self._net.run(
            [writer.last for writer in writing],
            [len(writer.prompt) - 1 + writer.written for writer in writing],
            [writer.sequence for writer in writing],
        )
        return [self._chosen(*each) for each in zip(writing, logits, states.copy(), strict=True)]

    def _read_pieces(self) -> None:
        """A pass over the next tokens of prompts, all but the last one of each: that one is taken as those written."""
        tokens: list[int] = []
        places: list[int] = []
        sequences: list[int] = []
        for writer in self._writers.values():
            end = min(len(writer.prompt) - 1, writer.read + PIECE_TOKENS - len(tokens))
            if end > writer.read:
                tokens += writer.prompt[writer.read : end]
                places += range(writer.read, end)
                sequences += [writer.sequence] * (end - writer.read)
                writer.read = end
        if tokens:
            self._net.read(tokens, places, sequences)

    def _chosen(self, writer: Writer, rough: Floats, state: Floats) -> tuple[int, int, Floats]:
        token = writer.chooser.choose(self._last_matrix.logits(rough, state), writer.written)
        writer.written += 1
        writer.last = token
        if token in self.eos_ids or writer.written == writer.length:
            self.leave(writer.number)
        return writer.number, token, state

    def read(self, prompts: Sequence[list[int]]) -> tuple[Floats, Floats]:
        """Read texts without writing anything: the mean of each one's states, and its last one, [n, hidden] each.

        Raises NoRoom if the texts that are written leave none for one of these.
        """
        sums = np.zeros((len(prompts), self.hidden), np.float64)
        lasts = np.zeros((len(prompts), self.hidden), np.float32)
        for passed in self._passes(prompts):
            tokens = [token for text, start, end, _ in passed for token in prompts[text][start:end]]
            places = [place for _, start, end, _ in passed for place in range(start, end)]
            sequences = [sequence for _, start, end, sequence in passed for _ in range(start, end)]
            _, states = self._net.run(tokens, places, sequences)
            row = 0
            for text, start, end, sequence in passed:
                own = states[row : row + end - start]
                sums[text] += own.sum(axis=0, dtype=np.float64)
                lasts[text] = own[-1]
                row += end - start
                if end == len(prompts[text]):
                    self._net.forget(sequence)
        return (sums / [[len(prompt)] for prompt in prompts]).astype(np.float32), lasts

    def _passes(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, int, int, int]]]:
        """What each pass reads: text, first token, the one behind the last, and sequence."""
        waiting = list(range(len(prompts)))[::-1]
        free = list(self._read_sequences)
        reading: dict[int, tuple[int, int]] = {}
        while waiting or reading:
            held = sum(len(prompts[text]) for text in reading)
            while waiting and free and held + len(prompts[waiting[-1]]) <= self._free_cells:
                held += len(prompts[waiting[-1]])
                reading[waiting.pop()] = (free.pop(), 0)
            if not reading:
                raise NoRoom(f"a text has {len(prompts[waiting[-1]])} tokens, and {self._free_cells} are free")
            passed, left = [], READ_TOKENS
            for text, (sequence, start) in list(reading.items()):
                end = min(len(prompts[text]), start + left)
                if end > start:
                    passed.append((text, start, end, sequence))
                    left -= end - start
                    reading[text] = (sequence, end)
                    if end == len(prompts[text]):
                        del reading[text]
                        free.append(sequence)
            yield passed

    def logits_of(self, states: Floats, tokens: list[int]) -> Doubles:
        """The logits of some tokens, of states as `read` gives them [n, hidden]."""
        return self._last_matrix.exactly(states, np.array(tokens, np.int64))

    def close(self) -> None:
        """Give all memory back."""
        self._net.close()


def load(path: Path, *, writers: int, cells: int, threads: int, folder: Path = libllama.FOLDER) -> LlamaEngine:
    """Load a model of the store. Raises BadInput, LlamaUnusable.

    Args: writers, texts that are written at once; cells, tokens of all of them; folder, where llama.cpp is.
    """
    try:
        data = (path / "manifest.json").read_bytes()
        view = GgufView(path)
        net = LlamaNet(
            view,
            sequences=writers + READ_TEXTS,
            cells=cells,
            at_once=PIECE_TOKENS,
            outputs=max(writers, READ_TOKENS),
            threads=threads,
            folder=folder,
        )
        manifest, sha256 = json.loads(data), hashlib.sha256(data).digest()
        return LlamaEngine(net, LastMatrix(view.last_matrix), manifest, sha256, writers=writers, cells=cells)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput("bad_model", f"the model cannot be loaded: {error}") from error
