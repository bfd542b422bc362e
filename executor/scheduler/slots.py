"""Slots for the containers of all nodes that share a content store: at most so many run on a machine at once.

A slot is a locked file. The kernel unlocks it when its holder ends, also after a crash.
"""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from protocol.errors import ExecutorError

POLL_S = 0.1


class HostSlots:
    """`count` slots as files of a folder; 0 means no limit."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait for a free slot and hold it. Raises: ExecutorError if the folder cannot be used."""
        if not self._count:
            yield
            return
        held = self._try_all()
        while held is None:
            await trio.sleep(POLL_S)
            held = self._try_all()
        try:
            yield
        finally:
            os.close(held)

    def _try_all(self) -> int | None:
        """The locked file of a free slot; None if all are held."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for number in range(self._count):
                opened = os.open(self._folder / str(number), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
                try:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(opened)
                else:
                    return opened
        except OSError as error:
            raise ExecutorError(f"cannot wait for a slot in {self._folder}: {error.strerror}") from error
        return None
