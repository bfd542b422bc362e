"""docs/economics.md shows what the rules make of it, and no attack gains by them but where the page says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.contracts.profiles import profiles
from protocol.params import BONUS_PERCENT, PRICE_PER_STAKE, SCORE_MAX, VCN
from protocol.stages.assignment import bonus_cap, verify_fee
from protocol.stages.settlement import split
from scripts import economics

TESTNET = profiles()["testnet"]
SLASHING = sorted(name for name, profile in profiles().items() if profile.slash_bps)
PAGE = economics.PAGE.read_text("utf-8")


def test_the_page_shows_every_table_as_the_rules_make_it() -> None:
    assert economics.refreshed(PAGE, TESTNET) == PAGE
    for name, make in economics.TABLES.items():
        assert f"<!-- table: {name} -->\n{make(TESTNET).markdown()}" in PAGE


@pytest.mark.parametrize("profile", SLASHING)
@pytest.mark.parametrize("attack", ["wash_trade", "wash_checked", "cheat", "whole_stake"])
def test_an_attack_loses_wherever_stakes_are_slashed(profile: str, attack: str) -> None:
    gains = economics.TABLES[attack](profiles()[profile]).gains
    assert gains
    assert max(gains) < 0


@pytest.mark.parametrize("profile", SLASHING)
@pytest.mark.parametrize("table", ["laziness", "laziness_checked"])
def test_a_seat_that_only_says_yes_loses_by_the_cases_of_the_page(profile: str, table: str) -> None:
    assert max(economics.TABLES[table](profiles()[profile]).gains) < 0


@pytest.mark.parametrize("profile", SLASHING)
def test_only_two_fifths_of_the_seats_gain_and_only_before_one_seat(profile: str) -> None:
    table = economics.collusion(profiles()[profile])
    cells = [(row[0], bench) for row in table.rows for bench in ("one seat", "three seats")]
    assert [cell for cell, gain in zip(cells, table.gains, strict=True) if gain > 0] == [("40%", "one seat")]


def test_without_a_slash_a_cheat_gains_and_the_page_says_so() -> None:
    unslashed = [profile for profile in profiles().values() if not profile.slash_bps]
    for profile in unslashed:
        assert max(economics.cheat(profile).gains) > 0
        assert f"On the `{profile.name}` profile\nnothing is slashed" in PAGE


@given(
    price=st.integers(1, 10**30),
    score=st.integers(0, SCORE_MAX),
    bonus=st.integers(0, 100),
    share=st.fractions(0, 1),
    checked=st.booleans(),
)
def test_trading_with_oneself_burns_a_tenth_whatever_one_holds(
    price: int, score: int, bonus: int, share, checked: bool
) -> None:
    fee, bonus = verify_fee(price, checked=checked), bonus_cap(price) * bonus // 100
    paid = split(price, fee, bonus, score)
    back = paid.reward + paid.bonus + share * fee
    assert back <= price + fee + bonus - paid.burned
    assert paid.burned * 10 >= price


@given(caught=st.floats(0, 1), part=st.integers(PRICE_PER_STAKE, 10**6))
def test_a_cheat_gains_less_the_more_often_it_is_caught_and_the_cheaper_its_jobs(caught: float, part: int) -> None:
    stake = 1_000 * VCN
    price = stake // part
    gain = economics.cheat_gain(price, stake, 5_000, caught)
    assert gain >= economics.cheat_gain(price, stake, 5_000, min(1.0, caught + 0.01))
    assert gain <= price * (90 + BONUS_PERCENT) / 100


@given(share=st.floats(0, 1))
def test_more_seats_find_no_less(share: float) -> None:
    assert economics.found_by_three(share) >= economics.found_by_one(share) - 1e-12
