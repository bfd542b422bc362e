"""Engines: which run joins which one, in which order, and what becomes of it if the engine fails."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from executor.containers.ending import RunnerError
from executor.containers.transcript import Answered, Declined, Ready, RunnerEvent, Tokens, Unsettled
from executor.runs.context import EngineKey
from executor.runs.engines import TORCH
from executor.scheduler.engine_scheduler import EngineScheduler, fit_in_time
from protocol.errors import ExecutorError
from protocol.stages.execution import Outcome, RunResult, RunSpec, failed
from protocol.stages.request import GENERATE

A, B = b"a" * 32, b"b" * 32
LOAD_S = 3.0


def spec(name: str, *, manifest: bytes = A, class_id: int = 2, length: int = 16, timeout_ms: int = 60_000) -> RunSpec:
    job = hashlib.sha256(name.encode()).digest()
    return RunSpec(job, manifest, class_id, length, 0, bytes(32), 1 << 30, timeout_ms, GENERATE)


@dataclass(eq=False)
class Task:
    """A job that takes a second a token, or a check that takes two seconds."""

    spec: RunSpec
    is_check: bool = False
    kind: str = "generate"
    engine: str = TORCH
    inputs: dict[str, bytes] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    home: Path = Path()
    begun: int = 0
    damaged: bool = False

    def begin(self) -> None:
        self.begun += 1

    def new_tokens(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        return ids

    def settle(self, duration_ms: int) -> tuple[RunResult, bytes]:
        if self.damaged:
            raise ExecutorError("there is no output")
        return RunResult(Outcome.OK, "", self.spec.job_id, bytes(32), 1, "length", duration_ms), b""

    def decline(self, error: RunnerError) -> tuple[RunResult, bytes]:
        return failed(Outcome.CLIENT, error.code), b""

    def time_out(self, duration_ms: int) -> tuple[RunResult, bytes]:
        return failed(Outcome.JOB, "timeout"), b""


@dataclass(eq=False)
class Bench:
    """An engine without a container. It says what its machine's `says` wants of a job."""

    id: bytes
    key: EngineKey
    machine: Machine
    nursery: trio.Nursery | None = None
    hear: Callable[[RunnerEvent], Awaitable[None]] | None = None
    jobs: dict[int, trio.CancelScope] = field(default_factory=dict)

    def run(self, on_event: Callable[[RunnerEvent], None]) -> object:
        raise AssertionError("the machine runs it")

    def stop(self) -> None:
        self.machine.said.append(f"stop {self.key[0][:1].decode()}")
        assert self.nursery is not None
        self.nursery.cancel_scope.cancel()

    def join(self, number: int, task: Any) -> None:
        assert self.nursery is not None
        if self.machine.is_deaf:
            raise ExecutorError("it does not listen")
        self.machine.said.append(f"join {number}")
        self.jobs[number] = trio.CancelScope()
        self.nursery.start_soon(self._answer, number, task)

    def leave(self, number: int) -> None:
        self.machine.said.append(f"leave {number}")
        if not self.machine.is_stubborn:
            self.jobs[number].cancel()

    def take(self, number: int, task: Any) -> None:
        self.machine.said.append(f"take {number}")

    async def _answer(self, number: int, task: Task) -> None:
        assert self.hear is not None
        with self.jobs[number]:
            await self.hear(Tokens((7,), number))
            await trio.sleep(2 if task.is_check else task.spec.max_new_tokens)
            await self.hear(self.machine.says(number, task))
            return
        await self.hear(Unsettled(number))


