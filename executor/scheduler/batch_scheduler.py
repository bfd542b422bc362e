"""Dynamic batching: a queued run that gets a slot takes along others of its model and class, in one container."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field

import trio

from executor.runs.generation import PendingRun
from protocol.stages.execution import RunResult, RunSpec, sharing_key, side_by_side_ms

TIME_SHARE = 2
"""A batch should need no more than this part, a half, of the time of any of its jobs."""
FIRST_MS_PER_TOKEN = 60
"""A first guess, replaced by what is measured on this machine."""

OnTokens = Callable[[tuple[int, ...]], Awaitable[None]]
Ended = tuple[RunResult, bytes]


def pick_batch(first: RunSpec, waiting: Iterable[RunSpec], at_once: int, ms_per_token: int) -> list[RunSpec]:
    """Choose among waiting jobs, in their order, those that share a container with the first one.

    Args: at_once, answers in one container; ms_per_token, of an answer by itself.
    """
    chosen, key = [first], sharing_key(first)
    for spec in waiting:
        if len(chosen) == at_once:
            break
        if key is not None and sharing_key(spec) == key and _is_in_time([*chosen, spec], ms_per_token):
            chosen.append(spec)
    return chosen[1:]


def _is_in_time(specs: Sequence[RunSpec], ms_per_token: int) -> bool:
    longest = max(spec.max_new_tokens for spec in specs)
    needed_ms = longest * side_by_side_ms(ms_per_token, len(specs))
    return TIME_SHARE * needed_ms <= min(spec.timeout_ms for spec in specs)


@dataclass(eq=False, slots=True)
class QueuedRun:
    """A run from when it is queued until it has ended. `ended` stays None if its batch did not settle it."""

    run: PendingRun
    on_tokens: OnTokens
    waiting: trio.CancelScope = field(default_factory=trio.CancelScope)
    over: trio.Event = field(default_factory=trio.Event)
    is_cancelled: bool = False
    ended: Ended | None = None
    batch: "RunBatch | None" = None

    def settle(self, ended: Ended) -> None:
        """The run has ended, with this result."""
        self.ended = ended
        self.over.set()

    def cancel(self) -> None:
        """Its result is no longer needed. The last one of a batch stops the container."""
        self.is_cancelled = True
        if self.batch is not None and all(queued.is_cancelled for queued in self.batch.queued):
            self.batch.scope.cancel()


@dataclass(eq=False, slots=True)
class RunBatch:
    """Runs that share a container; cancelling `scope` stops it."""

    queued: list[QueuedRun]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


@dataclass(eq=False, repr=False)
class BatchScheduler:
    """Queues runs for slots and puts them into batches. Unless `serve` runs, each run gets a container of its own.

    run_one: runs a job in a container of its own, and raises ExecutorError if the machine fails. run_many: runs a batch
    in one container and settles what it can; it raises no ExecutorError. slot: holds a slot; another task may leave it
    than entered it. at_once: runs in one container.
    """

    run_one: Callable[[PendingRun, OnTokens], Awaitable[Ended]]
    run_many: Callable[[Sequence[QueuedRun]], Awaitable[None]]
    slot: Callable[[], AbstractAsyncContextManager[None]]
    at_once: int

    def __post_init__(self) -> None:
        self._waiting: list[QueuedRun] = []
        self._nursery: trio.Nursery | None = None
        self.ms_per_token = FIRST_MS_PER_TOKEN
        """Of an answer by itself; `run_one` keeps it up to date."""

    async def serve(self) -> None:
        """Run the containers of batches, until cancelled: they belong to no single job."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def run(self, run: PendingRun, on_tokens: OnTokens, *, alone: bool) -> Ended:
        """Run a job to its end, in a batch unless it must be `alone`. Raises: ExecutorError."""
        if self.at_once > 1 and not alone and sharing_key(run.spec) is not None:
            queued = QueuedRun(run, on_tokens)
            self._waiting.append(queued)
            try:
                ended = await self._run_queued(queued)
            finally:
                queued.cancel()
                self._forget(queued)
            if ended is not None:
                return ended
        async with self.slot():
            return await self.run_one(run, on_tokens)

    async def _run_queued(self, queued: QueuedRun) -> Ended | None:
        """The result, from the slot that this run got or from the batch that took it along."""
        with queued.waiting:
            async with AsyncExitStack() as slot:
                await slot.enter_async_context(self.slot())
                if queued.batch is None:
                    others = self._others(queued)
                    if not others or self._nursery is None:
                        self._forget(queued)
                        return await self.run_one(queued.run, queued.on_tokens)
                    self._nursery.start_soon(self._run_batch, self._batch_of([queued, *others]), slot.pop_all())
        await queued.over.wait()
        return queued.ended

    def _others(self, first: QueuedRun) -> list[QueuedRun]:
        others = {queued.run.spec: queued for queued in self._waiting if queued is not first}
        return [others[spec] for spec in pick_batch(first.run.spec, others, self.at_once, self.ms_per_token)]

    def _batch_of(self, queued: list[QueuedRun]) -> RunBatch:
        batch = RunBatch(queued)
        for each in queued:
            each.batch = batch
            self._forget(each)
            each.waiting.cancel()
        return batch

    def _forget(self, queued: QueuedRun) -> None:
        if queued in self._waiting:
            self._waiting.remove(queued)

    async def _run_batch(self, batch: RunBatch, slot: AsyncExitStack) -> None:
        async with slot:
            try:
                with batch.scope:
                    await self.run_many(batch.queued)
            finally:
                for queued in batch.queued:
                    queued.over.set()
