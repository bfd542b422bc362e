"""Containers that stand still: the owner wants the machine, and the work in them goes on later."""

from collections.abc import Awaitable, Callable

import trio


class StandingContainers:
    """Whether the containers of one node stand still. `stand` has the Engine do it; raises ExecutorError."""

    def __init__(self, stand: Callable[[bool], Awaitable[None]]) -> None:
        self._stand = stand
        self._turn = trio.Lock()
        self._free = trio.Event()
        self._free.set()

    @property
    def is_held(self) -> bool:
        """Whether no container may be started."""
        return not self._free.is_set()

    async def hold(self, *, is_held: bool) -> bool:
        """Have them stand still, or go on. Returns: what the Engine was asked for last, by the newest call."""
        if not is_held:
            self._free.set()
        elif not self.is_held:
            self._free = trio.Event()
        async with self._turn:
            newest = self.is_held
            await self._stand(newest)
        return newest

    async def look(self) -> None:
        """Have those stand still as well that were being started when the others were stopped."""
        async with self._turn:
            if self.is_held:
                await self._stand(True)

    async def until_free(self) -> None:
        """Wait until a container may be started."""
        while self.is_held:
            await self._free.wait()
