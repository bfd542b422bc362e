"""What is done about a card: heat, errors, leaks, other programs, and limits of its owner, at simulated times."""

from __future__ import annotations

from typing import Any

import pytest

from executor.cards.card import FIXES, Card, CardFacts, CardFault, CardProcess, Throttle
from executor.cards.care import (
    FRESH,
    LEAK_AFTER_S,
    LEAK_BYTES,
    MOVE_AFTER_S,
    CardContainer,
    CardDecision,
    CardState,
    JobEnd,
    OwnerLimits,
    TroubleKind,
    decide,
)

GIB = 1 << 30
FACTS = CardFacts("GPU-1", 0, "A card", 24 * GIB, (8, 9))
JOB = CardContainer("c" * 64, "ab", 8 * GIB, 4 * GIB)
FOREIGN = CardProcess(4711, 2 * GIB)
ONLY_IDLE = OwnerLimits(only_idle=True)


def card(**changes: Any) -> Card:
    values = {"temperature_c": 60, "used_bytes": 4 * GIB, "processes": (CardProcess(7, 4 * GIB),), **changes}
    return Card(FACTS, **values)


def looked(
    now: Card,
    *containers: CardContainer,
    foreign: tuple[CardProcess, ...] = (),
    limits: OwnerLimits | None = None,
    state: CardState = FRESH,
    now_s: float = 100.0,
) -> CardDecision:
    return decide(state, now, containers, foreign, limits or OwnerLimits(), now_s)


def kinds(decision: CardDecision) -> list[str]:
    return [trouble.kind.value for trouble in decision.troubles]


def test_a_card_in_order_is_left_alone() -> None:
    decision = looked(card(), JOB)
    assert decision == CardDecision(FRESH, (), is_usable=True, is_stopped=False)


def test_over_85_it_is_stopped_until_it_is_under_75() -> None:
    state, stopped = FRESH, []
    for temperature_c in (85, 86, 80, 75, 74, 80):
        decision = looked(card(temperature_c=temperature_c), JOB, state=state)
        state = decision.state
        assert decision.is_usable is not decision.is_stopped
        stopped.append(decision.is_stopped)
    assert stopped == [False, True, True, True, False, False]


def test_a_hot_card_says_what_is_done_about_it() -> None:
    (trouble,) = looked(card(temperature_c=91)).troubles
    assert trouble.kind is TroubleKind.HOT
    assert "91 C" in trouble.words
    assert "paused until it is under 75 C" in trouble.words
    assert "executor.gpu_power" in trouble.fix


def test_a_job_moves_when_its_card_was_hot_for_as_long_as_it_can_wait() -> None:
    state = looked(card(temperature_c=90), JOB, now_s=100.0).state
    early = looked(card(temperature_c=90), JOB, state=state, now_s=100.0 + MOVE_AFTER_S - 0.1)
    assert early.ended == ()
    late = looked(card(temperature_c=90), JOB, state=early.state, now_s=100.0 + MOVE_AFTER_S)
    assert late.ended == (("ab", JobEnd.STOPPED),)


def test_a_card_that_cooled_down_meanwhile_begins_anew() -> None:
    hot = looked(card(temperature_c=90), JOB, now_s=0.0)
    cool = looked(card(temperature_c=60), JOB, state=hot.state, now_s=10.0)
    again = looked(card(temperature_c=90), JOB, state=cool.state, now_s=20.0)
    assert again.state.stopped_s == 20.0
    assert again.ended == ()


def test_a_card_without_a_thermometer_is_never_hot() -> None:
    assert looked(card(temperature_c=None)).is_usable


@pytest.mark.parametrize("fault", list(CardFault))
def test_every_fault_is_named_with_a_fix_and_takes_no_new_job(fault: CardFault) -> None:
    decision = looked(Card(FACTS, fault=fault), JOB)
    (trouble,) = decision.troubles
    assert (trouble.kind, trouble.fix) == (fault, FIXES[fault])
    assert not decision.is_usable


def test_a_lost_card_loses_its_jobs_at_once_and_one_that_hangs_after_a_while() -> None:
    lost, hangs = Card(FACTS, fault=CardFault.LOST), Card(FACTS, fault=CardFault.HANGS)
    assert looked(lost, JOB).ended == (("ab", JobEnd.LOST),)
    first = looked(hangs, JOB, now_s=0.0)
    assert first.ended == ()
    assert looked(hangs, JOB, state=first.state, now_s=MOVE_AFTER_S).ended == (("ab", JobEnd.STOPPED),)


