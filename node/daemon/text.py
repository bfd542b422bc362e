"""Token ids to text as they arrive, and how many tokens a chat will have.

A tokenizer is a file of the model's maker, and comes from peers: whatever its parts do, it ends no more than one call.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from tokenizers import Tokenizer as Tokenizer

from protocol.errors import AdapterError

T = TypeVar("T")
_PANIC = "PanicException"
"""The library's bugs, which are no Exception: its module exports no class for them."""
_HALF = "\N{REPLACEMENT CHARACTER}"
"""The last character while some of its bytes are still to come."""
FAILS = "the tokenizer of the model fails"
WINDOW = 64
"""Tokens that are decoded together; what came before is text for good."""
CONTEXT = 8
"""Tokens of the old window that open the new one: whether a word begins with a space depends on them."""
FRAME_TOKENS = 8
"""Tokens that a chat template writes around each message, at most; the template itself is a program of the model's."""
OPENING_TOKENS = 40
"""The template's own first words, where the chat has no system message, and the opening of the answer."""


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a model. Blocks for a good part of a second.

    Raises: AdapterError if the file is not there or is none.
    """
    loaded: Tokenizer = _guarded(f"{path} is no tokenizer", lambda: Tokenizer.from_file(str(path)))
    # A file may ask for either: counts would be wrong, and padding could take all memory.
    loaded.no_padding()
    loaded.no_truncation()
    return loaded


class TextStream:
    """The text of one answer. A character whose bytes are spread over several tokens comes when it is whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._told = 0

    def push(self, ids: Iterable[int]) -> str:
        """Add tokens; returns the text that is certain by now."""
        self._window += ids
        text = self._decode()
        certain = len(text) - text.endswith(_HALF)
        new = text[self._told : certain]
        self._told = max(self._told, certain)
        if len(self._window) > WINDOW and certain == len(text):
            self._window = self._window[-CONTEXT:]
            self._told = len(self._decode())
        return new

    def finish(self) -> str:
        """The answer has ended: what was held back, half a character as it is."""
        text = self._decode()
        new, self._told = text[self._told :], len(text)
        return new

    def _decode(self) -> str:
        return text_of(self._tokenizer, self._window)


class StopGuard:
    """The text of an answer up to its first stop string. The end of it that may begin one waits for what follows."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self._has_ended = False

    def push(self, text: str) -> str:
        """Add text; returns the part that is certain by now to stand before any stop string."""
        if self._has_ended or not self._stops:
            return "" if self._has_ended else text
        text = self._held + text
        told = before_stop(text, self._stops)
        self._has_ended = len(told) < len(text)
        if self._has_ended:
            return told
        longest = min(len(text), max(map(len, self._stops)) - 1)
        begun = (size for size in range(longest, 0, -1) if any(stop.startswith(text[-size:]) for stop in self._stops))
        kept = len(text) - next(begun, 0)
        self._held = text[kept:]
        return text[:kept]


def before_stop(text: str, stops: Sequence[str]) -> str:
    """A text up to the first stop string in it; all of it, if there is none."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def text_of(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """A whole answer as text. Raises: AdapterError if the tokenizer fails."""
    return _guarded(FAILS, lambda: str(tokenizer.decode(list(ids), skip_special_tokens=True)))


def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """How many tokens a text has by itself. Raises: AdapterError if the tokenizer fails."""
    return _guarded(FAILS, lambda: len(tokenizer.encode(text, add_special_tokens=False).ids))


def prompt_tokens(tokenizer: Tokenizer, contents: Sequence[str]) -> int:
    """How many tokens a chat of these messages has at most: what they say, counted, and room for what goes around it.

    The node that runs the job counts exactly, by the model's template; this says early what can never fit.
    """
    return written_tokens(tokenizer, contents) + FRAME_TOKENS * len(contents) + OPENING_TOKENS


def written_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """How many tokens some texts have together, without what goes around them. Raises: AdapterError."""
    return sum(count_tokens(tokenizer, text) for text in texts)


def _guarded(failure: str, call: Callable[[], T]) -> T:
    """Raises: AdapterError for whatever the library raises."""
    try:
        return call()
    except Exception as error:  # the library raises nothing narrower
        raise AdapterError(f"{failure}: {error}") from error
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise AdapterError(f"{failure}: {error}") from error
