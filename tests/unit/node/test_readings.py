"""How much there is to read, and what came out of it as text."""

import json

import pytest

from node.daemon.readings import lines_of, tokens_to_read
from tests.support.scenes.tokenizers import TOKENIZER, encode


def test_every_text_is_counted_with_what_goes_around_it() -> None:
    texts = ["the quick brown fox", "dog"]
    counts = tokens_to_read(TOKENIZER, texts, ())
    assert all(len(encode(text)) < count <= len(encode(text)) + 4 for text, count in zip(texts, counts, strict=True))
    asked = tokens_to_read(TOKENIZER, texts, ("fox", "dog"))
    assert all(more > count + len(encode("fox, dog")) for more, count in zip(asked, counts, strict=True))


def test_an_embedding_is_a_line_of_numbers() -> None:
    assert lines_of({"embeddings": [[600_000, -800_000], [1_000_000, 0]]}) == "[0.6, -0.8]\n[1.0, 0.0]\n"


def test_a_classification_is_a_line_with_the_best_label() -> None:
    (line,) = lines_of({"labels": ["né", "b"], "logits": [[-1_500_000, 250_000]]}).splitlines()
    assert json.loads(line) == {"label": "b", "logits": {"né": -1.5, "b": 0.25}}


@pytest.mark.parametrize("result", [{}, {"labels": ["a"]}, {"embeddings": 3}, {"labels": ["a"], "logits": [[1, 2]]}])
def test_what_is_no_reading_is_not_shown(result: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        lines_of(result)
