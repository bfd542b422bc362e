"""Events of time alone: deadlines, and a tick a second."""

import heapq
from collections.abc import Awaitable, Callable
from typing import NoReturn

import trio

from protocol.effects import AwaitDeadline
from protocol.events import DeadlinePassed, Event, Tick
from protocol.timers import Timer

TICK_S = 1.0
LONGEST_SLEEP_S = 10.0
"""How long the timers trust the clock: a suspended machine or a corrected clock must not delay a deadline further."""


class Clockwork:
    """Hands each event to `send` at its time, with the key of the effect that it answers."""

    def __init__(self, clock_ms: Callable[[], int], send: Callable[[Event, bytes | None], Awaitable[None]]) -> None:
        self._clock_ms = clock_ms
        self._send = send
        self._waiting: list[tuple[int, bytes]] = []
        self._timers: dict[bytes, Timer] = {}
        self._is_set = trio.Event()

    def __len__(self) -> int:
        """Deadlines to come."""
        return len(self._waiting)

    def wait_for(self, key: bytes, deadline: AwaitDeadline, not_before_ms: int) -> None:
        """Pass a deadline at its time, once."""
        self._timers[key] = deadline.timer
        heapq.heappush(self._waiting, (max(deadline.at_ms, not_before_ms), key))
        self._is_set.set()

    async def watch(self) -> NoReturn:
        """Pass the deadlines."""
        while True:
            now_ms = self._clock_ms()
            while self._waiting and self._waiting[0][0] <= now_ms:
                _, key = heapq.heappop(self._waiting)
                await self._send(DeadlinePassed(self._timers.pop(key)), key)
            self._is_set = trio.Event()
            rest_s = (self._waiting[0][0] - now_ms) / 1000 if self._waiting else LONGEST_SLEEP_S
            with trio.move_on_after(min(rest_s, LONGEST_SLEEP_S)):
                await self._is_set.wait()

    async def tick(self) -> NoReturn:
        """Tick."""
        while True:
            await trio.sleep(TICK_S)
            await self._send(Tick(), None)
