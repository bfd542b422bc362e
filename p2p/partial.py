"""One content on its way to the store: its bytes so far, hashed, in a file that survives a restart."""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from protocol.errors import P2PError
from protocol.wire.ids import Cid

READ_BYTES = 1024 * 1024


class Partial:
    """Content on its way: what has come is on the disk and hashed, and survives a restart."""

    def __init__(self, path: Path, cid: Cid) -> None:
        """Raises: P2PError while another node that shares the store fetches the same content."""
        self._path = path
        self._cid = cid
        self._hash = hashlib.sha256()
        self._file: BinaryIO = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise P2PError(f"another node of this machine fetches {cid.hex()}", transient=True) from error
        self.size = 0
        self._file.seek(0)
        while data := self._file.read(READ_BYTES):
            self._hash.update(data)
            self.size += len(data)

    def append(self, data: bytes) -> None:
        """Add what came next."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """Throw away what is here."""
        self._file.truncate(0)
        self._hash = hashlib.sha256()
        self.size = 0

    def finish(self, target: Path) -> bool:
        """Move to `target` if this is the content; False if it is some other, which is thrown away."""
        if self._hash.digest() != self._cid:
            self.restart()
            return False
        self._file.flush()
        os.fsync(self._file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        self._path.rename(target)
        return True

    def close(self) -> None:
        """Keep for later what is here; forget it if that is nothing."""
        if not self.size:
            self._path.unlink(missing_ok=True)
        self._file.close()
