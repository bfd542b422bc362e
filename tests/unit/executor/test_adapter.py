"""A job's container that is ended before its time, whichever is asked for first."""

from collections.abc import Awaitable, Callable

import trio

from executor.adapter import STOPPED_KEPT, ContainerAdapter
from executor.cards.card_desk import CardsReport
from executor.scheduler.serving import ServingReport
from protocol.effects import ContainerEffect, HoldContainers, RunContainer, ShortenRun, StopContainer
from protocol.events import ContainerExited, ContainersHeld, DeviceReported, Event, RunShortened, SampleReplayed
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import Outcome, RunSpec

JOB, OTHER = bytes([1]) * 32, bytes([2]) * 32


class Endless:
    """Runs without end, and says so."""

    def __init__(self) -> None:
        self.running: set[bytes] = set()
        self.started = trio.Event()
        self.shortened: list[ShortenRun] = []
        self.held: list[bool] = []

    async def run_job(self, spec: RunSpec, on_tokens: Callable[[tuple[int, ...]], Awaitable[None]]) -> ContainerExited:
        self.running.add(spec.job_id)
        self.started.set()
        try:
            await trio.sleep_forever()
        finally:
            self.running.discard(spec.job_id)

    async def recover(self) -> None: ...

    async def serve(self) -> None: ...

    async def report(self) -> DeviceReported:
        raise AssertionError

    async def hold(self, *, is_held: bool) -> ContainersHeld:
        self.held.append(is_held)
        return ContainersHeld(is_held)

    async def let_go(self, manifest: bytes) -> None:
        raise AssertionError

    async def shorten(self, effect: ShortenRun) -> RunShortened:
        self.shortened.append(effect)
        return RunShortened(effect.job_id)

    async def replay(self, effect: object) -> SampleReplayed:
        raise AssertionError

    def serving(self) -> ServingReport:
        raise AssertionError

    def cards(self) -> CardsReport:
        return CardsReport()

    async def card_news(self) -> None:
        await trio.sleep_forever()

    def add_small_model(self, models: object) -> ModelManifest:
        raise AssertionError

    def close(self) -> None: ...


def run_of(job: bytes) -> RunContainer:
    return RunContainer(RunSpec(job, bytes(32), 1, 8, 0, 0, 2**30, 1_000))


async def _nothing(event: Event) -> None: ...


def outcome(event: Event) -> tuple[bytes, Outcome]:
    assert isinstance(event, ContainerExited)
    return event.job_id, event.result.outcome


async def test_stopping_ends_this_run_and_answers_both() -> None:
    runner, answers = Endless(), []
    containers = ContainerAdapter(runner, _nothing)

    async def ask(effect: ContainerEffect) -> None:
        answers.append(outcome(await containers.perform(effect)))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, run_of(JOB))
            nursery.start_soon(ask, run_of(OTHER))
            while runner.running != {JOB, OTHER}:
                await trio.lowlevel.checkpoint()
            assert outcome(await containers.perform(StopContainer(JOB))) == (JOB, Outcome.CANCELLED)
            assert runner.running == {OTHER}
            assert answers == [(JOB, Outcome.CANCELLED)]
            nursery.cancel_scope.cancel()


async def test_what_is_stopped_before_it_is_run_does_not_start() -> None:
    runner = Endless()
    containers = ContainerAdapter(runner, _nothing)
    with trio.fail_after(5):
        assert outcome(await containers.perform(StopContainer(JOB))) == (JOB, Outcome.CANCELLED)
        assert outcome(await containers.perform(run_of(JOB))) == (JOB, Outcome.CANCELLED)
    assert not runner.started.is_set()


async def test_only_so_many_that_never_ran_are_remembered_as_stopped() -> None:
    runner = Endless()
    containers = ContainerAdapter(runner, _nothing)
    for number in range(STOPPED_KEPT):
        await containers.perform(StopContainer(number.to_bytes(32, "big")))
    await containers.perform(StopContainer(JOB))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(containers.perform, run_of(bytes(32)))
        with trio.fail_after(5):
            await runner.started.wait()
            assert outcome(await containers.perform(run_of(JOB))) == (JOB, Outcome.CANCELLED)
        nursery.cancel_scope.cancel()


async def test_the_end_of_the_node_is_no_answer() -> None:
    runner = Endless()
    containers = ContainerAdapter(runner, _nothing)
    answers = []
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            answers.append(await containers.perform(run_of(JOB)))

        nursery.start_soon(ask)
        await runner.started.wait()
        nursery.cancel_scope.cancel()
    assert answers == []
    assert runner.running == set()


async def test_run_is_told_to_end_and_goes_on_until_it_has() -> None:
    runner = Endless()
    containers = ContainerAdapter(runner, _nothing)
    wish = ShortenRun(JOB, bytes(65))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(containers.perform, run_of(JOB))
            await runner.started.wait()
            assert await containers.perform(wish) == RunShortened(JOB)
            assert (runner.shortened, runner.running) == ([wish], {JOB})
            nursery.cancel_scope.cancel()


async def test_containers_stand_still_and_go_on_by_the_runner() -> None:
    runner = Endless()
    containers = ContainerAdapter(runner, _nothing)
    for is_held in (True, False):
        assert await containers.perform(HoldContainers(is_held)) == ContainersHeld(is_held)
    assert runner.held == [True, False]
