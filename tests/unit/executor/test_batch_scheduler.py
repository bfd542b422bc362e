"""Batches of runs: jobs that share a container, and what each of them may still do by itself."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from executor.runs.generation import PendingRun
from executor.scheduler.batch_scheduler import BatchScheduler, Ended, OnTokens, QueuedRun, pick_batch
from protocol.stages.execution import Outcome, RunResult, RunSpec
from protocol.stages.request import EMBED, GENERATE

A, B = b"a" * 32, b"b" * 32


def spec(name: str, *, manifest: bytes = A, class_id: int = 2, length: int = 16, kind: int = GENERATE) -> RunSpec:
    job = hashlib.sha256(name.encode()).digest()
    return RunSpec(job, manifest, class_id, length, 0, bytes(32), 1 << 30, 60_000, kind)


def pending(spec: RunSpec) -> PendingRun:
    """All that is asked of a run here is its spec."""
    found: Any = SimpleNamespace(spec=spec)
    return found


def ended(spec: RunSpec) -> Ended:
    return RunResult(Outcome.OK, "", spec.job_id, bytes(32), spec.max_new_tokens, "length", 1), b""


async def nobody_hears(ids: tuple[int, ...]) -> None: ...


class Machine:
    """One turn. A container by itself takes 10 s, a shared one a second a token; `unsettled` are left over by it."""

    def __init__(self, at_once: int = 4, unsettled: Sequence[RunSpec] = ()) -> None:
        self.ran: list[tuple[RunSpec, ...]] = []
        self.holding = trio.CapacityLimiter(1)
        self.unsettled = set(unsettled)
        self.stopped: list[tuple[RunSpec, ...]] = []
        self.scheduler = BatchScheduler(self.alone, self.together, self.turn, at_once)
        self.scheduler.ms_per_token = 100
        self.ends: dict[RunSpec, float] = {}

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        holder = object()
        await self.holding.acquire_on_behalf_of(holder)
        try:
            yield
        finally:
            self.holding.release_on_behalf_of(holder)

    async def alone(self, run: PendingRun, on_tokens: OnTokens) -> Ended:
        self.ran.append((run.spec,))
        await trio.sleep(10)
        return ended(run.spec)

    async def together(self, batch: Sequence[QueuedRun]) -> None:
        specs = tuple(queued.run.spec for queued in batch)
        self.ran.append(specs)
        try:
            for queued in sorted(batch, key=lambda queued: queued.run.spec.max_new_tokens):
                await trio.sleep_until(start_of(self) + queued.run.spec.max_new_tokens)
                if queued.run.spec not in self.unsettled:
                    queued.settle(ended(queued.run.spec))
        except trio.Cancelled:
            self.stopped.append(specs)
            raise

    async def ask(self, wanted: RunSpec, *, alone: bool = False) -> None:
        result, _ = await self.scheduler.run(pending(wanted), nobody_hears, alone=alone)
        assert result.result_hash == wanted.job_id
        self.ends[wanted] = trio.current_time() - self.began

    began = 0.0


def start_of(machine: Machine) -> float:
    return machine.began + 10


@asynccontextmanager
async def market(machine: Machine, *, served: bool = True) -> AsyncIterator[trio.Nursery]:
    """The asker of jobs; it ends when all have ended."""
    async with trio.open_nursery() as house:
        if served:
            house.start_soon(machine.scheduler.serve)
            await trio.testing.wait_all_tasks_blocked()
        machine.began = trio.current_time()
        async with trio.open_nursery() as nursery:
            yield nursery
        house.cancel_scope.cancel()


FIRST, SHORT, LONG, OTHER = spec("first"), spec("short", length=5), spec("long", length=40), spec("b", manifest=B)


async def test_a_job_that_finds_a_turn_free_has_its_container_for_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    machine = Machine()
    async with market(machine) as jobs:
        jobs.start_soon(machine.ask, FIRST)
    assert machine.ran == [(FIRST,)]


async def test_jobs_that_wait_go_along_and_each_ends_when_its_answer_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    machine = Machine()
    async with market(machine) as jobs:
        for each in (FIRST, LONG, OTHER, SHORT):
            jobs.start_soon(machine.ask, each)
            await trio.testing.wait_all_tasks_blocked()
    # The one of another model has the turn after that.
    assert machine.ran == [(FIRST,), (LONG, SHORT), (OTHER,)]
    assert machine.ends == {FIRST: 10, SHORT: 15, LONG: 50, OTHER: 60}


async def test_what_a_shared_container_does_not_settle_is_run_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    machine = Machine(unsettled=[SHORT, LONG])
    third = spec("third", length=20)
    async with market(machine) as jobs:
        for each in (FIRST, LONG, SHORT, third):
            jobs.start_soon(machine.ask, each)
            await trio.testing.wait_all_tasks_blocked()
    assert machine.ran[:2] == [(FIRST,), (LONG, SHORT, third)]
    assert sorted(machine.ran[2:], key=lambda ran: ran[0].job_id) == sorted(
        [(SHORT,), (LONG,)], key=lambda ran: ran[0].job_id
    )
    assert machine.ends[third] == 30


async def test_a_container_is_as_large_as_allowed_and_the_rest_waits(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine(at_once=2)
    others = [spec(str(number)) for number in range(5)]
    async with market(machine) as jobs:
        for each in (FIRST, *others):
            jobs.start_soon(machine.ask, each)
            await trio.testing.wait_all_tasks_blocked()
    assert [len(ran) for ran in machine.ran] == [1, 2, 2, 1]


async def test_who_is_called_off_leaves_the_others_alone(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine()
    leader = trio.CancelScope()

    async def ask_for_the_leader() -> None:
        with leader:
            await machine.ask(LONG)

    async with market(machine) as jobs:
        for start in (lambda: jobs.start_soon(machine.ask, FIRST), lambda: jobs.start_soon(ask_for_the_leader)):
            start()
            await trio.testing.wait_all_tasks_blocked()
        jobs.start_soon(machine.ask, SHORT)
        await trio.sleep(12)
        leader.cancel()
    assert machine.ran == [(FIRST,), (LONG, SHORT)]
    assert (machine.ends[SHORT], LONG in machine.ends) == (15, False)
    # With the last one that is waited for, its container goes, too.
    assert machine.stopped == [(LONG, SHORT)]


async def test_nothing_stays_behind_when_all_are_called_off(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine()
    async with market(machine) as jobs:
        for each in (FIRST, LONG, SHORT, OTHER):
            jobs.start_soon(machine.ask, each)
        await trio.sleep(12)
        jobs.cancel_scope.cancel()
    assert machine.holding.borrowed_tokens == 0
    async with market(machine) as jobs:
        jobs.start_soon(machine.ask, FIRST)
    assert machine.ends[FIRST] == 10


@pytest.mark.parametrize("how", ["not served", "must be alone", "one at once"])
async def test_where_nothing_can_be_shared_each_has_its_own(how: str, autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine(at_once=1 if how == "one at once" else 4)
    async with market(machine, served=how != "not served") as jobs:
        for each in (FIRST, LONG, SHORT):
            jobs.start_soon(lambda wanted=each: machine.ask(wanted, alone=how == "must be alone"))
            await trio.testing.wait_all_tasks_blocked()
    assert machine.ran == [(FIRST,), (LONG,), (SHORT,)]


@pytest.mark.parametrize(
    ("other", "goes"),
    [
        (spec("other"), True),
        (spec("other", manifest=B), False),
        (spec("other", class_id=1), False),
        (spec("other", kind=EMBED), False),
        # 272 steps of 110 ms for two are half of the minute that each was given.
        (spec("other", length=272), True),
        (spec("other", length=273), False),
    ],
)
def test_who_goes_along(other: RunSpec, goes: bool) -> None:
    assert pick_batch(FIRST, [other], 8, 100) == ([other] if goes else [])


def test_a_reading_takes_nobody_along() -> None:
    assert pick_batch(spec("reading", kind=EMBED), [spec("another", kind=EMBED)], 8, 1) == []
