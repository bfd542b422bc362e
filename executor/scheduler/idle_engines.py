"""Engines that are loaded and have no work: how long they stay, which one ends first, and which is started ahead."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import trio

from executor.runs.context import EngineKey
from executor.scheduler.engine_use import EngineUse
from executor.scheduler.live_engine import EngineHost, LiveEngine
from protocol.errors import ExecutorError

log = logging.getLogger(__name__)

QUIET_S = 600.0
"""An engine that ended because memory was short is not started ahead for so long: it would end again."""
GONE_WITHIN_S = 20.0
"""So long the end of a container is waited for, before its memory is counted again."""


@dataclass(eq=False, repr=False)
class IdleEngines:
    """The idle ones of `engines`: those without a turn that have none in `turns`, for which a slot is held or awaited.

    keep_s: how long one stays loaded without work.
    """

    host: EngineHost
    keep_s: float
    engines: dict[EngineKey, LiveEngine]
    turns: set[EngineKey]
    use: EngineUse = field(default_factory=EngineUse)
    _lost: dict[EngineKey, float] = field(default_factory=dict)
    """Engines that ended before their time, and from when on each may be started ahead."""

    async def rest(self, live: LiveEngine) -> None:
        """Its turn is over: it stays loaded for a while, or ends. The longest unused makes room for it."""
        live.used_s = trio.current_time()
        while not live.is_ending and not live.over.is_set() and live.key not in self.turns:
            if not self.keep_s or live.is_spent:
                await self.end(live, lost_s=0)
            elif self.host.may_wait(live.engine):
                await self._expire(live)
                return
            else:
                await self._evict(next((each for each in self._by_last_use() if each is not live), live), lost_s=0)

    async def _expire(self, live: LiveEngine) -> None:
        turns = live.turns
        with trio.move_on_after(self.keep_s):
            await live.over.wait()
            return
        if live.turns == turns and live.key not in self.turns:
            await self.end(live)

    async def end(self, live: LiveEngine, *, lost_s: float | None = None) -> None:
        """End an engine now. Args: lost_s, in how long another may be started ahead in its place; None: never."""
        live.is_ending = True
        if self.engines.get(live.key) is live:
            del self.engines[live.key]
            if lost_s is not None:
                self._lost[live.key] = trio.current_time() + lost_s
        try:
            await self.host.call(live.engine.stop)
        except ExecutorError as error:
            log.warning("an engine cannot be ended: %s", error)

    async def make_room(self, is_enough: Callable[[], bool]) -> None:
        """End idle engines, the longest unused first, until there is memory enough or none is left."""
        while not is_enough():
            idle = next(self._by_last_use(), None)
            if idle is None:
                return
            log.info("an engine without work is ended: its memory is needed")
            await self._evict(idle, lost_s=QUIET_S)

    async def let_go(self, manifest: bytes) -> None:
        """End the idle engines of a model, which is about to leave the store."""
        for live in [each for each in self._by_last_use() if each.key[0] == manifest]:
            await self._evict(live, lost_s=None)

    async def give_way(self, key: EngineKey) -> None:
        """Another engine has work: end those that are being started ahead."""
        for live in [each for each in self._by_last_use() if not each.ready.is_set() and each.key != key]:
            await self.end(live, lost_s=0)

    def expect_again(self) -> None:
        """After a restart: the engines of the last hour are lost."""
        self._lost.update(dict.fromkeys(self.use.ranking(), 0.0))

    def ahead(self) -> EngineKey | None:
        """The most used of the lost engines, if it may be started now: slot and memory are free. It is lost no more."""
        ranking, now = self.use.ranking(), trio.current_time()
        self._lost = {key: at for key, at in self._lost.items() if key in ranking and key not in self.engines}
        key = next((key for key in ranking if key in self._lost and self._lost[key] <= now), None)
        is_loading = any(not each.ready.is_set() for each in self.engines.values())
        if not self.keep_s or key is None or self.turns or is_loading:
            return None
        if not self.host.is_free() or not self.host.fits(key):
            return None
        del self._lost[key]
        return key

    def _by_last_use(self) -> Iterator[LiveEngine]:
        """The idle engines, the longest unused first."""
        idle = [each for each in self.engines.values() if each.turn_s is None and each.key not in self.turns]
        return iter(sorted(idle, key=lambda each: each.used_s))

    async def _evict(self, live: LiveEngine, *, lost_s: float | None) -> None:
        await self.end(live, lost_s=lost_s)
        with trio.move_on_after(GONE_WITHIN_S):
            await live.over.wait()
