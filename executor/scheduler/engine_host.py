"""This machine as the scheduler of engines sees it: starts warm engines and runs their containers."""

import os
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from executor.calls import BlockingCalls
from executor.containers.sandbox import MIB
from executor.containers.transcript import RunnerEvent
from executor.devices import available_memory
from executor.runs.context import EngineKey, RunnerContext
from executor.runs.warm_engine import WarmEngine
from executor.scheduler.live_engine import ModelEngine
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import Workspaces
from protocol.errors import ExecutorError
from protocol.stages.memory import needed_bytes
from protocol.wire.bounded import Counted

T = TypeVar("T")

RESERVE_BYTES = 512 * MIB
"""Memory that the machine keeps available: below it, engines without work end."""
ENGINES = 64
"""Engines of one node, more than fit any machine."""


@dataclass(slots=True)
class DockerEngineHost:
    """See executor/scheduler/live_engine.py. memory_bytes: of one engine. wanted: containers that a sweep keeps.

    slots, host_slots: of this node and of the machine. host_engines: how many engines may stay loaded without a slot,
    over all nodes of the machine.
    """

    context: RunnerContext
    workspaces: Workspaces
    memory_bytes: int
    slot: Callable[..., AbstractAsyncContextManager[None]]
    slots: trio.CapacityLimiter
    host_slots: HostSlots
    host_engines: HostSlots
    wanted: Counter[str]
    available_bytes: Callable[[], int] = available_memory
    _calls: BlockingCalls = field(default_factory=lambda: BlockingCalls(ENGINES))
    _permits: dict[bytes, int] = field(default_factory=dict)

    def start(self, key: EngineKey) -> WarmEngine:
        """Make an engine. Raises: ModelUnusable if its model is not on this machine."""
        engine_id = secrets.token_bytes(32)
        return WarmEngine(self.context, key, engine_id, self.workspaces.of_shared(engine_id), self.memory_bytes)

    async def live(self, engine: ModelEngine, hear: Callable[[RunnerEvent], Awaitable[None]]) -> None:
        """Run its container to the end."""

        def on_event(event: RunnerEvent) -> None:
            trio.from_thread.run(hear, event)

        try:
            with Counted(self.wanted, engine.id.hex()), ExitStack() as held:
                # No node of the machine evicts a model that is loaded.
                await self._calls.quick(lambda: held.enter_context(self.context.hold_model(engine.key[0])))
                await self._calls.to_the_end(lambda: engine.run(on_event), engine.stop)
        finally:
            if (permit := self._permits.pop(engine.id, None)) is not None:
                os.close(permit)

    async def call(self, function: Callable[[], T]) -> T:
        """Call in a thread."""
        return await self._calls.quick(function)

    def is_wanted(self) -> bool:
        """Whether a run with a container of its own, another engine or another node of the machine waits for a slot."""
        return self.slots.statistics().tasks_waiting > 0 or self.host_slots.is_wanted()

    def is_free(self) -> bool:
        """Whether one more engine may work now and stay loaded, and no node waits for its slot."""
        places = (self.host_slots, self.host_engines)
        return self.slots.available_tokens > 0 and not self.is_wanted() and all(each.is_free() for each in places)

    def fits(self, key: EngineKey) -> bool:
        """Whether the machine has memory for one more engine of this model and class."""
        try:
            needed = needed_bytes(self.context.models.manifest(key.manifest), key.class_id, 0)
        except ExecutorError:
            # Its start says why.
            return True
        return self.available_bytes() - needed >= RESERVE_BYTES

    def is_short(self) -> bool:
        """Whether the machine is short of memory."""
        return self.available_bytes() < RESERVE_BYTES

    def may_wait(self, engine: ModelEngine) -> bool:
        """Whether it may stay loaded without a slot; it may from then on."""
        if not self.host_engines.is_limited or engine.id in self._permits:
            return True
        permit = self.host_engines.take()
        if permit is not None:
            self._permits[engine.id] = permit
        return permit is not None
