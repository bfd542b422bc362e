"""Followers of jobs: each gets every update in order through a bounded channel, and none can hold up the daemon."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import trio

from node.api.faults import Fault
from node.api.views import JobUpdate, JobView

BACKLOG = 256
"""Updates that may wait for a slow reader before it is cut off."""


class Feed:
    """Hands updates of jobs to their followers."""

    def __init__(self) -> None:
        self._followers: dict[str, set[trio.MemorySendChannel[JobUpdate]]] = {}

    @property
    def followed(self) -> frozenset[str]:
        """The jobs that somebody follows: only for these is it worth making updates."""
        return frozenset(self._followers)

    def publish(self, job_id: str, update: JobUpdate) -> None:
        """Give an update to all followers of a job, without waiting for any."""
        for channel in tuple(self._followers.get(job_id, ())):
            try:
                channel.send_nowait(update)
            except trio.WouldBlock:
                self._drop(job_id, channel)

    @asynccontextmanager
    async def follow(
        self, job_id: str, look: Callable[[], JobView], fill: Callable[[JobView], Awaitable[JobView]]
    ) -> AsyncIterator[AsyncIterator[JobUpdate]]:
        """Follow a job from now on.

        Args: look gives its view and is called together with the subscription; fill adds to that first view what has
        to be read from the disk.

        The iterator ends after the update in which the job has ended. Raises, inside of it: Fault busy where the
        reader fell more than BACKLOG updates behind.
        """
        send, receive = trio.open_memory_channel[JobUpdate](BACKLOG)
        self._followers.setdefault(job_id, set()).add(send)
        first = look()
        try:
            async with aclosing(_updates(first, fill, receive)) as updates:
                yield updates
        finally:
            self._drop(job_id, send)
            receive.close()

    def _drop(self, job_id: str, channel: trio.MemorySendChannel[JobUpdate]) -> None:
        channel.close()
        members = self._followers.get(job_id, set())
        members.discard(channel)
        if not members:
            self._followers.pop(job_id, None)


async def _updates(
    first: JobView, fill: Callable[[JobView], Awaitable[JobView]], receive: trio.MemoryReceiveChannel[JobUpdate]
) -> AsyncGenerator[JobUpdate, None]:
    yield JobUpdate("state", job=await fill(first))
    if first.ended:
        return
    async for update in receive:
        yield update
        if update.job is not None and update.job.ended:
            return
    raise Fault("busy", "this reader is too slow for the job's updates", "ask for the job again")
