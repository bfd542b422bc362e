"""Stop strings in the runner: found by the token that completes one, whatever the characters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.runner.job import BadInput
from executor.runner.rules import BOUNDS, MAX_STOP_BYTES, read_rules
from executor.runner.stops import WINDOW, StopSearch
from node.daemon.text import StopGuard, TextStream, before_stop, text_of
from protocol.stages.token_rules import TokenRules, draw_seed, rules_of
from tests.support.scenes.tokenizers import TOKENIZER, encode

STOPS = st.lists(st.text(st.sampled_from("aé€𝄞 \n"), min_size=1, max_size=4), min_size=1, max_size=4)
TEXTS = st.text(st.sampled_from("abé€𝄞 \n"), max_size=3 * WINDOW)


def whole_text(ids: list[int]) -> str:
    return text_of(TOKENIZER, ids)


def search(*stops: str) -> StopSearch:
    return StopSearch(stops, whole_text)


@given(text=TEXTS, stops=STOPS)
def test_answer_ends_with_the_first_token_that_completes_a_stop_string(text: str, stops: list[str]) -> None:
    ids = encode(text)
    watched, ends = search(*stops), None
    for place, token in enumerate(ids):
        if watched.push(token):
            ends = place
            break
    literal = [place for place in range(len(ids)) if any(stop in whole_text(ids[: place + 1]) for stop in stops)]
    assert ends == (literal[0] if literal else None)


@given(text=TEXTS, stops=STOPS, frames=st.lists(st.integers(1, 9), max_size=200))
def test_client_sees_the_text_before_the_stop_string_in_pieces_and_as_a_whole(
    text: str, stops: list[str], frames: list[int]
) -> None:
    ids = encode(text)
    watched, written = search(*stops), list[int]()
    for token in ids:
        written.append(token)
        if watched.push(token):
            break
    stream, guard, told, at = TextStream(TOKENIZER), StopGuard(stops), "", 0
    for size in [*frames, len(written)]:
        told += guard.push(stream.push(written[at : at + size]))
        at += size
    shown = before_stop(whole_text(written), stops)
    assert not any(stop in shown for stop in stops)
    assert shown.startswith(told)
    # At the end no more is missing than may begin a stop string.
    assert len(shown) - len(told) < max(map(len, stops))


def test_stop_string_within_a_character_is_not_found() -> None:
    # U+00E2 is written C3 A2, and the euro sign E2 82 AC: bytes alone would find nothing but the characters.
    (ids, euro) = encode("a€b"), "\N{EURO SIGN}"
    assert len(ids) == 5
    assert search("â", "\x82").ends_with(ids) is False
    assert search(euro).ends_with(ids[:4]) is True
    assert search(euro).ends_with(ids[:3]) is False
    assert search(euro).ends_with(ids) is None


@pytest.mark.parametrize(
    "rules",
    [
        [],
        {"stop": "x"},
        {"stop": [""]},
        {"stop": ["x"] * 5},
        {"stop": ["x"] * 10**6},
        {"stop": ["€" * (MAX_STOP_BYTES // 3 + 1)]},
        {"stop": [chr(0xD800)]},
        {"stop": ["\ufffd"]},
        {"stop": [7]},
        {"top_p_ppm": 0},
        {"top_p_ppm": 10**6 + 1},
        {"top_p_ppm": 0.5},
        {"top_k": True},
        {"top_k": 2000},
        {"seed": 2**63},
        {"presence_milli": 2001},
        {"frequency_milli": -2001},
        {"min_p_ppm": 5},
    ],
)
def test_rules_that_no_runner_keeps_are_bad_input(rules: Any) -> None:
    with pytest.raises(BadInput) as caught:
        read_rules(rules)
    assert caught.value.code == "bad_rules"


@given(
    st.builds(
        TokenRules,
        stop=st.lists(st.text(st.characters(exclude_characters="\ufffd", codec="utf-8"), min_size=1, max_size=16)).map(
            lambda found: tuple(found[:4])
        ),
        seed=st.none() | st.integers(*BOUNDS["seed"]),
        top_p_ppm=st.integers(*BOUNDS["top_p_ppm"]),
        top_k=st.integers(*BOUNDS["top_k"]),
        presence_milli=st.integers(*BOUNDS["presence_milli"]),
        frequency_milli=st.integers(*BOUNDS["frequency_milli"]),
    )
)
def test_runner_reads_what_a_client_signs(rules: TokenRules) -> None:
    read = read_rules(rules.plain)
    assert (read.stops, read.seed, read.top_p_ppm, read.top_k) == (rules.stop, rules.seed, rules.top_p_ppm, rules.top_k)
    assert (read.presence_milli, read.frequency_milli) == (rules.presence_milli, rules.frequency_milli)
    assert read.draw_seed(b"\x07" * 32) == draw_seed(rules, b"\x07" * 32)


def test_input_that_holds_no_rules_has_none() -> None:
    for raw in (b"", b"[]", b'{"v":1,"rules":{"stop":["x"]}}', b'{"v":2,"rules":{"stop":5}}', b'{"v":2,"rules":[]}'):
        assert rules_of(raw) == TokenRules()
    assert rules_of(b'{"v":2,"rules":{"stop":["x"],"seed":3}}') == TokenRules(stop=("x",), seed=3)


def test_choices_of_one_request_have_seeds_of_their_own() -> None:
    rules = TokenRules(seed=5)
    found = [rules.of_choice(index) for index in range(8)]
    assert found[0] == rules
    assert len({each.seed for each in found}) == 8
    assert [rules.of_choice(index) for index in range(8)] == found
    assert TokenRules(stop=("x",)).of_choice(3) == TokenRules(stop=("x",))
