"""Jobs whose model only reads, on their user's side: how much there is to read, and what came out as lines of text."""

import json
from collections.abc import Sequence
from typing import Any

from node.daemon.text import FRAME_TOKENS, OPENING_TOKENS, Tokenizer, count_tokens
from protocol.judging.reading import SCALE

SPECIAL_TOKENS = 2
"""Tokens that a tokenizer puts around a text, at most."""
QUESTION_TOKENS = 32
"""The runner's question about a text to be classified, without its labels and the text."""


def tokens_to_read(tokenizer: Tokenizer, texts: Sequence[str], labels: Sequence[str]) -> list[int]:
    """How many tokens each text has at most, with the question about it where there are labels.

    The node that reads them counts exactly, and charges for no more than that.
    """
    around = SPECIAL_TOKENS
    if labels:
        around = FRAME_TOKENS + OPENING_TOKENS + QUESTION_TOKENS + count_tokens(tokenizer, ", ".join(labels))
    return [count_tokens(tokenizer, text) + around for text in texts]


def lines_of(result: dict[str, Any]) -> str:
    """A result as text, a line of JSON for each text: a vector of length one, or the best label and all logits.

    Raises: KeyError, TypeError or ValueError for what is no result of a reading.
    """
    if "embeddings" in result:
        return "".join(_line([number / SCALE for number in vector]) for vector in result["embeddings"])
    labels = result["labels"]
    lines = []
    for row in result["logits"]:
        logits = {label: number / SCALE for label, number in zip(labels, row, strict=True)}
        lines.append(_line({"label": max(logits, key=lambda label: logits[label]), "logits": logits}))
    return "".join(lines)


def _line(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
