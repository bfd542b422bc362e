"""The executor's side of the driver: a run or a check in, its event out, blocking work in threads of its own."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import trio

from executor import devices
from executor.runs.batched_generation import KIND, Together
from executor.runs.container_run import Finish
from executor.runs.context import Station
from executor.runs.generation import Generation, QueuedRun
from executor.runs.replay import Replay
from executor.scheduler.batch_scheduler import Ended, Guest, OnTokens, Sharing
from executor.scheduler.slots import Turns
from executor.workspace.folders import Workspaces, disk_errors
from protocol.effects import ReplaySample
from protocol.errors import ExecutorError
from protocol.events import ContainerExited, DeviceReported, SampleReplayed
from protocol.stages.execution import Outcome, RunResult, RunSpec, failed
from protocol.stages.heartbeat import DeviceStatus
from protocol.stages.request import GENERATE

log = logging.getLogger(__name__)

# A first guess, replaced by what this machine turns out to do.
FIRST_MS_PER_TOKEN = 60
# Shorter answers say more about reading the prompt than about writing.
LEARN_FROM_TOKENS = 16

T = TypeVar("T")


class _Stoppable(Protocol):
    def stop(self) -> None: ...


class ContainerAdapter:
    """Runs at most `slots` containers at once, and no more than the machine has turns. One node's, for its life."""

    def __init__(self, station: Station, workspaces: Workspaces, slots: int, turns: Turns, at_once: int = 1) -> None:
        """Args: at_once, answers that one container may write side by side."""
        self._station = station
        self._workspaces = workspaces
        self._turns = turns
        self._slots = trio.CapacityLimiter(slots)
        self._threads = trio.CapacityLimiter(slots)
        # Looking at the machine or killing a container must not wait behind the jobs.
        self._quick = trio.CapacityLimiter(4)
        self._ms_per_token = FIRST_MS_PER_TOKEN
        self._sharing = Sharing(self, self._turn, at_once)
        self.serve = self._sharing.serve
        # Jobs whose run or check somebody waits for: their containers are no orphans.
        self._wanted: Counter[str] = Counter()

    async def recover(self) -> None:
        """Remove what a crash left behind and is of no use; before anything is run.

        Containers that are still in time stay: the runs they belong to are asked for again and take them over, and
        the first `report` removes every unclaimed one. One that several jobs shared goes: which of
        them come together again is open, and what it had settled is kept.
        """

        def sweep() -> None:
            with disk_errors():
                self._station.engine.sweep(None, time.time(), lost_kinds=(KIND,))
                self._workspaces.sweep(self._station.engine.outputs())

        try:
            await trio.to_thread.run_sync(sweep, limiter=self._quick)
        except ExecutorError as error:
            # Whatever is left is removed when its job is run again, or when the Engine is back.
            log.warning("what an earlier run left behind cannot be removed yet: %s", error)

    async def run_job(self, spec: RunSpec, on_tokens: OnTokens) -> ContainerExited:
        """Run a job to its end, whatever that is; cancelling kills the container.

        A container that an earlier process of this node has started for it is taken over.
        """
        workspace = self._workspaces.of_job(spec.job_id)

        def look() -> tuple[QueuedRun, Ended | None, bool]:
            order = QueuedRun(self._station, spec, workspace)
            return order, order.done(), order.is_begun()

        try:
            with self._wanting(spec.job_id):
                order, ended, is_begun = await self._prepare(look)
                result, proof = ended or await self._sharing.run(order, on_tokens, alone=is_begun)
        except ExecutorError as error:
            return ContainerExited(spec.job_id, failed(Outcome.PROVIDER, str(error)), b"")
        return ContainerExited(spec.job_id, result, proof)

    async def alone(self, order: QueuedRun, on_tokens: OnTokens) -> Ended:
        """See Host."""

        def hear(ids: tuple[int, ...]) -> None:
            trio.from_thread.run(on_tokens, ids)

        generation = await self._prepare(lambda: Generation(self._station, order))
        result, proof = await self._run(generation, lambda: generation.run(hear))
        if order.spec.kind == GENERATE and result.new_tokens >= LEARN_FROM_TOKENS and generation.run_ms:
            latest = max(1, generation.run_ms // result.new_tokens)
            self._ms_per_token = (3 * self._ms_per_token + latest) // 4
        return result, proof

    async def together(self, guests: Sequence[Guest]) -> None:
        """See Host."""
        orders = [guest.order for guest in guests]
        try:
            shared = await self._prepare(lambda: Together(self._station, orders, self._workspaces.of_shared))
            with self._wanting(shared.id):
                finish = await self._run(shared, lambda: shared.run(_Audience(guests)))
        except ExecutorError as error:
            finish = Finish(Outcome.PROVIDER, str(error))
        if finish.outcome is not Outcome.OK:
            # It says nothing about any one job: those that are left are run by themselves.
            log.warning("a container of %d jobs ended before them: %s", len(guests), finish.detail)

    def speed(self) -> int:
        """See Host."""
        return self._ms_per_token

    async def replay(self, effect: ReplaySample) -> SampleReplayed:
        """Check a drawn leaf. Raises: ExecutorError if this machine cannot."""
        workspace = self._workspaces.of_sample(effect.batch_id, effect.leaf_index)
        with self._wanting(effect.spec.job_id):
            check = await self._prepare(lambda: Replay(self._station, effect.spec, workspace))
            async with self._turn():
                found, problem = await self._run(check, check.run)
        return SampleReplayed(effect.batch_id, effect.leaf_index, found, problem)

    async def report(self) -> DeviceReported:
        """Measure this machine, and remove the containers on it that no job waits for.

        Raises: ExecutorError if it can run nothing now: a card is lost, the Engine away, or the image gone.
        """
        slots, speed, station = int(self._slots.total_tokens), self._ms_per_token, self._station

        def look() -> DeviceStatus:
            with disk_errors():
                station.engine.sweep(self._wanted, time.time(), let_go=self._let_go)
            station.engine.require(station.image)
            return devices.measure(slots, speed)

        return DeviceReported(await trio.to_thread.run_sync(look, limiter=self._quick))

    def _let_go(self, output: Path) -> None:
        try:
            self._workspaces.let_go(output)
        except ExecutorError as error:
            log.warning("what a container left behind cannot be removed: %s", error)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Hold a slot of this node and a turn of the machine; whichever task leaves it may not be the one that came."""
        holder = object()
        # One's own slots first: a node must not hold a turn of the machine while it waits for itself.
        await self._slots.acquire_on_behalf_of(holder)
        try:
            async with self._turns.turn():
                yield
        finally:
            self._slots.release_on_behalf_of(holder)

    @contextlib.contextmanager
    def _wanting(self, job_id: bytes) -> Iterator[None]:
        job = job_id.hex()
        self._wanted[job] += 1
        try:
            yield
        finally:
            self._wanted[job] -= 1
            if not self._wanted[job]:
                del self._wanted[job]

    async def _prepare(self, make: Callable[[], T]) -> T:
        def on_disk() -> T:
            with disk_errors():
                return make()

        return await trio.to_thread.run_sync(on_disk, limiter=self._quick)

    async def _run(self, stoppable: _Stoppable, call: Callable[[], T]) -> T:
        """A call that cannot be abandoned, only told to stop: it then ends by itself, its container removed."""
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
                        await trio.to_thread.run_sync(stoppable.stop, limiter=self._quick)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_when_cancelled)
            await trio.to_thread.run_sync(settle, limiter=self._threads)
            nursery.cancel_scope.cancel()
        # Ending the watcher has swallowed a cancellation from outside, where there was one.
        await trio.lowlevel.checkpoint_if_cancelled()
        return found[0]()


class _Audience:
    """Passes on to the guests of a shared container, from the thread that follows it, what it says of each."""

    def __init__(self, guests: Sequence[Guest]) -> None:
        self._guests = guests

    def tokens(self, place: int, ids: tuple[int, ...]) -> None:
        guest = self._guests[place]
        if not guest.is_gone:
            trio.from_thread.run(guest.on_tokens, ids)

    def settled(self, place: int, result: RunResult, proof: bytes) -> None:
        trio.from_thread.run_sync(self._guests[place].settle, (result, proof))


def _raise(error: ExecutorError) -> NoReturn:
    raise error
