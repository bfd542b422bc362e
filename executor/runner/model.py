"""A model from the content store: its weights, its tokenizer, and the two ways to run it.

A worker decodes token by token; a checker runs the finished text once. Both end in the hidden state after the final
norm and the logits made from it, both in float32; what is in between is in the class's own number format.
"""

import hashlib
import json
import os
import resource
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from . import dequantised, lora
from .attention import attend_widely, attends_widely
from .batch import TorchBatch
from .decoding import Answer, Growing
from .device import CPU, CUDA
from .engine import TORCH, AnswerSize, Trace, Tracer, Unfit, Written
from .fingerprint import Doubles, Floats
from .gguf.layout import TYPES, is_gguf
from .gumbel import Chooser
from .head import Head, require_known
from .job import BadInput
from .precision import widened
from .product import multiply_widely
from .prompts import PromptReader, load_tokenizer, require_room
from .weights import StoredTensors

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "q8_0": torch.float32}
"""Formats of classes, and what torch computes them in."""
PASS_TOKENS = 4096
"""Tokens of all texts of one pass, padding included, unless a single one is longer."""
PIECES_A_PASS = 4
"""Short texts that are read in one pass take as long as so many pieces of a long one."""
T = TypeVar("T")
STATE_BYTES = 128
"""What is held for each number of each token's state while a prompt is read, beside keys and values; measured: 57."""
PAIR_BYTES = 12
"""What an attention that is not ours holds for each pair of tokens and each head; measured: 10."""


