"""Turns: how many containers run at once on a machine, over all nodes that share a content store.

A turn is a locked file. The system unlocks it when its holder ends, however it ends, so none can be lost.
"""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from protocol.errors import ExecutorError

POLL_S = 0.1


class Turns:
    """`count` turns as files of a folder; 0: everybody may run at any time."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it. Raises: ExecutorError if the folder cannot be used."""
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
        """The file of a turn that was free, locked; None if there is none."""
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
            raise ExecutorError(f"cannot wait for a turn in {self._folder}: {error.strerror}") from error
        return None
