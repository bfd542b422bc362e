"""The reports of an adapter, and waiting for more with a deadline."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import trio

from protocol.events import BlockSeen, Event

T = TypeVar("T")
PATIENCE_S = 20.0


class Reporter(Protocol):
    """An adapter that reports facts."""

    async def run(self, send_event: Any, *, task_status: Any = ...) -> None: ...


class Story:
    """Every event so far, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = trio.Condition()

    async def add(self, event: Event) -> None:
        """Takes an event; what the adapter calls."""
        async with self._news:
            self.events.append(event)
            self._news.notify_all()

    def all(self, kind: type[T]) -> list[T]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[T], check: Callable[[T], bool] = lambda _: True) -> T:
        """The first event of a kind that passes a check; waits for it, but not forever."""
        with trio.move_on_after(PATIENCE_S):
            async with self._news:
                while True:
                    for event in self.all(kind):
                        if check(event):
                            return event
                    await self._news.wait()
        raise AssertionError(f"no such {kind.__name__} in {self.events}")

    async def until_block(self, block: int) -> BlockSeen:
        """Waits until a block counts as final and everything up to it was told."""
        return await self.until(BlockSeen, lambda seen: seen.final >= block)


@asynccontextmanager
async def told_by(reporter: Reporter) -> AsyncIterator[Story]:
    """Runs an adapter and keeps what it says."""
    story = Story()
    async with trio.open_nursery() as nursery:
        await nursery.start(reporter.run, story.add)
        yield story
        nursery.cancel_scope.cancel()
