"""Similarity of outputs as such: words in order, values by their place."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.judging.similarity import (
    MAX_WORDS,
    read_json,
    structured_similarity_bps,
    text_similarity_bps,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Half of a surrogate pair is no character.
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4).filter(str.isprintable), inner),
    max_leaves=12,
)
WORDS = st.lists(st.sampled_from(["a", "b", "c", "dd", "é"]), max_size=30)


@pytest.mark.parametrize(
    ("a", "b", "bps"),
    [
        ("", " \n", 10_000),
        ("", "word", 0),
        ("the cat sat", "the  cat\nsat", 10_000),
        ("the cat sat", "the dog sat", 6_666),
        ("one two three four", "four one two three", 7_500),
        ("a b c", "c b a", 3_333),
        ("half of it", "half of it and as much again too", 3_750),
        ("Paris", "paris", 0),
    ],
)
def test_text_is_compared_by_words_in_order(a: str, b: str, bps: int):
    assert text_similarity_bps(a, b) == text_similarity_bps(b, a) == bps


def longest_common(left: list[str], right: list[str]) -> int:
    """As in a textbook."""
    rows = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            rows[i + 1][j + 1] = rows[i][j] + 1 if a == b else max(rows[i][j + 1], rows[i + 1][j])
    return rows[-1][-1]


@given(left=WORDS, right=WORDS)
def test_the_words_in_common_are_the_longest_row_of_them(left: list[str], right: list[str]):
    longest = max(len(left), len(right))
    expected = 10_000 * longest_common(left, right) // longest if longest else 10_000
    assert text_similarity_bps(" ".join(left), " ".join(right)) == expected


def test_a_long_text_is_compared_in_bounded_time():
    a = " ".join(str(n) for n in range(4 * MAX_WORDS))
    b = " ".join(str(n) for n in range(4 * MAX_WORDS, 0, -1))
    started = time.process_time()
    assert 0 <= text_similarity_bps(a, b) < 10
    assert text_similarity_bps(a, a + " more") == 9_999
    assert time.process_time() - started < 20


def bps(a: object, b: object, **tolerances: int) -> int:
    return structured_similarity_bps(json.dumps(a).encode(), json.dumps(b).encode(), **tolerances)


@pytest.mark.parametrize(
    ("a", "b", "score"),
    [
        ({"x": 1, "y": [1, 2]}, {"y": [1, 2], "x": 1.0}, 10_000),
        ({"x": 1, "y": 2}, {"x": 1}, 5_000),
        ({"x": 1}, {"x": 1, "y": 2}, 5_000),
        ([1, 2, 3, 4], [1, 2, 4, 3], 5_000),
        (1, True, 0),
        (0, False, 0),
        ("1", 1, 0),
        (None, None, 10_000),
        ({}, [], 0),
        ({}, {}, 10_000),
        ({"a": {}}, {"a": []}, 0),
        ({"0": 1}, [1], 0),
    ],
)
def test_structured_output_is_compared_value_by_value(a: object, b: object, score: int):
    assert bps(a, b) == score


def test_numbers_agree_within_the_tolerance_and_not_beyond():
    # 0.5 and 1.5 are exact doubles.
    assert bps([0.5], [1.5], atol_e9=10**9) == 10_000
    assert bps([0.5], [1.5], atol_e9=10**9 - 1) == 0
    assert bps([96], [100], rtol_e9=40_000_000) == 10_000
    assert bps([100], [96], rtol_e9=40_000_000) == 0, "the tolerance is a share of the second"
    assert bps(["a"], ["b"], atol_e9=10**18) == 0
    with pytest.raises(ValueError, match="tolerance"):
        bps(1, 1, atol_e9=-1)


def test_levels_end_at_a_number_and_not_with_a_stack():
    raw = b"[" * 64 + b"1" + b"]" * 64
    assert structured_similarity_bps(raw, raw) == 10_000


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"a":1,"a":1}',
        b"NaN",
        b"[Infinity]",
        b"1e400",
        b"9" * 400,
        b'"\\ud800"',
        b'{"\\ud800":1}',
        b"\xff",
        b"[" * 65 + b"1" + b"]" * 65,
        b"[" * 100_000 + b"]" * 100_000,
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_what_has_no_canonical_form_agrees_with_nothing(raw: bytes):
    assert structured_similarity_bps(raw, raw) == structured_similarity_bps(b"1", raw) == 0
    with pytest.raises(ValueError, match=r".+"):
        read_json(raw)


@given(value=JSON)
def test_anything_agrees_with_itself_and_with_its_shortest_form(value: object):
    raw, short = json.dumps(value, indent=1).encode(), json.dumps(value, separators=(",", ":")).encode()
    assert structured_similarity_bps(raw, short) == 10_000
    assert read_json(short) == read_json(raw)


@given(a=JSON, b=JSON)
def test_any_two_have_a_score_that_is_the_same_both_ways(a: object, b: object):
    assert 0 <= bps(a, b) == bps(b, a) <= 10_000


@given(raw=st.binary(max_size=60))
def test_any_bytes_have_a_score(raw: bytes):
    assert structured_similarity_bps(raw, b"[1,2]") in range(10_001)
