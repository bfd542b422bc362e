"""The answers of this node's jobs as text: what was streamed so far, and the whole once its result is here."""

import json
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import trio

from node.daemon.readings import lines_of, tokens_to_read
from node.daemon.text import (
    StopGuard,
    TextStream,
    Tokenizer,
    before_stop,
    load_tokenizer,
    prompt_tokens,
    text_of,
    written_tokens,
)
from p2p.store import ContentStore
from protocol.errors import AdapterError
from protocol.stages.blob import ModelManifest
from protocol.wire.ids import Cid

STREAMS_KEPT = 256
LOADED_KEPT = 4
MAX_AHEAD = 512
"""Frames that may wait for one before them; a node that leaves a gap so wide is shown only with its result."""


class _Answer:
    """One attempt's text. Frames travel on streams of their own, so a later one may come first."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self._stream = TextStream(tokenizer)
        self._guard = StopGuard(stops)
        self._next = 0
        self._ahead: dict[int, tuple[int, ...]] = {}
        self.text = ""

    def add(self, seq: int, ids: tuple[int, ...]) -> str:
        if seq < self._next or len(self._ahead) >= MAX_AHEAD:
            return ""
        self._ahead[seq] = ids
        new = ""
        while self._next in self._ahead:
            new += self._guard.push(self._stream.push(self._ahead.pop(self._next)))
            self._next += 1
        self.text += new
        return new


class Answers:
    """Texts by job id. `results` is the folder of opened results."""

    def __init__(self, store: ContentStore, results: Path) -> None:
        self._store = store
        self._results = results
        self._tokenizers: OrderedDict[Cid, Tokenizer] = OrderedDict()
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()

    async def tokenizer(self, manifest: ModelManifest) -> Tokenizer:
        """The tokenizer of a model that is in the store or described there. Raises: AdapterError if it is not there."""
        loaded = self._tokenizers.get(manifest.cid)
        if loaded is None:
            path = self._store.folder(manifest.cid) / manifest.tokenizer
            loaded = self._tokenizers[manifest.cid] = await trio.to_thread.run_sync(load_tokenizer, path)
            while len(self._tokenizers) > LOADED_KEPT:
                self._tokenizers.popitem(last=False)
        return loaded

    async def count_reading(self, manifest: ModelManifest, texts: Sequence[str], labels: Sequence[str]) -> list[int]:
        """How many tokens each text has at most that a model is to read. Raises: AdapterError."""
        tokenizer = await self.tokenizer(manifest)
        return await trio.to_thread.run_sync(tokens_to_read, tokenizer, texts, labels)

    async def count_tokens(self, manifest: ModelManifest, texts: Sequence[str]) -> int:
        """How many tokens these texts have together. Raises: AdapterError."""
        return await trio.to_thread.run_sync(written_tokens, await self.tokenizer(manifest), texts)

    async def count_prompt(self, manifest: ModelManifest, contents: list[str]) -> int:
        """How many tokens a chat of these messages has at most. Raises: AdapterError."""
        return prompt_tokens(await self.tokenizer(manifest), contents)

    async def add_frame(
        self, manifest: ModelManifest, job_id: bytes, seq: int, ids: tuple[int, ...], stops: Sequence[str] = ()
    ) -> str:
        """A frame of an attempt has come; returns the text that is new and certain. Raises: AdapterError.

        Args: stops, texts that end the answer before they are told.
        """
        answer = self._answers.get(job_id)
        if answer is None:
            answer = self._answers[job_id] = _Answer(await self.tokenizer(manifest), stops)
            while len(self._answers) > STREAMS_KEPT:
                self._answers.popitem(last=False)
        return answer.add(seq, ids)

    async def text(self, manifest: ModelManifest | None, job_id: bytes, stops: Sequence[str] = ()) -> str:
        """All text of an attempt that is known: of its result, else of its frames; empty where there is neither.

        Args: as `add_frame`.
        """
        if manifest is not None:
            with suppress(AdapterError):
                result = await trio.to_thread.run_sync(self._result, job_id)
                if isinstance(result, str):
                    return result
                if result is not None:
                    return before_stop(text_of(await self.tokenizer(manifest), result), stops)
        return self.streamed(job_id)

    def streamed(self, job_id: bytes) -> str:
        """The text of the frames so far."""
        answer = self._answers.get(job_id)
        return answer.text if answer else ""

    def _result(self, job_id: bytes) -> list[int] | str | None:
        """The ids of an answer, or the lines of a reading."""
        try:
            plain = json.loads((self._results / f"{job_id.hex()}.json").read_bytes())
            if "output_token_ids" not in plain:
                return lines_of(plain)
            return [int(token) for token in plain["output_token_ids"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
