"""The journal: what happened, in order, in one SQLite file; folding it again gives back the state of every role.

Rows are only added. A commit is on the disk when it returns, so what is in the journal may be acted on. Not in it:
beats, streamed tokens, plaintext and keys. All calls are made by one thread at a time.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar, get_args

import trio

from protocol.errors import ConfigError, Malformed, TooLarge
from protocol.events import Durable, Event
from protocol.wire.codec import decode_named, encode_named
from protocol.wire.ids import Address, Hash32
from protocol.wire.names import by_name

T = TypeVar("T")
FILE_NAME = "journal.sqlite"
LOCK_NAME = "lock"
SCHEMA = 2
"""Version of the tables, kept as SQLite's user_version."""
MAX_EVENT_BYTES = 16 * 2**20
"""Above any event that a role can be given; a larger row means a damaged file."""

_TABLES = """
    CREATE TABLE events (seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, body BLOB, answers BLOB);
    CREATE TABLE transactions (
        seq INTEGER PRIMARY KEY, sender TEXT NOT NULL, nonce INTEGER NOT NULL,
        effect BLOB, about BLOB, raw BLOB NOT NULL
    );
    CREATE TABLE cursor (id INTEGER PRIMARY KEY CHECK (id = 0), block INTEGER NOT NULL, hash BLOB);
    CREATE TABLE owner (id INTEGER PRIMARY KEY CHECK (id = 0), name TEXT NOT NULL);
"""
_FROM_1 = "ALTER TABLE cursor ADD COLUMN hash BLOB;"
_TABLE_NAMES = frozenset({"events", "transactions", "cursor", "owner"})
# SQLite quotes what it finds in a damaged file, and that need not be text.
_DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
_EVENTS = by_name(get_args(Durable))


class Entry(NamedTuple):
    """One row. `answers` is the key of the effect that the event answers.

    Without an event it says only that the effect was answered, by something that need not be kept.
    """

    event: Event | None
    at_ms: int
    answers: bytes | None = None


@dataclass(frozen=True, slots=True)
class SentTransaction:
    """A signed transaction as it was before it was broadcast.

    `effect` is the key of the effect that it was sent for and `about` what that is for, both None for a movement of the
    user's money; `raw` are the bytes to send again.
    """

    sender: Address
    nonce: int
    effect: bytes | None
    about: bytes | None
    raw: bytes


class DataDirectory:
    """The directory that one daemon owns: private to its user, and locked for as long as the process lives.

    The lock is the kernel's, so that none is left behind by a crash.
    """

    def __init__(self, path: Path) -> None:
        """Make and lock it.

        Raises: ConfigError if it cannot be made or another daemon uses it.
        """
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot use {path}: {error.strerror}", "set node.data_dir") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise ConfigError(
                f"another daemon uses {path} (pid {holder})", "stop it, or set node.data_dir for this one"
            ) from None
        # The number is only for people to read; a stale one misleads nobody, for the lock is what counts.
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._lock)


