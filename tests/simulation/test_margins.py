"""The running margin through the shipped machines: it finds who passes every single check, and no honest node."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from protocol import effects as fx
from protocol import events as ev
from protocol.job import Stage
from protocol.judging.margins import HEAD_START, SequentialTest
from protocol.params import VCN
from protocol.stages.verification import MarginScores, Verdict
from tests.simulation.histories import crowd, drawn, later, requested, seated, settled, told
from tests.simulation.node import Node
from tests.simulation.scene import CHEAPER_PPM, CLASS, MANIFEST, NOISE, Work, ask, check_bytes
from tests.simulation.world import World
from tests.support.scenes.simulated_audits import ended, lost
from tests.support.scenes.simulated_jobs import network

STAKE = 20_000 * VCN
LARGE, SMALL = 2_000, 128
"""Tokens of a job worth three seats, and of one worth a single seat."""


def sold(jobs: int, work: Work, tokens: int = LARGE) -> World:
    """So many jobs one after the other, each in a batch of its own."""
    world = later(network(work=work), 3_000)
    requester = world.node("requester")
    for number in range(1, jobs + 1):
        requester.take(ask(number, max_new_tokens=tokens, now_ms=world.now_ms))
        settled(world, number)
    return world


def verdicts(world: World) -> list[Verdict]:
    found = {event.batch_id: event.verdict for event in told(world, ev.CaseResolved)}
    return list(found.values())


def running(world: World) -> SequentialTest:
    return world.chain.contracts.running.get((world.node("provider").address, CLASS), SequentialTest())


def test_an_adaptive_cheat_passes_single_cases_and_is_found_by_their_sum() -> None:
    world = sold(2, Work.ADAPTIVE)
    assert verdicts(world) == [Verdict.PASS, Verdict.SEVERE]
    assert all(min(event.scores) > 9_500 for event in told(world, ev.SeatRevealed)), "no check found anything"
    assert [job.stage for job in requested(world)] == [Stage.SPENDABLE, Stage.REFUNDED]
    slashed = {event.amount for event in told(world, ev.NodeSlashed)}
    assert slashed == {STAKE // 2}
    assert running(world) == SequentialTest(), "it has had its consequence"


def test_an_honest_node_is_never_found() -> None:
    world = sold(6, Work.HONEST)
    assert verdicts(world) == [Verdict.PASS] * 6
    assert {event.llr_millinats for event in told(world, ev.SeatRevealed)} == {-120}
    assert running(world) == SequentialTest(HEAD_START - 6 * 120, HEAD_START - 6 * 120)


def test_a_cheat_that_stays_in_small_cases_has_three_seats_look_at_them() -> None:
    world = sold(2, Work.ADAPTIVE, SMALL)
    assert verdicts(world) == [Verdict.PASS, Verdict.SEVERE]
    seats = [len(event.seats) for event in dict.fromkeys(told(world, ev.CaseConvened))]
    assert seats == [1] * len(seats)
    assert told(world, ev.SeatAdded)


def crooked(table: MarginScores) -> World:
    """A case that passes and is audited, whose first seat weighs margins in its own way."""
    world = crowd()
    world.run(lambda: bool(told(world, ev.CaseConvened)))
    known = seated(world)[0].machine.member.calibrations
    known[MANIFEST.cid, CLASS] = replace(NOISE, margins=table)
    return drawn(world)


@pytest.mark.parametrize("said", [-2_000, 1_700, 0])
def test_a_seat_that_says_something_else_than_it_computed_is_caught_by_an_audit(said: int) -> None:
    world = crooked(MarginScores((), (said,)))
    assert {event.llr_millinats for event in told(world, ev.SeatRevealed) if event.seat == 0} == {3 * said}
    assert ended(world).caught == (0,)
    assert lost(world)[1:] == [0, 0]
    assert running(world) == SequentialTest(HEAD_START - 120, HEAD_START - 120), "the other two outvoted it"


def test_a_seat_that_makes_up_margins_is_caught_by_an_audit() -> None:
    world = crowd()
    world.run(lambda: bool(told(world, ev.CaseConvened)))
    seat = seated(world)[0]
    perform = seat.perform

    def make_up(who: Node, effect: fx.Effect, answer: Callable[[ev.Event], None]) -> None:
        if isinstance(effect, fx.ReplaySample):
            check = check_bytes(3, Work.HONEST, CHEAPER_PPM)
            answer(ev.SampleReplayed(effect.batch_id, effect.leaf_index, check, ""))
        else:
            perform(who, effect, answer)

    seat.perform = make_up
    drawn(world)
    assert {event.llr_millinats for event in told(world, ev.SeatRevealed) if event.seat == 0} == {6_000}
    assert ended(world).caught == (0,)
