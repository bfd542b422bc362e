"""Short ids: whatever only one id begins with."""

from __future__ import annotations

import pytest

from node.api.faults import Fault
from node.api.prefix import complete

IDS = ("abcd12", "abce34", "0xAb99", "abc")


@pytest.mark.parametrize(
    ("prefix", "found"),
    [("abcd", "abcd12"), ("ABCE", "abce34"), ("0xab9", "0xAb99"), ("ab99", "0xAb99"), ("abc", "abc")],
)
def test_only_one_is_meant(prefix: str, found: str) -> None:
    assert complete(prefix, IDS, "job") == found


@pytest.mark.parametrize(
    ("prefix", "code", "words"),
    [
        ("ab", "bad_request", "too short"),
        ("0xab", "bad_request", "too short"),
        ("fff", "not_found", "no job 'fff'"),
        ("", "bad_request", "too short"),
    ],
)
def test_nothing_is_guessed(prefix: str, code: str, words: str) -> None:
    with pytest.raises(Fault, match=words) as caught:
        complete(prefix, IDS, "job")
    assert caught.value.code == code


def test_several_are_named_and_the_same_one_twice_is_one() -> None:
    with pytest.raises(Fault) as caught:
        complete("abc", IDS[:2], "job")
    assert (caught.value.code, caught.value.hint) == ("ambiguous", "one of: abcd12, abce34")
    many = [f"abc{number:04}" for number in range(9)]
    with pytest.raises(Fault) as caught:
        complete("abc", many, "job")
    assert caught.value.hint.endswith(", ...")
    assert complete("abcd", [IDS[0], IDS[0]], "job") == IDS[0]
