"""Chats and texts as token ids, by the tokenizer and the chat template that a model brings."""

import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .job import BadInput

Made = TypeVar("Made")
ROLES = ("system", "user", "assistant")


class PromptReader:
    """Turns chats and texts into token ids. `context`: the most that the model takes, prompt and answer together."""

    def __init__(self, tokenizer: Any, context: int) -> None:
        self._tokenizer = tokenizer
        self._made: dict[str, Any] = {}
        self.context = context

    def once(self, name: str, make: Callable[[Any], Made]) -> Made:
        """What is made of the tokenizer, at the first call by this name."""
        if name not in self._made:
            self._made[name] = make(self._tokenizer)
        found: Made = self._made[name]
        return found

    def prompt_ids(self, messages: object, max_new_tokens: int) -> list[int]:
        """The chat as token ids, with room left for the answer. Raises BadInput."""
        if not isinstance(messages, list) or not messages or not all(_is_message(m) for m in messages):
            raise BadInput("bad_messages", 'messages must be a list of {"role", "content"}')
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template is the model's own program and may raise anything
            raise BadInput("bad_messages", "the chat template of the model refuses these messages") from error
        # The template has written the special tokens itself; the tokenizer would put one more in front.
        ids = [int(i) for i in self._tokenizer(text, add_special_tokens=False)["input_ids"]]
        return self.fitting(ids, max_new_tokens)

    def fitting(self, ids: list[int], max_new_tokens: int) -> list[int]:
        """A prompt that leaves room for its answer. Raises BadInput."""
        limit = self.context - max_new_tokens
        if len(ids) > limit:
            raise BadInput(
                "prompt_too_long",
                f"the prompt has {len(ids)} tokens, and {limit} fit before an answer of {max_new_tokens}",
                tokens=len(ids),
                limit=limit,
            )
        return ids

    def text_ids(self, text: str, *, special: bool = True) -> list[int]:
        """A text as it stands, as token ids. Raises BadInput.

        Args: special, with what the model's tokenizer puts around a text.
        """
        ids = [int(i) for i in self._tokenizer(text, add_special_tokens=special)["input_ids"]]
        if not 1 <= len(ids) <= self.context:
            raise BadInput(
                "text_too_long", f"a text has {len(ids)} tokens, and 1 to {self.context} fit", tokens=len(ids)
            )
        return ids

    def text_of(self, ids: list[int]) -> str:
        """Tokens as text, special ones left out."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a model. Raises OSError, ValueError."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)


@contextmanager
def torch_unseen() -> Iterator[None]:
    """Within it transformers does not find torch, which it imports wherever it does: two seconds and 280 MB."""
    find = importlib.util.find_spec
    importlib.util.find_spec = lambda name, package=None: None if name == "torch" else find(name, package)
    try:
        yield
    finally:
        importlib.util.find_spec = find


def require_room(tokens: int, needed_bytes: int, memory_bytes: int) -> None:
    """Whether a prompt can be read in the memory that its client has given to the job. Raises BadInput.

    A long prompt may take as much as the model does, and many times that where attention keeps all pairs of its
    tokens; and the end of a container that runs out of memory would be held against the node.
    """
    if needed_bytes > memory_bytes:
        more = -(-needed_bytes // 2**20)
        raise BadInput(
            "prompt_too_long",
            f"to read {tokens} tokens takes {more} MiB, and this job was given {memory_bytes // 2**20}",
            tokens=tokens,
            memory_mib=more,
        )


def ids_sha256(ids: list[int]) -> str:
    """Hash of token ids, each as a little-endian uint32."""
    return hashlib.sha256(np.array(ids, "<u4").tobytes()).hexdigest()


def _is_message(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"role", "content"}
        and value["role"] in ROLES
        and isinstance(value["content"], str)
    )
