"""The shares of all nodes' runs in the memory of each card, as locked files of one folder.

A hold is a file with a number of bytes, locked by its owner. The lock ends with the process, however that ends: a hold
that is not locked is that of a dead process, and the next process that counts removes it. A card's own file is locked
while holds are counted and made, so that two nodes never hold the same memory.
"""

import contextlib
import fcntl
import itertools
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from executor.cards.choice import NoCardFits
from protocol.errors import ExecutorError

FOLDER = Path("/run/lock/vcoin-cards")
"""Every user of a machine may write to /run/lock, and a restart of the machine empties it."""
FOLDER_MODE, FILE_MODE = 0o1777, 0o666
MAX_HOLDS = 256
WHOLE_CARD = 1 << 62
"""What a hold counts that cannot be read."""
_DIGITS = 20

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class CardHold:
    """Memory of one card that a run has until `release`."""

    uuid: str
    share_bytes: int
    _path: Path = field(repr=False)
    _file: int = field(repr=False)

    def release(self) -> None:
        """Give the memory back."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class CardBook:
    """The holds of a machine. All calls block for as long as another node counts, which is milliseconds."""

    folder: Path = FOLDER

    def held(self, uuid: str) -> int:
        """Bytes of a card that runs of this machine hold. Raises: ExecutorError."""
        with self._locked(uuid) as home:
            return _count(home)

    def hold(self, uuid: str, share_bytes: int, most_bytes: int) -> CardHold:
        """Hold memory of a card for a run.

        Args: most_bytes, of all holds of the card together.
        Raises: NoCardFits if another node was faster, ExecutorError if the folder cannot be used.
        """
        with self._locked(uuid) as home:
            held = _count(home)
            if held + share_bytes > most_bytes:
                raise NoCardFits(f"another node of this machine has taken the memory of {uuid}", transient=True)
            path = home / f"{os.getpid()}-{next(_numbers)}"
            opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
            try:
                # Other users read it and try its lock.
                os.fchmod(opened, FILE_MODE)
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(opened, b"%d" % share_bytes)
            except OSError:
                os.close(opened)
                raise
            return CardHold(uuid, share_bytes, path, opened)

    @contextmanager
    def _locked(self, uuid: str) -> Iterator[Path]:
        """The folder of a card, in which no other process counts meanwhile."""
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,96}", uuid) or uuid.startswith("."):
            raise ExecutorError(f"the driver names a card {uuid!r}, which is no name for a file")
        home = self.folder / uuid
        try:
            for folder in (self.folder, home):
                with contextlib.suppress(FileExistsError):
                    folder.mkdir(parents=True)
                    folder.chmod(FOLDER_MODE)
            lock = _open_shared(home / ".lock")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield home
            finally:
                os.close(lock)
        except OSError as error:
            raise ExecutorError(f"cannot share cards in {self.folder}: {error.strerror or error}") from error


def _open_shared(path: Path) -> int:
    """Open a file that all users share. In a sticky folder, opening that of another user must not ask to create it."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(FileExistsError):
        made = os.open(path, flags | os.O_CREAT | os.O_EXCL, FILE_MODE)
        os.fchmod(made, FILE_MODE)
        return made
    return os.open(path, flags)


def _count(home: Path) -> int:
    """The bytes of all holds whose owners live; forgets the others."""
    total = 0
    for number, name in enumerate(name for name in os.listdir(home) if not name.startswith(".")):
        if number >= MAX_HOLDS:
            return WHOLE_CARD
        path = home / name
        with contextlib.suppress(FileNotFoundError):
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _is_held(opened):
                    total += _bytes_of(opened)
                else:
                    # Of another user, in a sticky folder: it counts as nothing, and stays.
                    with contextlib.suppress(PermissionError):
                        path.unlink()
            finally:
                os.close(opened)
    return total


def _is_held(opened: int) -> bool:
    """Whether the owner of a hold lives."""
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(opened, fcntl.LOCK_UN)
    return False


def _bytes_of(opened: int) -> int:
    """What a hold says; all of a card if it says nothing that can be read."""
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        return WHOLE_CARD
    text = os.read(opened, _DIGITS)
    return int(text) if text.isdigit() and len(text) < _DIGITS else WHOLE_CARD
