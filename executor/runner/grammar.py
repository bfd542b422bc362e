"""The grammar of a JSON schema: which tokens may stand at each place of an answer, by the ids before it alone.

llguidance makes the grammar. Its limits count work and not time, and a grammar is asked place by place, in order, by
worker and checker alike: so both find the same tokens, and the same end of what can be worked out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from .engine import AnswerEngine
from .job import BadInput

LIMITS: dict[str, Any] = {
    "max_items_in_row": 2_000,
    "initial_lexer_fuel": 200_000,
    "step_lexer_fuel": 100_000,
    "step_max_items": 3_000,
    "max_lexer_states": 20_000,
    "max_grammar_size": 50_000,
    "verbose_errors": False,
}
"""Of one grammar: to make it, and of each step. A step that they allow takes less than that of a model."""
COMPACT = {"whitespace_flexible": False}
"""No spaces between the signs of JSON: a small model would write them without an end."""


class AnswerGrammar:
    """The grammar of one answer."""

    def __init__(self, tokenizer: LLTokenizer, schema: str, stop_id: int) -> None:
        """Args: schema, as read_schema leaves it; stop_id, of the stop tokens one. Raises BadInput."""
        self.stop_id = stop_id
        self.is_stuck = False
        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides=COMPACT)
        except ValueError as error:
            raise _refused(str(error)) from error
        self._matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LLParserLimits(**LIMITS))
        if self._matcher.is_error():
            raise _refused(self._matcher.get_error())
        self._vocab, self._place = tokenizer.vocab_size, 0
        self._allowed = self._next()
        if not self._allowed.any():
            raise _refused("no token can begin an answer")

    def allowed(self, written: Sequence[int], place: int) -> NDArray[np.bool_]:
        """Which tokens may stand at `place`, bool [vocab]; none where the grammar ends without an instance.

        Args: written, the tokens before it, and perhaps more. Places are asked for in order, some more than once.
        """
        while self._place < place:
            self._matcher.consume_token(written[self._place])
            self._place += 1
            self._allowed = self._next()
        return self._allowed

    def _next(self) -> NDArray[np.bool_]:
        # An error lasts: whatever comes after a token that the grammar does not know, or cannot work out, is none.
        bits = b"" if self._matcher.is_error() else self._matcher.compute_bitmask()
        if self._matcher.is_error():
            return np.zeros(self._vocab, np.bool_)
        return np.unpackbits(np.frombuffer(bits, np.uint8), count=self._vocab, bitorder="little").astype(np.bool_)


def grammar_of(schema: str, model: AnswerEngine) -> AnswerGrammar | None:
    """The grammar of an input's schema; None if it has none. Raises BadInput."""
    if not schema:
        return None
    tokenizer = grammar_tokenizer(model)
    if tokenizer is None:
        raise BadInput("bad_schema", "a schema is not supported with this model, whose tokenizer has no grammar")
    return AnswerGrammar(tokenizer, schema, model.eos_ids[0])


def grammar_tokenizer(model: AnswerEngine) -> LLTokenizer | None:
    """The tokens of a model as its grammars read them, made once; None for a tokenizer that llguidance cannot read."""
    return model.prompts.once("grammar", lambda tokenizer: _tokens_of(tokenizer, model))


def _tokens_of(tokenizer: Any, model: AnswerEngine) -> LLTokenizer | None:
    try:
        return LLTokenizer(tokenizer.backend_tokenizer.to_str(), model.vocab, [*model.eos_ids])
    except (AttributeError, ValueError):
        return None


def _refused(words: str) -> BadInput:
    return BadInput("bad_schema", f"no answer can be written by this schema: {' '.join(words.split())[:200]}")
