"""Answers that torch writes side by side. Each joins and leaves at any token; prompts are read in pieces.

A step costs little more for many answers than for one. Keys and values of all answers end at the same column, and a
shorter one is filled up on the left with what no token sees.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import pad

from .engine import Written
from .gumbel import Chooser
from .head import Head

TRIM_COLUMNS = 64
"""So many columns that no answer sees are kept before they are cut off: cutting copies all of the others."""


@dataclass(slots=True)
class _Prompt:
    """A prompt while it is read: `at` of its tokens are."""

    number: int
    ids: list[int]
    max_new_tokens: int
    chooser: Chooser
    cache: Any
    at: int = 0
    state: torch.Tensor | None = None


@dataclass(slots=True)
class _Row:
    """An answer while it is written: `place` of its tokens are."""

    number: int
    max_new_tokens: int
    chooser: Chooser
    place: int = 0


@dataclass
class TorchBatch:
    """See AnswerBatch. A stop token ends one, as its length does."""

    net: Any
    head: Head
    stop_ids: Sequence[int]
    cache_of: Callable[[], Any]
    read_on: int = 0
    _prompts: deque[_Prompt] = field(default_factory=deque)
    _read: list[_Prompt] = field(default_factory=list)
    _rows: list[_Row] = field(default_factory=list)
    _step: list[int] = field(default_factory=list)
    # Of the rows: keys and values, which columns each sees, its last state, its length.
    _cache: Any = None
    _seen: Any = None
    _state: Any = None
    _places: Any = None

    @property
    def is_reading(self) -> bool:
        """Whether a prompt waits to be read on."""
        return bool(self._prompts)

    @property
    def is_writing(self) -> bool:
        """Whether an answer waits for its next token."""
        return bool(self._rows or self._read)

    def join(self, number: int, prompt: list[int], max_new_tokens: int, chooser: Chooser) -> None:
        """Begin one more answer."""
        self._prompts.append(_Prompt(number, prompt, max_new_tokens, chooser, self.cache_of()))

    def leave(self, number: int) -> None:
        """Drop an answer; does nothing if it has ended."""
        self._prompts = deque(each for each in self._prompts if each.number != number)
        self._read = [each for each in self._read if each.number != number]
        self._keep([place for place, row in enumerate(self._rows) if row.number != number])

    def read(self, tokens: int) -> int:
        """Read on in the oldest prompt, at most so many tokens. Returns: how many it were."""
        prompt = self._prompts[0]
        piece = prompt.ids[prompt.at : prompt.at + tokens]
        with torch.inference_mode():
            ids = torch.tensor([piece], device=self.net.device)
            out = self.net.base_model(input_ids=ids, past_key_values=prompt.cache, use_cache=True)
            prompt.cache, prompt.state = out.past_key_values, out.last_hidden_state[0, -1]
        prompt.at += len(piece)
        if prompt.at == len(prompt.ids):
            self._read.append(self._prompts.popleft())
        return len(piece)

    def choose(self, tokens: int = 0) -> list[Written]:
        """The next token of each answer, and which of them it ends; `advance` comes next."""
        self._admit()
        self.read_on = 0
        if not self._rows:
            return []
        if tokens > 0 and self._prompts:
            self.read_on = self.read(tokens)
        logits, states = self.head.logits(self._state), self._state.float().cpu().numpy()
        self._step = [row.chooser.choose(logits[at], row.place) for at, row in enumerate(self._rows)]
        written = [Written(row.number, self._step[at], states[at]) for at, row in enumerate(self._rows)]
        for row in self._rows:
            row.place += 1
        return written

    def advance(self) -> None:
        """Run the chosen tokens through the model, those of answers that go on."""
        self._keep(
            [
                at
                for at, row in enumerate(self._rows)
                if self._step[at] not in self.stop_ids and row.place < row.max_new_tokens
            ]
        )
        if not self._rows:
            return
        self._seen = torch.cat([self._seen, torch.ones_like(self._places)], dim=1)
        with torch.inference_mode():
            out = self.net.base_model(
                input_ids=torch.tensor(self._step, device=self.net.device)[:, None],
                attention_mask=self._seen,
                position_ids=self._places,
                past_key_values=self._cache,
                use_cache=True,
            )
            self._state = out.last_hidden_state[:, -1]
        self._places = self._places + 1

    def _admit(self) -> None:
        """Take the prompts that are read in among the answers."""
        if not self._read:
            return
        caches, seen, states, places, device = [], [], [], [], self.net.device
        if self._rows:
            caches, seen, states, places = [self._cache], [self._seen], [self._state], [self._places]
        for prompt in self._read:
            assert prompt.state is not None
            caches.append(prompt.cache)
            seen.append(torch.ones((1, len(prompt.ids)), dtype=torch.long, device=device))
            states.append(prompt.state[None])
            places.append(torch.tensor([[len(prompt.ids)]], device=device))
            self._rows.append(_Row(prompt.number, prompt.max_new_tokens, prompt.chooser))
        self._read = []
        width = max(each.shape[1] for each in seen)
        with torch.inference_mode():
            self._cache = caches[0] if len(caches) == 1 else side_by_side(caches, self.cache_of())
            self._seen = torch.cat([pad(each, (width - each.shape[1], 0)) for each in seen])
            self._state, self._places = torch.cat(states), torch.cat(places)

    def _keep(self, kept: list[int]) -> None:
        """Go on with the answers at these places."""
        if len(kept) == len(self._rows):
            return
        self._rows = [self._rows[at] for at in kept]
        if not kept:
            self._cache = None
            return
        chosen = torch.tensor(kept, device=self.net.device)
        self._cache.batch_select_indices(chosen)
        self._seen, self._places, self._state = self._seen[chosen], self._places[chosen], self._state[chosen]
        if self._step:
            self._step = [self._step[at] for at in kept]
        self._trim()

    def _trim(self) -> None:
        """Cut off the columns that only answers that have ended saw."""
        unseen = int(self._seen.any(dim=0).int().argmax())
        layers = self._cache.layers
        # A layer that looks back a certain distance only has cut its own columns.
        if unseen < TRIM_COLUMNS or any(layer.keys.shape[2] != self._seen.shape[1] for layer in layers):
            return
        self._seen = self._seen[:, unseen:]
        for layer in layers:
            layer.keys, layer.values = (each[:, :, unseen:].contiguous() for each in (layer.keys, layer.values))


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
