"""This machine as the scheduler of engines sees it: starts warm engines and runs their containers."""

import os
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from executor.calls import BlockingCalls
from executor.containers.transcript import RunnerEvent
from executor.runs.context import EngineKey, RunnerContext
from executor.runs.warm_engine import WarmEngine
from executor.scheduler.engine_scheduler import ModelEngine
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import Workspaces
from protocol.wire.bounded import Counted

T = TypeVar("T")

ENGINES = 64
"""Engines of one node, more than fit any machine."""


@dataclass(slots=True)
class DockerEngineHost:
    """See executor/scheduler/engine_scheduler.py. memory_bytes: of one engine. wanted: containers that a sweep keeps.

    host_engines: how many engines may stay loaded without a slot, over all nodes of the machine.
    """

    context: RunnerContext
    workspaces: Workspaces
    memory_bytes: int
    slot: Callable[..., AbstractAsyncContextManager[None]]
    is_wanted: Callable[[], bool]
    host_engines: HostSlots
    wanted: Counter[str]
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
            with Counted(self.wanted, engine.id.hex()):
                await self._calls.to_the_end(lambda: engine.run(on_event), engine.stop)
        finally:
            if (permit := self._permits.pop(engine.id, None)) is not None:
                os.close(permit)

    async def call(self, function: Callable[[], T]) -> T:
        """Call in a thread."""
        return await self._calls.quick(function)

    def may_wait(self, engine: ModelEngine) -> bool:
        """Whether it may stay loaded without a slot; it may from then on."""
        if not self.host_engines.is_limited or engine.id in self._permits:
            return True
        permit = self.host_engines.take()
        if permit is not None:
            self._permits[engine.id] = permit
        return permit is not None
