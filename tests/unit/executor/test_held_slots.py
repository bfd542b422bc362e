"""Two engines of one model, one that answers and one that checks, share a slot, and no other run waits longer."""

from __future__ import annotations

import trio
import trio.testing

from executor.runs.engines import LLAMA, TORCH
from protocol.stages.execution import Outcome
from tests.support.scenes.engines import B, Machine, Market, Task, spec

LONG, SHORT, OTHER = spec("long", length=40), spec("short", length=5), spec("b", manifest=B)
CHECK, LATER = spec("check"), spec("later", length=4)


def checking() -> Task:
    return Task(CHECK, is_check=True, engine=TORCH)


async def test_a_check_by_another_engine_waits_for_no_answer(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine())
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(LONG, engine=LLAMA))
        await trio.sleep(10)
        jobs.start_soon(market.ask, checking())
        await trio.sleep(1)
        # Its engine is being loaded: those who answer go on taking runs in.
        jobs.start_soon(market.ask, Task(SHORT, engine=LLAMA))
    assert [market.ends[each][0] for each in (CHECK, SHORT, LONG)] == [10 + 3 + 2, 11 + 5, 43]
    assert market.scheduler.starts == 2


async def test_an_answer_is_begun_while_the_other_engine_checks(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine())
    async with market.open() as jobs:
        await market.ask(Task(SHORT, engine=LLAMA))
        jobs.start_soon(market.ask, checking())
        await trio.sleep(4)
        jobs.start_soon(market.ask, Task(LATER, engine=LLAMA))
    # 8 s are over when the check comes; its engine loads until 11 and it ends at 13.
    assert (market.ends[CHECK][0], market.ends[LATER][0]) == (13, 12 + 4)


async def test_another_model_has_the_slot_when_both_are_done(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine())
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(LONG, engine=LLAMA))
        await trio.sleep(10)
        jobs.start_soon(market.ask, Task(OTHER, engine=LLAMA))
        await trio.sleep(6)
        # It comes after the run of the other model, so it does not join the slot that this one waits for.
        jobs.start_soon(market.ask, checking())
    assert [market.ends[each][0] for each in (LONG, OTHER, CHECK)] == [43, 43 + 3 + 16, 43 + 3 + 16 + 3 + 2]


async def test_a_slot_that_another_node_wants_takes_no_more_engines_in(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine(wanted=True))
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(LONG, engine=LLAMA))
        await trio.sleep(20)
        jobs.start_soon(market.ask, checking())
    assert (market.ends[LONG][0], market.ends[CHECK][0]) == (43, 43 + 3 + 2)


async def test_engines_of_two_classes_share_no_slot(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine())
    other_class = spec("other class", class_id=1, length=5)
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(LONG, engine=LLAMA))
        await trio.sleep(10)
        jobs.start_soon(market.ask, Task(other_class, engine=TORCH))
    assert market.ends[other_class][0] == 43 + 3 + 5


async def test_torch_runs_a_model_that_llama_cpp_does_not_know(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine(unfit=LLAMA))
    async with market.open():
        await market.ask(Task(SHORT, engine=LLAMA))
        await market.ask(Task(LATER, engine=LLAMA))
    assert [market.ends[each][1] for each in (SHORT, LATER)] == [Outcome.OK] * 2
    # It is tried once.
    assert [bench.key.engine for bench in market.machine.benches] == [LLAMA, TORCH]
