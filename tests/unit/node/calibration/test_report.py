"""The table: who does not pass, by which constants, and where two nodes' tables differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from node.calibration.answers import WHOLE
from node.calibration.plan import HONEST
from node.calibration.report import differences, held_out, proposed, rates, uncompared, widened
from protocol.stages.verification import Calibration, Tolerance
from tests.unit.node.calibration.made import CLASS, answers, part, row

CONSTANTS = Calibration(
    Tolerance(30_000, 40_000), Tolerance(30_000, 40_000), Tolerance(10_000, 20_000), Tolerance(1_000_000, 2_000_000)
)


def counted(found: list[Any]) -> dict[tuple[str, str], tuple[int, int, int]]:
    return {(each.variant, each.length): (each.n, each.not_passed, each.failed) for each in found}


def test_answers_are_counted_by_what_their_score_says() -> None:
    given = answers(part(), [row(0), row(1, act=35_000), row(2, act=90_000), row(3, worst=2_500_000)])
    assert counted(rates(given, {CLASS: CONSTANTS})) == {
        (HONEST, "16"): (4, 3, 2),
        (HONEST, "64"): (4, 3, 2),
        (HONEST, WHOLE): (4, 3, 2),
    }


def test_a_cheap_model_comes_with_its_own_fingerprint_and_with_a_true_one() -> None:
    found = counted(rates(answers(part("int8_block"), [row(0, act=90_000)]), {CLASS: CONSTANTS}))
    assert found["int8_block", "64"] == (1, 1, 1)
    assert found["adaptive int8_block", "64"] == (1, 0, 0)


def test_forced_end_is_judged_as_the_short_answer_it_is() -> None:
    (given,) = answers(part("forced_eos"), [row(0)])
    assert given.cuts["64"].tokens == 8
    assert counted(rates([given], {CLASS: CONSTANTS})).keys() == {("forced_eos", "16"), ("forced_eos", "64")}


def test_another_class_is_judged_by_the_wider_tolerances_of_the_worker() -> None:
    given = answers(part(checker=1), [row(0, act=43_000), row(1, act=46_000)])
    assert widened(CONSTANTS).act == Tolerance(45_000, 60_000)
    assert counted(rates(given, {CLASS: CONSTANTS}))[HONEST, WHOLE] == (2, 1, 0)


def test_class_without_constants_has_no_rates() -> None:
    assert rates(answers(part(), [row(0)]), {1: CONSTANTS}) == []


def test_held_out_prompts_confirm_what_the_others_gave() -> None:
    given = answers(part(), [row(n, act=20_000 + n) for n in range(8)])
    kept = [each for each in given if each.is_held_out]
    assert 0 < len(kept) < len(given)
    made = proposed(given, CLASS)
    assert held_out(given, CLASS, made) == (len(kept), 0)
    far = answers(part(), [row(each.number, act=200_000) for each in kept])
    assert proposed([*given, *far], CLASS) == made
    assert held_out([*given, *far], CLASS, made) == (2 * len(kept), len(kept))


def test_rates_come_with_their_exact_interval() -> None:
    (rate,) = [
        each for each in rates(answers(part(), [row(n) for n in range(10)]), {CLASS: CONSTANTS}) if each.length == WHOLE
    ]
    assert rate.plain()["share_ppm"] == 0
    assert rate.plain()["interval_ppm"] == [0, 308_497]


def told(not_passed: int, n: int = 100, **changed: Any) -> dict[str, Any]:
    where = {"worker": 2, "checker": 2, "variant": "noise", "temperature_milli": 0, "length": "64"}
    rows = [{**where, "n": n, "not_passed": not_passed}]
    return {
        "manifest": "aa",
        "runtime": "bb",
        "runs": 1_500,
        "substitutes": 9,
        "lengths": [16],
        "rates": rows,
        **changed,
    }


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (told(97), []),
        (told(60), ["class 2, noise at 0.0, 64 tokens: 99 of 100 did not pass here, 60 of 100 there"]),
        (told(99, runtime="cc"), ["runtime: bb here, cc there"]),
        (told(99, rates=[]), []),
    ],
)
def test_nodes_differ_where_chance_does_not_explain_it(theirs: Mapping[str, Any], words: list[str]) -> None:
    assert differences(told(99), theirs) == words


def test_what_only_one_has_measured_is_no_difference_and_told() -> None:
    assert uncompared(told(99), told(99, rates=[])) == ["class 2, noise at 0.0, 64 tokens"]
    assert uncompared(told(99), told(99)) == []


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(KeyError):
        differences(told(99), {"manifest": "aa"})
