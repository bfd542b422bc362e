"""llama.cpp as the engine of a container: one model in bfloat16, or a GGUF file as it is, on a processor."""

import hashlib
import json
import os
import resource
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..device import CPU
from ..engine import LLAMA, AnswerSize, Trace, Tracer, Unfit
from ..gumbel import Chooser
from ..job import BadInput
from ..prompts import PromptReader, load_tokenizer, require_room, torch_unseen
from . import library
from .batch import WRITERS, LlamaBatch, cells_of
from .gguf_view import GgufView
from .last_matrix import LastMatrix
from .library import LlamaUnusable
from .net import LlamaNet

DTYPES = ("bf16", "q8_0")
PASS_TOKENS, OUTPUT_TOKENS = 256, 64
"""Tokens of one pass, and those whose logits it may make."""
TRACED = WRITERS
"""The sequence of a text that is checked."""
CELLS = 16_384
"""Tokens that are kept of all answers together, at most, unless the model's context is longer."""
SPARE = 8
"""One of so many parts of the memory is left for what a pass needs."""


class LlamaEngine:
    """See AnswerEngine. Keys and values get their room with the first batch or check."""

    build = f"{LLAMA} {library.VERSION.decode()}"
    piece_tokens = 0

    def __init__(
        self, net: LlamaNet, last_matrix: LastMatrix, prompts: PromptReader, manifest: dict[str, Any], sha256: bytes
    ) -> None:
        self._net, self._last_matrix, self.prompts = net, last_matrix, prompts
        self.manifest_sha256 = sha256
        self.eos_ids = tuple(int(i) for i in manifest["eos_ids"])
        self.hidden, self.vocab = int(manifest["hidden"]), int(manifest["vocab"])
        # What the model takes by itself, before anybody's prompt.
        self.loaded_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self._cells = 0

    def require_memory(self, tokens: int, memory_bytes: int) -> None:
        """Whether a prompt can be read in the memory that its client has given to the job. Raises BadInput."""
        require_room(tokens, self.loaded_bytes + tokens * self._net.kept_bytes, memory_bytes)

    def has_room(self, sizes: Sequence[AnswerSize], memory_bytes: int) -> bool:
        """Whether these answers can be written side by side."""
        return len(sizes) <= WRITERS and cells_of(sizes) <= self._most_cells(memory_bytes)

    def _most_cells(self, memory_bytes: int) -> int:
        left_bytes = memory_bytes - memory_bytes // SPARE - self.loaded_bytes
        return max(0, min(max(CELLS, self.prompts.context), left_bytes // self._net.kept_bytes))

    def batch(self, tokens: int = 0) -> LlamaBatch:
        """Answers side by side, none yet. Args: tokens, of all of them; 0: as many as the memory allows."""
        self._open(tokens or self._most_cells(int(os.environ["MAX_MEMORY"])))
        return LlamaBatch(self._net, self._last_matrix, self.eos_ids, PASS_TOKENS)

    def _open(self, cells: int) -> None:
        if not self._cells:
            self._cells = cells
            self._net.open(
                sequences=WRITERS + 1,
                cells=cells,
                at_once=PASS_TOKENS,
                outputs=OUTPUT_TOKENS,
                threads=int(os.environ.get("OMP_NUM_THREADS", "1")),
            )

    def tracing(self, prompt: list[int], output: list[int], chooser: Chooser) -> Generator[None, None, Trace]:
        """See AnswerEngine. Raises LlamaUnusable where there is no room for the text."""
        self._open(len(prompt) + len(output))
        text, first = prompt + output, len(prompt) - 1
        tracer = Tracer(output, self.eos_ids, chooser)
        states = np.empty((len(output) + 1, self.hidden), np.float32)
        try:
            at = 0
            while at < len(text):
                is_answer = at >= first
                most = min(self.piece_tokens or PASS_TOKENS, OUTPUT_TOKENS if is_answer else PASS_TOKENS)
                end = min(at + most, len(text) if is_answer else first)
                passed = text[at:end], range(at, end), [TRACED] * (end - at)
                if is_answer:
                    logits, found = self._net.run(*passed, wanted=end - at)
                    states[at - first : end - first] = found
                    for rough, state in zip(logits, states[at - first : end - first], strict=True):
                        tracer.add(self._last_matrix.logits(rough, state))
                else:
                    self._net.read(*passed)
                at = end
                yield
        finally:
            self._net.forget(TRACED)
        return tracer.trace(states[:-1])


def load(path: Path, dtype: str, device: str = CPU, folder: Path = library.FOLDER) -> LlamaEngine:
    """Load a model of the store. Raises BadInput, and Unfit if llama.cpp cannot run it so.

    Args: folder, where llama.cpp is.
    """
    if device != CPU:
        raise Unfit(f"llama.cpp computes here on {CPU}, and not on {device}")
    if dtype not in DTYPES:
        raise Unfit(f"llama.cpp computes here in {', '.join(DTYPES)}, and not in {dtype}")
    try:
        view = GgufView(path)
        if view.dtype != dtype:
            raise BadInput("bad_model", f"the model is stored in {view.dtype}, and not in {dtype}")
        net = LlamaNet(view, folder)
    except (BadInput, LlamaUnusable, OSError) as error:
        raise Unfit(str(error)) from error
    try:
        data = (path / "manifest.json").read_bytes()
        manifest = json.loads(data)
        with torch_unseen():
            prompts = PromptReader(load_tokenizer(path), int(manifest["context"]))
        return LlamaEngine(
            net, LastMatrix(view.last_matrix, view.cap), prompts, manifest, hashlib.sha256(data).digest()
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput("bad_model", f"the model cannot be loaded: {error}") from error
