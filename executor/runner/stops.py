"""Stop strings: an answer ends with the token that makes one of them a part of its text.

The text is that of the answer's tokens, special ones left out. A character whose bytes are spread over several tokens
belongs to it once it is whole; since stop strings are whole characters, and no character of UTF-8 is a part of
another one, none can be found within a character. The ids alone decide, so a worker and a checker find the same end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .rules import HALF

WINDOW = 64
"""Tokens that are decoded together; what came before is text for good."""
CONTEXT = 8
"""Tokens of the old window that open the new one: whether a word begins with a space depends on them."""


@dataclass(slots=True)
class StopSearch:
    """Looks for stop strings in an answer while it grows. `text_of` makes a text of tokens."""

    stops: Sequence[str]
    text_of: Callable[[list[int]], str]
    _window: list[int] = field(default_factory=list)
    _told: int = 0
    _tail: str = ""

    def push(self, token: int) -> bool:
        """Whether a stop string stands in the text now that the answer has one token more."""
        self._window.append(token)
        text = self.text_of(self._window)
        certain = len(text.rstrip(HALF))
        self._tail += text[self._told : certain]
        self._told = max(self._told, certain)
        found = any(stop in self._tail for stop in self.stops)
        # What a stop string may still begin in.
        self._tail = self._tail[-max(map(len, self.stops)) :]
        if len(self._window) > WINDOW and certain == len(text):
            self._window = self._window[-CONTEXT:]
            self._told = len(self.text_of(self._window).rstrip(HALF))
        return found

    def ends_with(self, ids: Sequence[int]) -> bool | None:
        """Whether a stop string ends an answer: False where none is in it, None where one ended it before its end."""
        for place, token in enumerate(ids):
            if self.push(token):
                return True if place == len(ids) - 1 else None
        return False