class Model:
    """One loaded model; see AnswerEngine. `manifest_sha256` is its content id."""

    build = f"{TORCH} {torch.__version__}"

    def __init__(self, net: Any, prompts: PromptReader, manifest: dict[str, Any], manifest_sha256: bytes) -> None:
        self._net = net
        self._head = Head(net)
        self.prompts = prompts
        # What the model takes by itself, before anybody's prompt.
        self.loaded_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.manifest_sha256 = manifest_sha256
        self.piece_tokens = 0
        """How many tokens of a finished text are read at once; 0: all of them."""
        self.eos_ids = tuple(int(i) for i in manifest["eos_ids"])
        self.hidden, self.vocab = int(manifest["hidden"]), int(manifest["vocab"])

    def require_memory(self, tokens: int, memory_bytes: int) -> None:
        """Whether a prompt can be read in the memory that its client has given to the job. Raises BadInput."""
        require_room(tokens, self.loaded_bytes + self._reading_bytes(tokens), memory_bytes)

    def has_room(self, sizes: Sequence[AnswerSize], memory_bytes: int) -> bool:
        """Whether these answers can be written side by side."""
        longest_prompt, longest_answer = max(size.prompt for size in sizes), max(size.answer for size in sizes)
        return self.needed_bytes(len(sizes), longest_prompt, longest_answer) <= memory_bytes

    def needed_bytes(self, answers: int, longest_prompt: int, longest_answer: int) -> int:
        """Memory for so many answers side by side, with the model."""
        # Twice, because keys and values are copied whenever they grow.
        kept = 2 * answers * (longest_prompt + longest_answer) * self._kept_bytes
        return self.loaded_bytes + self._reading_bytes(longest_prompt) + kept

    def _reading_bytes(self, tokens: int) -> int:
        pairs = 0 if attends_widely(self._net) else tokens * int(self._net.config.num_attention_heads)
        return tokens * (self._kept_bytes + self.hidden * STATE_BYTES + pairs * PAIR_BYTES)

    @property
    def _kept_bytes(self) -> int:
        """Keys and values of one token."""
        config = self._net.config
        heads, size = int(config.num_key_value_heads), int(config.hidden_size) // int(config.num_attention_heads)
        size = int(getattr(config, "head_dim", None) or size)
        return 2 * int(config.num_hidden_layers) * heads * size * int(self._net.dtype.itemsize)

    def read(self, prompts: list[list[int]], at_once: int) -> tuple[Floats, Floats]:
        """What `reading` finds, at one go."""
        return value_of(self.reading(prompts, at_once))

    def reading(self, prompts: list[list[int]], at_once: int) -> Generator[None, None, tuple[Floats, Floats]]:
        """Read texts without writing anything: the mean of each one's states, and its last one, [n, hidden] each.

        Args: at_once, texts in one pass; those of like length go together, and as many as fit `PASS_TOKENS`.
        Yields after each pass.
        """
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        means = np.empty((len(prompts), self.hidden), np.float32)
        lasts = np.empty_like(means)
        for places in _passes(order, prompts, at_once, self._pass_tokens):
            if len(places) == 1:
                states = (yield from self._states_from(prompts[places[0]], 0))[None]
            else:
                states = self._states_of([prompts[place] for place in places])
                yield
            for row, place in enumerate(places):
                own = states[row, : len(prompts[place])]
                means[place] = own.float().mean(dim=0).cpu().numpy()
                lasts[place] = own[-1].float().cpu().numpy()
        return means, lasts

    def _states_of(self, prompts: list[list[int]]) -> torch.Tensor:
        """The states of several texts in one pass [texts, tokens, hidden], shorter ones filled up."""
        longest = max(map(len, prompts))
        ids = torch.zeros((len(prompts), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.tensor(prompt)
            mask[row, : len(prompt)] = 1
        with torch.inference_mode():
            # What stands to the right of a token has no say in its state, so the padding goes there.
            ids, mask = ids.to(self._net.device), mask.to(self._net.device)
            out = self._net.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        found: torch.Tensor = out.last_hidden_state
        return found

    def _pass_tokens(self) -> int:
        """Tokens of all texts of one pass, as of now."""
        return min(PASS_TOKENS, PIECES_A_PASS * self.piece_tokens) if self.piece_tokens else PASS_TOKENS

    def logits_of(self, states: Floats, tokens: list[int]) -> Doubles:
        """The logits of some tokens, of states as `read` gives them [n, hidden]."""
        return self._head.exactly(torch.from_numpy(states), tokens)

    def batch(self, tokens: int = 0, cache_of: Callable[[], Any] = DynamicCache) -> TorchBatch:
        """Answers side by side, none yet; `cache_of` makes what keeps keys and values, of as many `tokens` as come."""
        return TorchBatch(self._net, self._head, self.eos_ids, cache_of)

    def decode(
        self,
        prompts: Sequence[list[int]],
        lengths: Sequence[int],
        choosers: Sequence[Chooser],
        cache_of: Callable[[], Any] = DynamicCache,
    ) -> Iterator[Written]:
        """Write an answer to each prompt, all side by side. Prompts are read one by one, as servers do it."""
        batch = self.batch(cache_of=cache_of)
        for number, (prompt, length, chooser) in enumerate(zip(prompts, lengths, choosers, strict=True)):
            batch.join(number, prompt, length, chooser)
        while batch.is_reading:
            batch.read(max(map(len, prompts)))
        while batch.is_writing:
            yield from batch.choose()
            batch.advance()

    def answers(
        self,
        prompts: Sequence[list[int]],
        max_new_tokens: int,
        choosers: Sequence[Chooser],
        cache_of: Callable[[], Any] = DynamicCache,
    ) -> list[Answer]:
        """What `decode` writes of answers of one length, gathered."""
        found = [Growing() for _ in prompts]
        for number, token, state in self.decode(prompts, [max_new_tokens] * len(prompts), choosers, cache_of):
            found[number].add(token, state, is_stop=token in self.eos_ids)
        return [each.answer(self.hidden) for each in found]

    def replay(self, prompt: list[int], output: list[int], stopped: bool, chooser: Chooser) -> tuple[Floats, Doubles]:
        """One pass over a finished text: the states of its tokens [n, hidden] and the n + 1 margins of check.bin."""
        trace = self.trace(prompt, output, chooser)
        return trace.states, trace.of_first(len(output), stopped)

    def trace(self, prompt: list[int], output: list[int], chooser: Chooser) -> Trace:
        """The same pass, with what every shorter answer would be judged by."""
        return value_of(self.tracing(prompt, output, chooser))

    def tracing(self, prompt: list[int], output: list[int], chooser: Chooser) -> Generator[None, None, Trace]:
        """The same. Yields after each piece of the text, and after each block of its logits."""
        tracer = Tracer(output, self.eos_ids, chooser)
        states = yield from self._states_from(prompt + output, len(prompt) - 1)
        # In blocks, because the logits of a long answer would not fit beside the model.
        while (start := tracer.place) < len(output) + 1:
            at_once = min(self._head.at_once, self.piece_tokens or self._head.at_once)
            for row in self._head.logits(states[start : start + at_once]):
                tracer.add(row)
            yield
        return tracer.trace(states[: len(output)].float().cpu().numpy())

    def _states_from(self, ids: list[int], first: int) -> Generator[None, None, torch.Tensor]:
        """The states of a text from one place on [n, hidden]."""
        parts, at = [], 0
        cache: Any = None
        while at < len(ids):
            end = at + (self.piece_tokens or len(ids))
            # A text in one piece needs no keys and values.
            if cache is None and end < len(ids):
                cache = DynamicCache()
            with torch.inference_mode():
                piece = torch.tensor([ids[at:end]], device=self._net.device)
                out = self._net.base_model(input_ids=piece, past_key_values=cache, use_cache=cache is not None)
                parts.append(out.last_hidden_state[0, max(0, first - at) :])
            at = end
            yield
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def layers(self) -> Iterator[tuple[str, Any]]:
        """Name and module of every matrix within the layers; the embeddings are not among them."""
        for name, module in self._net.named_modules():
            if isinstance(module, torch.nn.Linear) and ".layers." in name:
                yield name, module


def _passes(
    order: list[int], prompts: list[list[int]], at_once: int, pass_tokens: Callable[[], int]
) -> Iterator[list[int]]:
    places: list[int] = []
    for place in order:
        if places and (len(places) == at_once or (len(places) + 1) * len(prompts[place]) > pass_tokens()):
            yield places
            places = []
        places.append(place)
    yield places


def value_of(steps: Generator[Any, None, T]) -> T:
    """Run to the end at one go."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found


def load(path: Path, dtype: str, device: str = CPU) -> Model:
    """Load the model at `path` in the number format of a device class; bf16 weights serve both.

    Raises BadInput, and Unfit if this torch has no such device.
    """
    _require(device)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        data = (path / "manifest.json").read_bytes()
        manifest = json.loads(data)
        prompts = PromptReader(load_tokenizer(path), int(manifest["context"]))
        net = widened(lambda: _weights(path, dtype).to(device))
        require_known(net.config)
        return Model(net.eval(), prompts, manifest, hashlib.sha256(data).digest())
    except (OSError, ValueError, KeyError) as error:
        raise BadInput("bad_model", f"the model cannot be loaded: {error}") from error


def _require(device: str) -> None:
    if device not in (CPU, CUDA):
        raise Unfit(f"torch computes here on {CPU} or {CUDA}, and not on {device}")
    if device == CUDA and not torch.cuda.is_available():
        built = torch.version.cuda
        why = "no card answers" if built else "it is built for processors"
        raise Unfit(f"the torch of this image cannot compute on {CUDA}: {why}")


def _weights(path: Path, dtype: str) -> Any:
    if is_gguf(path):
        net = dequantised.load(path, dtype)
        attend_widely(net)
        return net
    if dtype in TYPES.values():
        raise BadInput("bad_model", f"the model is no GGUF file of type {dtype}")
    net = AutoModelForCausalLM.from_pretrained(
        path, dtype=DTYPES[dtype], local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    if (path / lora.WEIGHTS).is_file():
        _merge(net, StoredTensors(path))
    attend_widely(net)
    multiply_widely(net)
    return net


def _merge(net: Any, stored: StoredTensors) -> None:
    """Add the adapter to a loaded model, as llama.cpp is given it: the same bits."""
    assert stored.adapter is not None
    weights = dict(net.named_parameters())
    for name in stored.adapter.targets:
        rows = stored.merged(name)
        merged = torch.from_numpy(rows if rows.dtype == np.float32 else rows.view(np.int16))
        weights[name].data.copy_(merged if rows.dtype == np.float32 else merged.view(torch.bfloat16))
