"""Similarity of outputs as such: words in order, values by their place, bytes."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.judging.similarity import (
    MAX_WORDS,
    bytes_similarity_bps,
    canonical_json,
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


def test_bytes_are_the_same_or_not():
    assert (bytes_similarity_bps(b"abc", b"abc"), bytes_similarity_bps(b"abc", b"abd")) == (10_000, 0)


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
        canonical_json(raw)


def test_the_canonical_form_is_the_one_of_the_rfc():
    # The example of RFC 8785, section 3.2.2, and the order of names of section 3.2.3.
    raw = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(raw).decode() == expected
    names = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    ordered = json.loads(canonical_json(json.dumps(names).encode()))
    assert list(ordered.values()) == [2, 4, 6, 7, 1, 5, 3]


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        ("-0.0", "0"),
        ("1e21", "1e+21"),
        ("999999999999999900000", "999999999999999900000"),
        ("1e-6", "0.000001"),
        ("1e-7", "1e-7"),
        ("123456.789", "123456.789"),
        ("-1.5e300", "-1.5e+300"),
        ("5e-324", "5e-324"),
        ("9007199254740993", "9007199254740992"),
        ("10", "10"),
        ("0.1", "0.1"),
    ],
)
def test_numbers_have_the_form_of_ecmascript(raw: str, form: str):
    assert canonical_json(raw.encode()).decode() == form


@given(value=JSON)
def test_anything_agrees_with_itself_and_with_its_canonical_form(value: object):
    raw = json.dumps(value, indent=1).encode()
    assert structured_similarity_bps(raw, canonical_json(raw)) == 10_000
    assert canonical_json(canonical_json(raw)) == canonical_json(raw)
    assert read_json(canonical_json(raw)) == read_json(raw)


@given(a=JSON, b=JSON)
def test_any_two_have_a_score_that_is_the_same_both_ways(a: object, b: object):
    assert 0 <= bps(a, b) == bps(b, a) <= 10_000


@given(raw=st.binary(max_size=60))
def test_any_bytes_have_a_score(raw: bytes):
    assert structured_similarity_bps(raw, b"[1,2]") in range(10_001)
