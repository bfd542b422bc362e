"""Slots for the containers of all nodes that share a content store: at most so many run on a machine at once.

A slot is a locked file, and so is a place in the queue for one. The kernel unlocks both when their holder ends, also
after a crash. Places are in the order of their due time.
"""

import fcntl
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from protocol.errors import ExecutorError

POLL_S = 0.05
QUEUE = "queue"

_places = itertools.count()


class HostSlots:
    """`count` slots as files of a folder; 0 means no limit."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count

    @asynccontextmanager
    async def hold(self, waits_s: float = 0) -> AsyncIterator[None]:
        """Wait for a free slot and hold it. Raises: ExecutorError if the folder cannot be used.

        Args: waits_s, how much later than now it is due: those who come within that time go before.
        """
        if not self._count:
            yield
            return
        with self._place(waits_s) as place:
            held = self._first(place)
            while held is None:
                await trio.sleep(POLL_S)
                held = self._first(place)
        try:
            yield
        finally:
            os.close(held)

    def take(self) -> int | None:
        """Hold a free slot at once, until the file is closed; None if there is none or no limit.

        Raises: ExecutorError if the folder cannot be used.
        """
        with self._folder_errors():
            return self._free_slot()

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._count > 0

    def is_wanted(self) -> bool:
        """Whether a node of the machine waits for a slot."""
        return bool(self._count) and self._is_any_before(chr(0x7F))

    @contextmanager
    def _place(self, waits_s: float) -> Iterator[str]:
        """A place in the queue: its name, the later the larger."""
        name = f"{time.time_ns() + round(waits_s * 1e9):020d}-{os.getpid()}-{next(_places)}"
        path = self._folder / QUEUE / name
        with self._folder_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Locked before it has its name: one that is not locked is that of a dead process.
            unnamed = path.with_name(f".{name}")
            opened = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(path)
        try:
            yield name
        finally:
            path.unlink(missing_ok=True)
            os.close(opened)

    def _first(self, place: str) -> int | None:
        """A slot, if one is free and nobody is before this place."""
        with self._folder_errors():
            return None if self._is_any_before(place) else self._free_slot()

    def _is_any_before(self, place: str) -> bool:
        try:
            names = sorted(name for name in os.listdir(self._folder / QUEUE) if "0" <= name < place)
        except FileNotFoundError:
            return False
        return any(self._is_alive(self._folder / QUEUE / name) for name in names)

    def _is_alive(self, path: Path) -> bool:
        """Whether its process still waits; removes the place of a dead one."""
        try:
            opened = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(opened)

    def _free_slot(self) -> int | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in range(self._count):
            opened = os.open(self._folder / str(number), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(opened)
            else:
                return opened
        return None

    @contextmanager
    def _folder_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ExecutorError(f"cannot wait for a slot in {self._folder}: {error.strerror}") from error