@dataclass(eq=False)
class Machine:
    """A machine of one slot, which other nodes of it want while `wanted`."""

    wanted: bool = False
    is_deaf: bool = False
    is_stubborn: bool = False
    is_full: bool = False
    is_broken: bool = False
    is_short: bool = False
    said: list[str] = field(default_factory=list)
    slots: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
    says: Callable[[int, Task], RunnerEvent] = lambda number, task: Answered(number, 1000, 1)
    benches: list[Bench] = field(default_factory=list)

    def start(self, key: EngineKey) -> Bench:
        if self.is_broken:
            raise ExecutorError("there is no such model")
        self.said.append(f"start {key[0][:1].decode()}")
        self.benches.append(Bench(bytes([len(self.benches)]), key, self))
        return self.benches[-1]

    async def live(self, engine: Bench, hear: Callable[[RunnerEvent], Awaitable[None]]) -> None:
        if self.is_short:
            await trio.sleep(LOAD_S)
            raise ExecutorError("its container could not be started")
        async with trio.open_nursery() as nursery:
            engine.nursery, engine.hear = nursery, hear
            await trio.sleep(LOAD_S)
            await hear(Ready())
            await trio.sleep_forever()

    async def call(self, function: Callable[[], Any]) -> Any:
        await trio.lowlevel.checkpoint()
        return function()

    @asynccontextmanager
    async def slot(self, *, is_check: bool) -> AsyncIterator[None]:
        async with self.slots:
            yield

    def is_wanted(self) -> bool:
        return self.wanted

    def may_wait(self, engine: Bench) -> bool:
        return not self.is_full


class Market:
    """A scheduler and those who ask it; `ends` has when each ended, in seconds after the start, and how."""

    def __init__(self, machine: Machine, at_once: int = 4, keep_s: float = 600) -> None:
        self.machine = machine
        self.scheduler = EngineScheduler(machine, at_once, keep_s, ms_per_token=100)
        self.ends: dict[RunSpec, tuple[float, Any]] = {}
        self.began = trio.current_time()

    async def ask(self, task: Task) -> None:
        async def on_tokens(ids: tuple[int, ...]) -> None:
            self.machine.said.append(f"token {task.spec.max_new_tokens}")

        found = await self.scheduler.run(task, on_tokens)
        self.ends[task.spec] = (trio.current_time() - self.began, found and found[0].outcome)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[trio.Nursery]:
        async with trio.open_nursery() as house:
            house.start_soon(self.scheduler.serve)
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as jobs:
                yield jobs
            house.cancel_scope.cancel()

    def joined(self) -> list[str]:
        return [word for word in self.machine.said if not word.startswith(("token", "take"))]


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


async def test_no_engine_stays_where_the_machine_has_no_room(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine(is_full=True))
    async with market.open():
        await market.ask(Task(SHORT))
        await trio.testing.wait_all_tasks_blocked()
        assert market.scheduler.count() == (0, 0)


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
        await market.ask(Task(SHORT, damaged=True))
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
    assert market.scheduler.starts == 2


@pytest.mark.parametrize("how", ["broken", "deaf", "ends early"])
async def test_where_no_engine_can_be_had_a_run_is_left_to_itself(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    market = Market(Machine(is_broken=how == "broken", is_deaf=how == "deaf", is_short=how == "ends early"))
    async with market.open() as jobs:
        jobs.start_soon(market.ask, Task(SHORT))
        jobs.start_soon(market.ask, Task(LONG))
    assert [found for _, found in market.ends.values()] == [None, None]
    assert market.machine.slots.borrowed_tokens == 0


async def test_a_job_whose_time_is_over_leaves(autojump_clock: trio.testing.MockClock) -> None:
    market, hasty = Market(Machine()), spec("hasty", length=100, timeout_ms=20_000)
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
            await market.ask(Task(spec("endless", length=1_000, timeout_ms=10_000_000)))

    async with market.open() as jobs:
        jobs.start_soon(ask_and_go)
        await trio.sleep(10)
        scope.cancel()
        await trio.sleep(25)
        assert market.scheduler.count() == (0, 0)
    assert market.machine.slots.borrowed_tokens == 0


async def test_unless_it_is_served_no_run_joins(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(Machine())
    await market.ask(Task(SHORT))
    assert market.ends == {SHORT: (0, None)}


@pytest.mark.parametrize(("length", "fits"), [(272, True), (273, False)])
def test_jobs_share_their_time(length: int, fits: bool) -> None:
    # 272 steps of 110 ms for two are half of the minute that each was given.
    assert fit_in_time([LONG, spec("other", length=length)], 100) is fits
