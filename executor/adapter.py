"""The executor's side of the driver: a run or a check in, its event out, blocking work in threads of its own."""

import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import NoReturn, Protocol, TypeVar

import trio

from executor import devices
from executor.generation import Generation
from executor.replay import Replay
from executor.station import Station
from executor.turns import Turns
from executor.workspace import Workspaces
from protocol.effects import ReplaySample
from protocol.errors import ExecutorError
from protocol.events import ContainerExited, DeviceReported, SampleReplayed
from protocol.stages.execution import Outcome, RunSpec, failed

# A first guess, replaced by what this machine turns out to do.
FIRST_MS_PER_TOKEN = 60
# Shorter answers say more about reading the prompt than about writing.
LEARN_FROM_TOKENS = 16

OnTokens = Callable[[tuple[int, ...]], Awaitable[None]]
T = TypeVar("T")


class _Stoppable(Protocol):
    def stop(self) -> None: ...


class ContainerAdapter:
    """Runs at most `slots` containers at once, and no more than the machine has turns. One node's, for its life."""

    def __init__(self, station: Station, workspaces: Workspaces, slots: int, turns: Turns) -> None:
        self._station = station
        self._workspaces = workspaces
        self._turns = turns
        self._slots = trio.CapacityLimiter(slots)
        self._threads = trio.CapacityLimiter(slots)
        # Looking at the machine or killing a container must not wait behind the jobs.
        self._quick = trio.CapacityLimiter(4)
        self._ms_per_token = FIRST_MS_PER_TOKEN

    async def recover(self, known_jobs: Collection[bytes] = ()) -> None:
        """Remove what a crash left behind; every unanswered effect is asked again and starts afresh."""

        def sweep() -> None:
            self._station.engine.sweep({job.hex() for job in known_jobs}, time.time())
            self._workspaces.sweep()

        await trio.to_thread.run_sync(sweep, limiter=self._quick)

    async def run_job(self, spec: RunSpec, on_tokens: OnTokens) -> ContainerExited:
        """Run a job to its end, whatever that is; cancelling kills the container."""
        workspace = self._workspaces.of_job(spec.job_id)

        def hear(ids: tuple[int, ...]) -> None:
            trio.from_thread.run(on_tokens, ids)

        try:
            generation = await self._prepare(lambda: Generation(self._station, spec, workspace))
            result, proof = await self._run(generation, lambda: generation.run(hear))
        except ExecutorError as error:
            return ContainerExited(spec.job_id, failed(Outcome.PROVIDER, str(error)), b"")
        if result.new_tokens >= LEARN_FROM_TOKENS and generation.run_ms:
            latest = max(1, generation.run_ms // result.new_tokens)
            self._ms_per_token = (3 * self._ms_per_token + latest) // 4
        return ContainerExited(spec.job_id, result, proof)

    async def replay(self, effect: ReplaySample) -> SampleReplayed:
        """Check a drawn leaf. Raises: ExecutorError if this machine cannot."""
        workspace = self._workspaces.of_sample(effect.batch_id, effect.leaf_index)
        check = await self._prepare(lambda: Replay(self._station, effect.spec, workspace))
        found, problem = await self._run(check, check.run)
        return SampleReplayed(effect.batch_id, effect.leaf_index, found, problem)

    async def report(self) -> DeviceReported:
        """Measure this machine. Raises: ExecutorError if a card is lost."""
        slots, speed = int(self._slots.total_tokens), self._ms_per_token
        status = await trio.to_thread.run_sync(lambda: devices.measure(slots, speed), limiter=self._quick)
        return DeviceReported(status)

    async def _prepare(self, make: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(make, limiter=self._quick)

    async def _run(self, stoppable: _Stoppable, call: Callable[[], T]) -> T:
        """A call that cannot be abandoned, only told to stop: it then ends by itself, its container removed."""
        found: list[Callable[[], T]] = []

        def settle() -> None:
            # An error leaves the nursery as a value: raised inside, it would come out wrapped in a group.
            try:
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

        # One's own slots first: a node must not hold a turn of the machine while it waits for itself.
        async with self._slots, self._turns.turn(), trio.open_nursery() as nursery:
            nursery.start_soon(stop_when_cancelled)
            await trio.to_thread.run_sync(settle, limiter=self._threads)
            nursery.cancel_scope.cancel()
        # Ending the watcher has swallowed a cancellation from outside, where there was one.
        await trio.lowlevel.checkpoint_if_cancelled()
        return found[0]()


def _raise(error: ExecutorError) -> NoReturn:
    raise error
