"""A model of the store, loaded into llama.cpp: one pass over tokens of several texts at once.

llama.cpp reads its file through a stream of the C library whose bytes are made on the fly, so that no second copy of
the weights lies on a disk or in memory.
"""

import ctypes
from collections.abc import Sequence
from ctypes import CDLL, CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_ssize_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from ..fingerprint import Floats
from . import library
from .gguf_view import GgufView
from .library import LlamaUnusable
from .states import StateTaker

ReadBytes = CFUNCTYPE(c_ssize_t, c_void_p, c_void_p, c_size_t)
Seek = CFUNCTYPE(c_int, c_void_p, POINTER(c_int64), c_int)
SEEK_SET, SEEK_CUR, SEEK_END = range(3)
ONE_BY_ONE = 0
"""How llama.cpp loads: copied, and not mapped. Of llama_load_mode."""


class CookieFunctions(Structure):
    """cookie_io_functions_t of the C library: read, write, seek, close."""

    _fields_ = (("read", ReadBytes), ("write", c_void_p), ("seek", Seek), ("close", c_void_p))


class ModelStream:
    """A stream of the C library that reads what a `GgufView` makes."""

    def __init__(self, view: GgufView) -> None:
        self._view = view
        self._at = 0
        self.error: Exception | None = None
        self._c = CDLL(None, use_errno=True)
        self._c.fopencookie.restype = c_void_p
        self._c.fopencookie.argtypes = (c_void_p, c_char_p, CookieFunctions)
        self._c.fclose.argtypes = (c_void_p,)
        # Kept, because C keeps nothing alive.
        self._functions = CookieFunctions(ReadBytes(self._read), None, Seek(self._seek), None)

    def __enter__(self) -> int:
        self._file = self._c.fopencookie(None, b"rb", self._functions)
        return int(self._file)

    def __exit__(self, *_: object) -> None:
        self._c.fclose(self._file)

    def _read(self, _cookie: int, buffer: int, size: int) -> int:
        try:
            if self._at >= self._view.size:
                return 0
            piece = self._view.read(self._at, size)
        except Exception as error:  # it must not pass through C
            self.error = error
            return -1
        ctypes.memmove(buffer, piece.ctypes.data, len(piece))
        self._at += len(piece)
        return len(piece)

    def _seek(self, _cookie: int, offset: Any, whence: int) -> int:
        start = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._view.size}[whence]
        self._at = offset[0] = start + offset[0]
        return 0


class LlamaNet:
    """A model's weights. From `open` on, keys and values of some texts beside them."""

    def __init__(self, view: GgufView, folder: Path = library.FOLDER) -> None:
        """Args: folder, where llama.cpp is. Raises LlamaUnusable."""
        self._llama = library.library(folder)
        self.vocab, self.hidden = view.last_matrix.shape
        self.kept_bytes = view.kept_bytes
        self._model = self._load(view)

    def open(self, *, sequences: int, cells: int, at_once: int, outputs: int, threads: int) -> None:
        """Make room for `sequences` texts, of `cells` tokens together.

        Args: at_once, tokens of a pass; outputs, those of them whose logits it makes. Raises LlamaUnusable.
        """
        self._taker = StateTaker(outputs, self.hidden)
        params = self._llama.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = cells, sequences, True
        params.n_batch = params.n_ubatch = at_once
        params.n_outputs_max = params.n_outputs_max_per_seq = outputs
        params.n_threads = params.n_threads_batch = threads
        params.pooling_type = library.NO_POOLING
        params.flash_attn_type = library.FLASH
        params.cb_eval, params.cb_eval_user_data = self._taker.callback, self._taker.data
        # For these llama.cpp's attention has a kernel that takes many tokens at once: with bfloat16, a prompt of 2,000
        # tokens took twice as long.
        params.type_k = params.type_v = library.FLOAT16
        self._context = self._llama.llama_init_from_model(self._model, params)
        if not self._context:
            raise LlamaUnusable(f"llama.cpp refuses a context of {cells} tokens: {library.last_words()}")
        self._memory = self._llama.llama_get_memory(self._context)
        self._tokens, self._places, self._sequences = (np.zeros(at_once, np.int32) for _ in range(3))
        self._wanted, self._ones = np.zeros(at_once, np.int8), np.ones(at_once, np.int32)
        # Each token belongs to one sequence, whose number is pointed at.
        self._pointers = self._sequences.ctypes.data + 4 * np.arange(at_once, dtype=np.uint64)
        arrays = (self._places, self._ones, self._pointers, self._wanted)
        self._batch = library.TokenBatch(0, self._tokens.ctypes.data, None, *(each.ctypes.data for each in arrays))

    def _load(self, view: GgufView) -> int:
        params = self._llama.llama_model_default_params()
        params.load_mode = ONE_BY_ONE
        # Blocks of a stranger may stand for no numbers.
        params.check_tensors = view.is_strange
        stream = ModelStream(view)
        with stream as file:
            model = self._llama.llama_model_load_from_file_ptr(file, params)
        if not model:
            raise LlamaUnusable(f"llama.cpp refuses the model: {stream.error or library.last_words()}")
        return int(model)

    def read(self, tokens: Sequence[int], places: Sequence[int], sequences: Sequence[int]) -> None:
        """One pass over tokens, in order within each sequence; their keys and values are kept. Raises LlamaUnusable."""
        self._pass(tokens, places, sequences, wanted=0)

    def run(
        self, tokens: Sequence[int], places: Sequence[int], sequences: Sequence[int], wanted: int
    ) -> tuple[Floats, Floats]:
        """The same, with the logits [wanted, vocab] and the states after the final norm [wanted, hidden] of the last
        `wanted` tokens.

        Both are in memory that the next pass writes again. Raises LlamaUnusable.
        """
        self._pass(tokens, places, sequences, wanted)
        return _floats(self._llama.llama_get_logits(self._context), wanted, self.vocab), self._taker.taken(wanted)

    def _pass(self, tokens: Sequence[int], places: Sequence[int], sequences: Sequence[int], wanted: int) -> None:
        size = self._batch.n_tokens = len(tokens)
        self._tokens[:size], self._places[:size], self._sequences[:size] = tokens, places, sequences
        self._wanted[: size - wanted], self._wanted[size - wanted : size] = False, True
        self._taker.clear()
        code = self._llama.llama_decode(self._context, self._batch)
        if code:
            raise LlamaUnusable(f"llama.cpp failed with {code} at a pass over {size} tokens: {library.last_words()}")

    def forget(self, sequence: int) -> None:
        """Give back the keys and values of a sequence."""
        self._llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)


def _floats(address: int, rows: int, columns: int) -> Floats:
    return np.frombuffer((ctypes.c_float * (rows * columns)).from_address(address), np.float32).reshape(rows, columns)
