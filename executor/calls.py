"""Blocking calls of the executor in threads, so that a cancellation ends a container before it leaves."""

from collections.abc import Callable
from functools import partial
from typing import NoReturn, TypeVar

import trio

from executor.workspace.folders import disk_errors
from protocol.errors import ExecutorError

T = TypeVar("T")
QUICK = 4


class BlockingCalls:
    """Threads for containers, and a few for calls that must not wait for those."""

    def __init__(self, containers: int) -> None:
        self._long = trio.CapacityLimiter(containers)
        self._quick = trio.CapacityLimiter(QUICK)

    async def quick(self, call: Callable[[], T]) -> T:
        """Make a short call. Raises: ExecutorError, also of the disk."""

        def on_disk() -> T:
            with disk_errors():
                return call()

        return await trio.to_thread.run_sync(on_disk, limiter=self._quick)

    async def to_the_end(self, call: Callable[[], T], stop: Callable[[], None]) -> T:
        """Make a long call. A cancellation calls `stop` and waits until the call has ended, its container removed."""
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
            await trio.to_thread.run_sync(settle, limiter=self._long)
            nursery.cancel_scope.cancel()
        # The end of the watching task has swallowed a cancellation from outside, if there was one.
        await trio.lowlevel.checkpoint_if_cancelled()
        return found[0]()


def _raise(error: ExecutorError) -> NoReturn:
    raise error
