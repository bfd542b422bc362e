"""Runs jobs and checks in containers of this machine's Docker Engine; blocking calls run in threads of their own."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import trio

from executor import devices
from executor.conversion import add_wheel
from executor.models import ModelStore
from executor.runs.batched_generation import KIND, BatchedGeneration
from executor.runs.container_run import Finish
from executor.runs.context import RunnerContext
from executor.runs.generation import Generation, PendingRun
from executor.runs.replay import Replay
from executor.scheduler.batch_scheduler import BatchScheduler, Ended, OnTokens, QueuedRun
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import Workspaces, disk_errors
from protocol.effects import ReplaySample
from protocol.errors import ExecutorError
from protocol.events import ContainerExited, DeviceReported, SampleReplayed
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import Outcome, RunResult, RunSpec, failed
from protocol.stages.heartbeat import DeviceStatus
from protocol.stages.request import GENERATE
from protocol.wire.bounded import Counted

log = logging.getLogger(__name__)

LEARN_FROM_TOKENS = 16
"""Shorter answers tell the time of the prompt rather than the time of a token."""

T = TypeVar("T")


class DockerRunner:
    """A `Runner` for one node, for as long as it lives."""

    def __init__(
        self, context: RunnerContext, workspaces: Workspaces, slots: int, host_slots: HostSlots, at_once: int = 1
    ) -> None:
        """Args: slots, containers of this node at once; host_slots, of the machine; at_once, answers in a container."""
        self._context = context
        self._workspaces = workspaces
        self._host_slots = host_slots
        self._slots = trio.CapacityLimiter(slots)
        self._threads = trio.CapacityLimiter(slots)
        # Measuring the machine and killing a container must not wait for the jobs.
        self._quick = trio.CapacityLimiter(4)
        self._scheduler = BatchScheduler(self._run_one, self._run_many, self._slot, at_once)
        self.serve = self._scheduler.serve
        # Jobs that a run or a check is under way for: the sweep keeps their containers.
        self._wanted: Counter[str] = Counter()

    async def recover(self) -> None:
        """See Runner.

        Containers whose time is not over stay: their runs are asked for again and take them over. The first `report`
        removes the others. A container of several jobs is removed now: another batch may form of those not settled.
        """

        def sweep() -> None:
            with disk_errors():
                self._context.engine.sweep(None, time.time(), lost_kinds=(KIND,))
                self._workspaces.sweep(self._context.engine.outputs())

        try:
            await trio.to_thread.run_sync(sweep, limiter=self._quick)
        except ExecutorError as error:
            # The rest is removed when its job runs again, or when the Engine is back.
            log.warning("what an earlier run left behind cannot be removed yet: %s", error)

    async def run_job(self, spec: RunSpec, on_tokens: OnTokens) -> ContainerExited:
        """See Runner. Takes over a container that an earlier process of this node started for the job."""
        workspace = self._workspaces.of_job(spec.job_id)

        def look() -> tuple[PendingRun, Ended | None, bool]:
            run = PendingRun(self._context, spec, workspace)
            return run, run.earlier_result(), run.is_begun()

        try:
            with Counted(self._wanted, spec.job_id.hex()):
                run, ended, is_begun = await self._prepare(look)
                result, fingerprint = ended or await self._scheduler.run(run, on_tokens, alone=is_begun)
        except ExecutorError as error:
            return ContainerExited(spec.job_id, failed(Outcome.PROVIDER, str(error)), b"")
        return ContainerExited(spec.job_id, result, fingerprint)

    async def replay(self, effect: ReplaySample) -> SampleReplayed:
        """See Runner."""
        workspace = self._workspaces.of_sample(effect.batch_id, effect.leaf_index)
        with Counted(self._wanted, effect.spec.job_id.hex()):
            check = await self._prepare(lambda: Replay(self._context, effect.spec, workspace))
            async with self._slot():
                found, problem = await self._run(check.run, check.stop)
        return SampleReplayed(effect.batch_id, effect.leaf_index, found, problem)

    async def report(self) -> DeviceReported:
        """Measure this machine, and remove containers of jobs that are not under way.

        Raises: ExecutorError if it can run nothing now: a card is lost, the Engine away, or the image gone.
        """
        slots, speed, context = int(self._slots.total_tokens), self._scheduler.ms_per_token, self._context

        def look() -> DeviceStatus:
            with disk_errors():
                context.engine.sweep(self._wanted, time.time(), let_go=self._let_go)
            context.engine.require(context.image)
            return devices.measure(slots, speed)

        return DeviceReported(await trio.to_thread.run_sync(look, limiter=self._quick))

    def add_small_model(self, models: ModelStore) -> ModelManifest:
        """See Runner."""
        return add_wheel(self._context.engine, self._context.image, models)

    def close(self) -> None:
        """See Runner."""
        self._context.engine.close()

    # --- what the scheduler calls -----------------------------------------------------------------------------------
    async def _run_one(self, run: PendingRun, on_tokens: OnTokens) -> Ended:
        def pass_on(ids: tuple[int, ...]) -> None:
            trio.from_thread.run(on_tokens, ids)

        generation = await self._prepare(lambda: Generation(self._context, run))
        result, fingerprint = await self._run(lambda: generation.run(pass_on), generation.stop)
        if run.spec.kind == GENERATE and result.new_tokens >= LEARN_FROM_TOKENS and generation.run_ms:
            latest = max(1, generation.run_ms // result.new_tokens)
            self._scheduler.ms_per_token = (3 * self._scheduler.ms_per_token + latest) // 4
        return result, fingerprint

    async def _run_many(self, queued: Sequence[QueuedRun]) -> None:
        def pass_on(place: int, ids: tuple[int, ...]) -> None:
            if not queued[place].is_cancelled:
                trio.from_thread.run(queued[place].on_tokens, ids)

        def settle(place: int, result: RunResult, fingerprint: bytes) -> None:
            trio.from_thread.run_sync(queued[place].settle, (result, fingerprint))

        runs = [each.run for each in queued]
        try:
            batched = await self._prepare(lambda: BatchedGeneration(self._context, runs, self._workspaces.of_shared))
            with Counted(self._wanted, batched.id.hex()):
                finish = await self._run(lambda: batched.run(pass_on, settle), batched.stop)
        except ExecutorError as error:
            finish = Finish(Outcome.PROVIDER, str(error))
        if finish.outcome is not Outcome.OK:
            # This says nothing about any one job: the scheduler runs the others one by one.
            log.warning("a container of %d jobs ended before them: %s", len(queued), finish.detail)

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Hold a slot of this node and one of the machine; another task may leave it than entered it."""
        holder = object()
        # The node's own slot first: it must not hold one of the machine while it waits for itself.
        await self._slots.acquire_on_behalf_of(holder)
        try:
            async with self._host_slots.hold():
                yield
        finally:
            self._slots.release_on_behalf_of(holder)

    # --- threads ----------------------------------------------------------------------------------------------------
    def _let_go(self, output: Path) -> None:
        try:
            self._workspaces.let_go(output)
        except ExecutorError as error:
            log.warning("what a container left behind cannot be removed: %s", error)

    async def _prepare(self, make: Callable[[], T]) -> T:
        def on_disk() -> T:
            with disk_errors():
                return make()

        return await trio.to_thread.run_sync(on_disk, limiter=self._quick)

    async def _run(self, call: Callable[[], T], stop: Callable[[], None]) -> T:
        """Call in a thread. A cancellation calls `stop` and waits until the call has ended, its container removed."""
        found: list[Callable[[], T]] = []

        def settle() -> None:
            # An error leaves the nursery as a value: raised inside, it would come out wrapped in a group.
            try:
                with disk_errors():
                    value = call()
            except ExecutorError as error:
                found.append(partial(_raise, error))
            else:
                found.append(lambda: value)

        async def stop_when_cancelled() -> None:
            try:
                await trio.sleep_forever()
            finally:
                if not found:
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(stop, limiter=self._quick)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_when_cancelled)
            await trio.to_thread.run_sync(settle, limiter=self._threads)
            nursery.cancel_scope.cancel()
        # The end of the watching task has swallowed a cancellation from outside, if there was one.
        await trio.lowlevel.checkpoint_if_cancelled()
        return found[0]()


def _raise(error: ExecutorError) -> NoReturn:
    raise error