class Journal:
    """The open file. Made by `open_journal`, closed by leaving its `with` block."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path
        # One writer: the second call waits for the first, in the order of asking.
        self._turn = trio.CapacityLimiter(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def require_owner(self, name: str) -> None:
        """Bind the journal to one node on one chain, at the first start; `name` says which.

        Raises: ConfigError if it is bound to another: its open jobs and nonces would mean nothing there.
        """
        row = self._db.execute("SELECT name FROM owner").fetchone()
        if row is None:
            self._write("INSERT INTO owner (id, name) VALUES (0, ?)", [(name,)])
        elif row[0] != name:
            raise ConfigError(
                f"{self._path} is of {row[0]}, this is {name}", "set node.data_dir to a directory of its own"
            )

    async def append(self, entries: Sequence[tuple[Event | None, int, bytes | None]]) -> None:
        """Add entries in one commit: all are on the disk when this returns, or none."""
        rows = [(at_ms, None if event is None else encode_named(event), key) for event, at_ms, key in entries]
        await self._run(lambda: self._write("INSERT INTO events (at_ms, body, answers) VALUES (?, ?, ?)", rows))

    def read_all(self) -> Iterator[Entry]:
        """Every row from the first on. For the start, before anything is appended.

        Raises: ConfigError if a row cannot be read.
        """
        try:
            for seq, at_ms, body, answers in self._db.execute(
                "SELECT seq, at_ms, body, answers FROM events ORDER BY seq"
            ):
                if (
                    type(at_ms) is not int
                    or not isinstance(body, bytes | None)
                    or not isinstance(answers, bytes | None)
                ):
                    raise sqlite3.DatabaseError(f"row {seq} is of another kind")
                yield Entry(None if body is None else self._decode(seq, body), at_ms, answers)
        except _DAMAGE as error:
            raise _damaged(self._path, error) from error

    async def record_transaction(self, sent: SentTransaction) -> None:
        """Keep a signed transaction before it leaves the machine."""
        sql = "INSERT INTO transactions (sender, nonce, effect, about, raw) VALUES (?, ?, ?, ?, ?)"
        await self._run(lambda: self._write(sql, [astuple(sent)]))

    async def transactions(self, newest: int = 256) -> tuple[SentTransaction, ...]:
        """The newest transactions that were recorded, in that order; one that paid more for a nonce comes later."""
        sql = "SELECT sender, nonce, effect, about, raw FROM transactions ORDER BY seq DESC LIMIT ?"
        rows = await self._run(lambda: self._db.execute(sql, (newest,)).fetchall())
        return tuple(SentTransaction(*row) for row in reversed(rows))

    async def cursor(self) -> int | None:
        """The last block whose events are all in the journal; None before the first."""
        row = await self._run(lambda: self._db.execute("SELECT block FROM cursor").fetchone())
        return None if row is None else int(row[0])

    async def cursor_hash(self) -> Hash32 | None:
        """The hash of that block, by which a chain that lost it is known; None where it was not known."""
        row = await self._run(lambda: self._db.execute("SELECT hash FROM cursor").fetchone())
        return None if row is None or row[0] is None else Hash32(row[0])

    async def move_cursor(self, block: int, block_hash: Hash32 | None = None) -> None:
        """Remember that every event up to `block` was appended."""
        sql = "INSERT OR REPLACE INTO cursor (id, block, hash) VALUES (0, ?, ?)"
        await self._run(lambda: self._write(sql, [(block, block_hash)]))

    async def _run(self, call: Callable[[], T]) -> T:
        # Never abandoned: a commit that has begun ends before its daemon does.
        return await trio.to_thread.run_sync(call, limiter=self._turn)

    def _write(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(sql, rows)
        except sqlite3.OperationalError as error:
            raise ConfigError(f"cannot write {self._path}: {error}", "is the disk full?") from error

    def _decode(self, seq: int, body: bytes) -> Event:
        try:
            event: Event = decode_named(_EVENTS, body, MAX_EVENT_BYTES)
        except (Malformed, TooLarge) as error:
            raise ConfigError(
                f"row {seq} of {self._path} cannot be read: {error}", "it was written by another version of vcoin"
            ) from error
        return event


def open_journal(directory: Path) -> Journal:
    """Open the journal of a data directory, or make it. The directory is locked by its `DataDirectory`.

    Raises: ConfigError if the file is damaged or was written by a newer version.
    """
    path = directory / FILE_NAME
    path.touch(mode=0o600)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        # FULL: in WAL mode the default would lose the last commits with the power.
        for setting in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000"):
            db.execute(f"PRAGMA {setting}")
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
        elif db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check failed")
        elif found == 1:
            db.executescript(f"BEGIN IMMEDIATE; {_FROM_1} PRAGMA user_version = {SCHEMA}; COMMIT;")
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if found < 0 or (found <= SCHEMA and not names >= _TABLE_NAMES):
            raise sqlite3.DatabaseError("a table is missing")
    except _DAMAGE as error:
        db.close()
        raise _damaged(path, error) from error
    if found > SCHEMA:
        db.close()
        raise ConfigError(f"{path} was written by a newer vcoin (schema {found})", "install that version again")
    return Journal(db, path)


def _damaged(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"{path} is damaged: {error}",
        "put back a copy of it, or move it away: the node then forgets its open jobs, and keeps its keys",
    )
