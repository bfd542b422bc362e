"""Text from tokens, whatever the characters and wherever a frame ends."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from node.daemon.text import FRAME_TOKENS, OPENING_TOKENS, WINDOW, TextStream, load_tokenizer, prompt_tokens, text_of
from protocol.errors import AdapterError
from tests.support.scenes.tokenizers import TOKENIZER, encode


def test_character_comes_when_it_is_whole() -> None:
    ids = encode("a€b")
    assert len(ids) == 5
    stream = TextStream(TOKENIZER)
    assert [stream.push([token]) for token in ids] == ["a", "", "", "€", "b"]
    assert stream.finish() == ""


@given(text=st.text(max_size=200), cuts=st.lists(st.integers(1, 9), max_size=200))
def test_pieces_give_the_whole(text: str, cuts: list[int]) -> None:
    ids = encode(text)
    stream, pieces, at = TextStream(TOKENIZER), [], 0
    for cut in [*cuts, len(ids)]:
        pieces.append(stream.push(ids[at : at + cut]))
        at += cut
    assert "".join(pieces) + stream.finish() == text_of(TOKENIZER, ids) == text


def made(tmp_path: Path, **parts: object) -> Tokenizer:
    """A tokenizer as a file of somebody's making."""
    plain = json.loads(TOKENIZER.to_str()) | parts
    (tmp_path / "tokenizer.json").write_text(json.dumps(plain))
    return load_tokenizer(tmp_path / "tokenizer.json")


WIDE = {"type": "Strip", "content": "f", "start": 3, "stop": 3}
NO_UNKNOWN = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "none"}


def test_tokenizer_that_panics_or_raises_is_an_error_of_one_call(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="tokenizer of the model fails"):
        text_of(made(tmp_path, decoder=WIDE), encode("f"))
    with pytest.raises(AdapterError, match="tokenizer of the model fails"):
        TextStream(made(tmp_path, decoder=WIDE)).push(encode("f"))
    with pytest.raises(AdapterError, match="chunk size"):
        prompt_tokens(made(tmp_path, pre_tokenizer={"type": "FixedLength", "length": 0}), ["fox"])
    with pytest.raises(AdapterError, match="UNK"):
        prompt_tokens(made(tmp_path, model=NO_UNKNOWN), ["zz"])


def test_tokenizer_neither_pads_nor_cuts_what_is_counted(tmp_path: Path) -> None:
    padding = {
        "strategy": {"Fixed": 2**40},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "x",
    }
    cut = {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    said = ["the quick brown fox"]
    expected = prompt_tokens(TOKENIZER, said)
    assert prompt_tokens(made(tmp_path, padding=padding), said) == expected
    assert prompt_tokens(made(tmp_path, truncation=cut), said) == expected


def test_long_answer_is_decoded_in_windows() -> None:
    text = "the quick brown fox \N{GRINNING FACE} jumps €€€ over " * 60
    ids = encode(text)
    assert len(ids) > 10 * WINDOW
    stream = TextStream(TOKENIZER)
    pieces = [stream.push([token]) for token in ids]
    assert "".join(pieces) + stream.finish() == text
    assert len(stream._window) <= WINDOW + 4


def test_space_before_a_word_survives_the_end_of_a_window() -> None:
    # Such a decoder drops the space before the first word that it is given.
    tokenizer = Tokenizer(models.WordLevel({"\N{LOWER ONE EIGHTH BLOCK}fox": 0}))
    tokenizer.decoder = decoders.Metaspace()
    stream = TextStream(tokenizer)
    assert "".join(stream.push([0]) for _ in range(2 * WINDOW)) == " ".join(["fox"] * 2 * WINDOW)


def test_answer_that_ends_inside_of_a_character_is_not_lost() -> None:
    stream = TextStream(TOKENIZER)
    assert stream.push(encode("a€")[:-1]) == "a"
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"


def test_bytes_that_are_no_character_hold_nothing_back() -> None:
    broken = encode("€")[:1]
    stream = TextStream(TOKENIZER)
    assert stream.push(broken) == ""
    assert stream.push(encode("a")) == "\N{REPLACEMENT CHARACTER}a"


def test_special_tokens_are_not_text() -> None:
    stop = TOKENIZER.token_to_id("<|im_end|>")
    stream = TextStream(TOKENIZER)
    assert stream.push([*encode("fox"), stop]) == "fox"
    assert text_of(TOKENIZER, [stop, *encode("fox")]) == "fox"


def test_prompt_is_never_counted_too_low() -> None:
    contents = ["You are a fox.", "jump over the dog"]
    said = sum(len(encode(content)) for content in contents)
    assert prompt_tokens(TOKENIZER, contents) == said + 2 * FRAME_TOKENS + OPENING_TOKENS


def test_tokenizer_file_is_read(tmp_path: Path) -> None:
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    assert text_of(load_tokenizer(tmp_path / "tokenizer.json"), encode("fox")) == "fox"


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(AdapterError, match="is no tokenizer"):
        load_tokenizer(path)
