"""What an owner sees of streams, waiting and speed: times by a clock that jumps, and figures that stay few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import trio
from trio.testing import MockClock

from executor.scheduler.serving import MAX_MODELS, OTHER_MODELS, ModelServed, RunWatch, ServingReport, ServingTally
from protocol.stages.execution import RunSpec
from protocol.stages.request import EMBED, GENERATE

A = b"a" * 32


@pytest.fixture
def open_runs() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def spec(manifest: bytes = A, kind: int = GENERATE) -> RunSpec:
    return RunSpec(bytes(32), manifest, 1, 16, 0, bytes(32), 1 << 30, 60_000, kind)


async def pass_on(ids: tuple[int, ...]) -> None:
    await trio.lowlevel.checkpoint()


def arrive(tally: ServingTally, stack: ExitStack, manifest: bytes = A, kind: int = GENERATE) -> RunWatch:
    return stack.enter_context(tally.watch(spec(manifest, kind), pass_on))


async def test_first_token_counts_from_the_arrival_and_speed_from_the_first_token(
    autojump_clock: MockClock, open_runs: ExitStack
) -> None:
    tally = ServingTally()
    run = arrive(tally, open_runs)
    await trio.sleep(2)
    run.begin()
    await trio.sleep(0.5)
    await run.hear((1, 2, 3))
    for _ in range(4):
        await trio.sleep(0.25)
        await run.hear((4, 5))
    report = tally.report()
    assert report.models == (ModelServed(A, 1, 11, 2_500, 8, 1_000),)
    assert (report.streams, report.tokens_per_s) == (1, 11)
    assert report.longest_wait_ms == 2_000
    open_runs.close()
    assert tally.report().streams == 0


async def test_rate_is_that_of_the_last_minute(autojump_clock: MockClock, open_runs: ExitStack) -> None:
    tally = ServingTally()
    run = arrive(tally, open_runs)
    run.begin()
    for _ in range(100):
        await trio.sleep(1)
        await run.hear((1, 2, 3))
    assert tally.report().tokens_per_s == 3
    assert tally.report().models[0].tokens == 300
    await trio.sleep(30)
    assert tally.report().tokens_per_s == 1.5
    await trio.sleep(60)
    assert tally.report().tokens_per_s == 0


async def test_waiting_are_those_that_have_not_begun_or_wait_again(
    autojump_clock: MockClock, open_runs: ExitStack
) -> None:
    tally = ServingTally()
    first, second = arrive(tally, open_runs), arrive(tally, open_runs)
    check = open_runs.enter_context(tally.watch(spec(), pass_on, is_check=True))
    await trio.sleep(3)
    assert _waiting(tally) == (2, 1, 0, 3_000)
    for run in (first, check):
        run.begin()
    await trio.sleep(1)
    assert _waiting(tally) == (1, 0, 1, 4_000)
    second.begin()
    await trio.sleep(50)
    assert _waiting(tally) == (0, 0, 2, 4_000)
    await trio.sleep(20)
    assert _waiting(tally) == (0, 0, 2, 0)
    first.wait()
    assert _waiting(tally)[:3] == (1, 0, 1)


async def test_reading_is_no_stream(autojump_clock: MockClock, open_runs: ExitStack) -> None:
    tally = ServingTally()
    arrive(tally, open_runs, kind=EMBED).begin()
    assert tally.report() == ServingReport()


async def test_strangers_models_make_no_more_figures_than_there_are_places(
    autojump_clock: MockClock, open_runs: ExitStack
) -> None:
    tally = ServingTally()
    for number in range(3 * MAX_MODELS):
        for _ in range(2):
            await arrive(tally, open_runs, manifest=bytes([number]) * 32).hear((1,))
    models = tally.report().models
    assert len(models) == MAX_MODELS + 1
    assert {served.tokens for served in models[:-1]} == {2}
    assert (models[-1].manifest, models[-1].tokens) == (OTHER_MODELS, 2 * 2 * MAX_MODELS)


def _waiting(tally: ServingTally) -> tuple[int, int, int, float]:
    report = tally.report()
    return report.jobs_waiting, report.checks_waiting, report.streams, report.longest_wait_ms
