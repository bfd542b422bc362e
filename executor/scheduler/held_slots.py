"""Slots that the engines of one model share: the one that answers and the one that checks work side by side."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from executor.runs.context import EngineKey
from executor.scheduler.live_engine import EngineHost
from protocol.errors import ExecutorError

TURN_S = 10.0
"""After so long a slot takes no more runs in, if a slot is waited for."""

Spawn = Callable[..., None]


@dataclass(eq=False, slots=True)
class HeldSlot:
    """One slot, held or waited for. `users`: engines that work in it."""

    users: int = 0
    since_s: float | None = None
    """When it was got; None while it is waited for."""
    settled: trio.Event = field(default_factory=trio.Event)
    unused: trio.Event = field(default_factory=trio.Event)
    error: ExecutorError | None = None


@dataclass(eq=False)
class HeldSlots:
    """The slots of this node's engines, by manifest and class."""

    host: EngineHost
    _held: dict[tuple[bytes, int], HeldSlot] = field(default_factory=dict)

    def is_open(self, key: EngineKey) -> bool:
        """Whether the model of this engine has a slot that may take more in."""
        held = self._held.get(_model(key))
        if held is None or held.since_s is None:
            return False
        return trio.current_time() - held.since_s <= TURN_S or not self.host.is_wanted()

    @asynccontextmanager
    async def hold(self, key: EngineKey, spawn: Spawn, *, is_check: bool) -> AsyncIterator[None]:
        """Hold a slot, that of another engine of the model if it is open. Raises: ExecutorError.

        Args: spawn, starts a task that outlives this one.
        """
        held = self._held.get(_model(key))
        if held is None or not self.is_open(key):
            held = self._held[_model(key)] = HeldSlot()
            spawn(self._keep, held, is_check)
        held.users += 1
        try:
            await held.settled.wait()
            if held.error is not None:
                raise held.error
            yield
        finally:
            held.users -= 1
            if not held.users:
                held.unused.set()
                if self._held.get(_model(key)) is held:
                    del self._held[_model(key)]

    async def _keep(self, held: HeldSlot, is_check: bool) -> None:
        """Have the slot until no engine uses it."""
        try:
            async with self.host.slot(is_check=is_check):
                held.since_s = trio.current_time()
                held.settled.set()
                await held.unused.wait()
        except ExecutorError as error:
            held.error = error
            held.settled.set()


def _model(key: EngineKey) -> tuple[bytes, int]:
    return key.manifest, key.class_id
