"""Engines: which run joins which one, in which order, and what becomes of it if the engine fails."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from executor.containers.ending import RunnerError
from executor.containers.transcript import Declined, Unsettled
from executor.scheduler.engine_scheduler import fit_in_time
from executor.scheduler.serving import EngineEnd
from protocol.errors import ExecutorError
from protocol.stages.execution import Outcome
from tests.support.scenes.engines import B, Machine, Market, Task, spec

LONG, SHORT, OTHER = spec("long", length=40), spec("short", length=5), spec("b", manifest=B)


async def test_a_job_joins_the_engine_that_is_at_work(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine())
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(LONG))
        await trio.sleep(10)
        jobs.start_soon(market.ask, Task(SHORT))
    assert market.ends == {SHORT: (15, Outcome.OK), LONG: (43, Outcome.OK)}
    assert market.joined() == ["start a", "join 0", "join 1"]
    assert market.scheduler.starts == 1


async def test_an_engine_stays_loaded_for_the_next_job_and_ends_after_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    market = Market(Machine(), keep_s=30)
    async with market.open():
        await market.ask(Task(SHORT))
        await trio.sleep(20)
        await market.ask(Task(spec("again", length=1)))
        assert market.joined() == ["start a", "join 0", "join 0"]
        await trio.sleep(29)
        assert market.scheduler.count() == (1, 0)
        await trio.sleep(2)
        assert market.scheduler.count() == (0, 0)
    assert market.joined()[-1] == "stop a"
    assert market.scheduler.ends == {EngineEnd.IDLE: 1}


async def test_no_engine_stays_where_the_machine_has_no_room(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine(room=0))
    async with market.open():
        await market.ask(Task(SHORT))
        await trio.testing.wait_all_tasks_blocked()
        assert market.scheduler.count() == (0, 0)
        assert market.scheduler.ends == {EngineEnd.NO_ROOM: 1}


async def test_a_run_of_another_model_has_its_turn_though_more_of_the_first_come(
    autojump_clock: trio.testing.MockClock,
) -> None:
    market = Market(Machine())
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(LONG))
        await trio.sleep(10)
        jobs.start_soon(market.ask, Task(OTHER))
        await trio.sleep(1)
        jobs.start_soon(market.ask, Task(SHORT))
    assert [market.ends[each][0] for each in (LONG, OTHER, SHORT)] == [43, 43 + 3 + 16, 43 + 3 + 16 + 5]


async def test_no_more_are_answered_side_by_side_than_allowed(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine(), at_once=2)
    async with market.open() as jobs:
        for number in range(3):
            jobs.start_soon(market.ask, Task(spec(str(number), length=10)))
    assert sorted(end for end, _ in market.ends.values()) == [13, 13, 23]


async def test_a_client_who_waits_goes_before_a_check(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine(), at_once=1)
    blocker, check = spec("blocker", manifest=B, length=10), spec("check")
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(blocker))
        await trio.sleep(4)
        jobs.start_soon(market.ask, Task(check, is_check=True))
        await trio.sleep(1)
        jobs.start_soon(market.ask, Task(SHORT))
    joins = [word for word in market.machine.said if word.startswith("token")]
    # Both join in one turn, the client first.
    assert joins[1:] == ["token 5", "token 16"]
    assert market.ends[check][0] == 18


async def test_a_check_is_not_kept_waiting_for_ever_by_clients(autojump_clock: trio.testing.MockClock) -> None:
    market, check = Market(Machine()), spec("check", manifest=B)
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(LONG))
        await trio.sleep(5)
        jobs.start_soon(market.ask, Task(check, is_check=True))
        for number in range(50):
            await trio.sleep(1)
            jobs.start_soon(market.ask, Task(spec(f"client {number}", length=5)))
    assert market.ends[check][0] <= 60


async def test_a_turn_ends_if_another_node_waits(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine(wanted=True)
    market = Market(machine)
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(LONG))
        await trio.sleep(20)
        jobs.start_soon(market.ask, Task(SHORT))
    # It would have joined at once.
    assert market.ends[SHORT][0] == 48


async def test_a_busy_engine_gives_its_slot_to_one_who_waits_for_it(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine()
    market = Market(machine)
    had_s = []

    async def want_a_slot() -> None:
        machine.wanted = True
        async with machine.slots:
            machine.wanted = False
            had_s.append(trio.current_time() - market.began)
            await trio.sleep(30)

    async with market.open() as jobs:
        for number in range(40):
            jobs.start_soon(market.ask, Task(spec(str(number), length=5)))
            if number == 1:
                jobs.start_soon(want_a_slot)
            await trio.sleep(2)
    # A turn of 10 s, and the end of the jobs in it.
    (at_s,) = had_s
    assert at_s <= 3 + 10 + 5 + 2
    assert all(outcome is Outcome.OK for _, outcome in market.ends.values())


@pytest.mark.parametrize(
    ("says", "ends"),
    [
        (lambda number, task: Declined(number, RunnerError("bad_messages", "")), Outcome.CLIENT),
        (lambda number, task: Unsettled(number), None),
    ],
    ids=["declined", "later"],
)
async def test_what_an_engine_says_of_a_job_ends_it(
    says: Any, ends: Outcome | None, autojump_clock: trio.testing.MockClock
) -> None:
    market = Market(Machine(says=says))
    async with market.open():
        await market.ask(Task(SHORT))
    assert market.ends == {SHORT: (8, ends)}


async def test_a_job_whose_outputs_are_damaged_is_not_settled(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine())
    async with market.open():
        await market.ask(Task(SHORT, fault=ExecutorError("there is no output")))
    assert market.ends == {SHORT: (8, None)}


async def test_the_end_of_an_engine_settles_nothing(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine())
    async with market.open() as jobs:
        for each in (LONG, SHORT):
            jobs.start_soon(market.ask, Task(each))
        await trio.sleep(5)
        market.machine.benches[0].stop()
        await trio.testing.wait_all_tasks_blocked()
        assert market.ends == {LONG: (5, None), SHORT: (5, None)}
        # The next one has a new engine.
        await market.ask(Task(spec("next", length=1)))
        assert market.scheduler.ends == {EngineEnd.FAILED: 1}
    assert market.scheduler.starts == 2


@pytest.mark.parametrize("how", ["broken", "deaf", "ends early"])
async def test_where_no_engine_can_be_had_a_run_is_left_to_itself(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    market = Market(Machine(is_broken=how == "broken", is_deaf=how == "deaf", is_unready=how == "ends early"))
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(SHORT))
        jobs.start_soon(market.ask, Task(LONG))
    assert [found for _, found in market.ends.values()] == [None, None]
    assert market.machine.slots.borrowed_tokens == 0


async def test_a_job_whose_time_is_over_leaves(autojump_clock: trio.testing.MockClock) -> None:
    market, hasty = Market(Machine()), spec("hasty", length=200, timeout_ms=20_000)
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(hasty))
        await trio.sleep(10)
        jobs.start_soon(market.ask, Task(SHORT))
    assert market.ends[hasty] == (23, Outcome.JOB)
    assert "leave 0" in market.machine.said


async def test_a_cancelled_job_leaves_and_its_number_is_free_again(autojump_clock: trio.testing.MockClock) -> None:
    market, scope = Market(Machine()), trio.CancelScope()

    async def ask_and_go() -> None:
        with scope:
            await market.ask(Task(LONG))

    async with market.open() as jobs:
        jobs.start_soon(ask_and_go)
        await trio.sleep(10)
        jobs.start_soon(market.ask, Task(SHORT))
        await trio.sleep(1)
        scope.cancel()
        await trio.sleep(1)
        jobs.start_soon(market.ask, Task(spec("next", length=1)))
    assert LONG not in market.ends
    assert market.joined() == ["start a", "join 0", "join 1", "leave 0", "join 0"]


async def test_an_engine_that_lets_no_job_go_is_ended(autojump_clock: trio.testing.MockClock) -> None:
    market, scope = Market(Machine(is_stubborn=True)), trio.CancelScope()

    async def ask_and_go() -> None:
        with scope:
            await market.ask(Task(spec("endless", length=1_000, timeout_ms=3_000_000)))

    async with market.open() as jobs:
        jobs.start_soon(ask_and_go)
        await trio.sleep(10)
        scope.cancel()
        await trio.sleep(25)
        assert market.scheduler.count() == (0, 0)
        assert market.scheduler.ends == {EngineEnd.STUCK: 1}
    assert market.machine.slots.borrowed_tokens == 0


async def test_unless_it_is_served_no_run_joins(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine())
    await market.ask(Task(SHORT))
    assert market.ends == {SHORT: (0, None)}


@pytest.mark.parametrize(("length", "fits"), [(272, True), (273, False)])
def test_jobs_share_their_time(length: int, fits: bool) -> None:
    # 272 steps of 110 ms for two are half of the minute that each was given.
    assert fit_in_time([LONG, spec("other", length=length)], 100) is fits


async def test_a_stopped_job_ends_in_its_engine_and_the_others_go_on(autojump_clock: trio.testing.MockClock) -> None:
    market, task = Market(Machine()), Task(LONG)
    async with market.open() as jobs:
        jobs.start_soon(market.ask, task)
        jobs.start_soon(market.ask, Task(SHORT))
        await trio.sleep(5)
        market.scheduler.shorten(task)
    assert market.ends == {LONG: (5, Outcome.OK), SHORT: (8, Outcome.OK)}
    assert sum(word.startswith("end") for word in market.machine.said) == 1


async def test_a_job_that_is_stopped_while_it_waits_is_told_as_it_joins(autojump_clock: trio.testing.MockClock) -> None:
    market, task = Market(Machine(), at_once=1), Task(LONG)
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(SHORT))
        await trio.sleep(1)
        jobs.start_soon(market.ask, task)
        await trio.sleep(1)
        task.is_shortened = True
        market.scheduler.shorten(task)
    assert market.ends[LONG] == (8, Outcome.OK)
    assert [word for word in market.machine.said if word.startswith(("join", "end"))] == ["join 0", "join 0", "end 0"]