def test_a_hot_card_that_hangs_stays_paused() -> None:
    hot = looked(card(temperature_c=90), JOB)
    assert looked(Card(FACTS, fault=CardFault.HANGS), JOB, state=hot.state).is_stopped


def test_errors_of_memory_end_the_jobs_that_they_may_have_spoilt_and_keep_new_ones_away() -> None:
    spoilt = looked(card(ecc_uncorrected=1), JOB)
    assert (spoilt.ended, spoilt.is_usable, kinds(spoilt)) == ((("ab", JobEnd.LOST),), False, ["ecc"])
    # Told once; the card stays out until it is reset.
    later = looked(card(ecc_uncorrected=1), JOB, state=spoilt.state)
    assert (later.ended, later.is_usable) == ((), False)
    assert looked(card(ecc_uncorrected=0), state=later.state).is_usable


def test_a_job_over_its_share_is_ended_and_the_others_are_not() -> None:
    greedy = CardContainer("d" * 64, "cd", 8 * GIB, 8 * GIB + 1)
    assert looked(card(), JOB, greedy).ended == (("cd", JobEnd.OVER_SHARE),)


def test_memory_that_no_process_has_is_a_leak_after_a_while() -> None:
    leaking = card(used_bytes=4 * GIB + LEAK_BYTES + 1)
    first = looked(leaking, now_s=0.0)
    assert kinds(first) == []
    assert kinds(looked(leaking, state=first.state, now_s=LEAK_AFTER_S)) == ["leak"]
    over = looked(card(), state=first.state, now_s=LEAK_AFTER_S)
    assert (kinds(over), over.state.leak_s) == ([], None)


def test_no_leak_is_seen_where_the_driver_does_not_tell_what_each_process_has() -> None:
    unknown = card(used_bytes=20 * GIB, processes=(CardProcess(7, None),))
    assert looked(unknown, now_s=0.0).state.leak_s is None


def test_foreign_processes_are_named_and_stop_nothing_unless_the_owner_wants_the_card_idle() -> None:
    shared = looked(card(), JOB, foreign=(FOREIGN,))
    assert (kinds(shared), shared.is_stopped, shared.is_usable) == (["foreign"], False, True)
    assert "2048 MiB" in shared.troubles[0].words
    assert "pid 4711" in shared.troubles[0].words
    assert "executor.only_idle" in shared.troubles[0].fix
    mine = looked(card(), JOB, foreign=(FOREIGN,), limits=ONLY_IDLE, now_s=0.0)
    assert (kinds(mine), mine.is_stopped, mine.is_usable) == (["foreign", "busy"], True, False)
    moved = looked(card(), JOB, foreign=(FOREIGN,), limits=ONLY_IDLE, state=mine.state, now_s=MOVE_AFTER_S)
    assert moved.ended == (("ab", JobEnd.STOPPED),)


def test_utilisation_means_the_owner_only_while_no_job_runs_there() -> None:
    busy = card(utilisation=60)
    paused = CardContainer("c" * 64, "ab", 8 * GIB, 4 * GIB, is_paused=True)
    assert not looked(busy, JOB, limits=ONLY_IDLE).is_stopped
    assert looked(busy, limits=ONLY_IDLE).is_stopped
    assert looked(busy, paused, limits=ONLY_IDLE).is_stopped
    assert not looked(card(utilisation=9), limits=ONLY_IDLE).is_stopped
    assert not looked(busy).is_stopped


@pytest.mark.parametrize(
    ("throttle", "kind"),
    [(Throttle.HEAT, "throttled"), (Throttle.HARDWARE, "throttled"), (Throttle.POWER_CAP, "power_capped")],
)
def test_lowered_clocks_are_named_and_leave_the_card_in_use(throttle: Throttle, kind: str) -> None:
    slow = looked(card(throttles=frozenset({throttle}), power_limit_mw=200_000))
    assert (kinds(slow), slow.is_usable) == ([kind], True)


def test_a_card_with_less_memory_than_its_owner_keeps_free_says_so() -> None:
    limits = OwnerLimits(reserve_bytes=21 * GIB)
    assert kinds(looked(card(), limits=limits)) == ["reserve"]
    assert kinds(looked(card(used_bytes=0, processes=()), limits=limits)) == []
