"""Slots for the containers of all nodes that share a content store: at most so many run on a machine at once.

A slot is a locked FIFO, and so is a place in the queue for one. Its owner is the only writer. When the owner closes it
or is killed, the kernel first unlocks it and then tells each reader that the writer is gone: a reader that wakes finds
it free. A waiter reads the place before its own, and the first one reads all slots. Places are in the order of their
due time.
"""

import contextlib
import fcntl
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import trio

from protocol.errors import ExecutorError

PLACES = "places"
MODE = 0o666
OWNER = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
READER = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

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
            held = await self._wait(place)
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

    def is_free(self) -> bool:
        """Whether there is a free slot, or no limit. Raises: ExecutorError if the folder cannot be used."""
        if self._count and (held := self.take()) is not None:
            os.close(held)
            return True
        return not self._count

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._count > 0

    def is_wanted(self) -> bool:
        """Whether a node of the machine waits for a slot."""
        with self._folder_errors(), ExitStack() as watched:
            return bool(self._count) and self._last_before(chr(0x7F), watched) is not None

    @contextmanager
    def _place(self, waits_s: float) -> Iterator[str]:
        """A place in the queue: its name, the later the larger."""
        name = f"{time.time_ns() + round(waits_s * 1e9):020d}-{os.getpid()}-{next(_places)}"
        path = self._folder / PLACES / name
        with self._folder_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Locked before it has its name: one that is not locked is that of a dead process.
            unnamed = path.with_name(f".{name}")
            os.mkfifo(unnamed, MODE)
            opened = os.open(unnamed, OWNER)
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(path)
        try:
            yield name
        finally:
            path.unlink(missing_ok=True)
            os.close(opened)

    async def _wait(self, place: str) -> int:
        """A slot, once one is free for this place."""
        while True:
            with self._folder_errors(), ExitStack() as watched:
                before = self._last_before(place, watched)
                if before is None:
                    # Watched before one is tried: the end of an owner between the two is seen.
                    slots = [self._watch(path, watched) for path in self._slots()]
                    if (held := self._free_slot()) is not None:
                        return held
                else:
                    slots = [before]
                await _any_owner_gone(slots)

    def _last_before(self, place: str, watched: ExitStack) -> int | None:
        """A reader of the last place before this one whose owner waits; None if there is none."""
        try:
            names = sorted(name for name in os.listdir(self._folder / PLACES) if "0" <= name < place)
        except FileNotFoundError:
            return None
        for name in reversed(names):
            path = self._folder / PLACES / name
            with contextlib.suppress(FileNotFoundError):
                reader = self._watch(path, watched)
                if not _is_free(reader):
                    return reader
                path.unlink()
        return None

    def _watch(self, path: Path, watched: ExitStack) -> int:
        reader = os.open(path, READER)
        watched.callback(os.close, reader)
        return reader

    def _slots(self) -> list[Path]:
        """The files of all slots; those that are not there are made."""
        self._folder.mkdir(parents=True, exist_ok=True)
        paths = [self._folder / f"slot-{number}" for number in range(self._count)]
        for path in paths:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, MODE)
        return paths

    def _free_slot(self) -> int | None:
        for path in self._slots():
            opened = os.open(path, OWNER)
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


def _is_free(reader: int) -> bool:
    """Whether the owner of a place is gone."""
    try:
        # Shared: two who look at the same time must not take each other for the owner.
        fcntl.flock(reader, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _any_owner_gone(readers: Iterable[int]) -> None:
    """Wait until one of these files has lost its owner."""
    async with trio.open_nursery() as nursery:

        async def wait(reader: int) -> None:
            await trio.lowlevel.wait_readable(reader)
            nursery.cancel_scope.cancel()

        for reader in readers:
            nursery.start_soon(wait, reader)
