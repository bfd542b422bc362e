"""The journal: what happened, in order, in one SQLite file; folding it again gives back the state of every role.

Rows are added; an event that no role could handle is set aside, out of its row. A commit is on the disk when it
returns, so what is in the journal may be acted on. Not in it: beats, streamed tokens, plaintext and keys. All calls
that write are made by one thread at a time.
"""

import fcntl
import os
import sqlite3
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple, Self, TypeVar, get_args

import cbor2
import trio

from node.earlier import present_form
from protocol.errors import ConfigError
from protocol.events import Durable, Event
from protocol.wire.codec import decode_named, encode_named
from protocol.wire.ids import Address, Hash32
from protocol.wire.names import by_name

T = TypeVar("T")
FILE_NAME = "journal.sqlite"
LOCK_NAME = "lock"
VERSION_NAME = "version"
DIRECTORY_VERSION = 1
"""Of what lies in a data directory and how it is called; each file says its own."""
SCHEMA = 9
"""Version of the tables, kept as SQLite's user_version."""
MAX_EVENT_BYTES = 16 * 2**20
"""Above any event that a role can be given; a larger row means a damaged file."""
ASIDE_KEPT = 256
"""Events that were set aside; the oldest go first."""
MAX_FREE_BYTES = 32 * 2**20
"""Above that the file is written anew where most of it is free."""
MAX_ASIDE_BYTES = 65_536
"""Bytes of a set-aside event that are kept for the search of the fault."""

_TABLES = """
    CREATE TABLE events (seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, body BLOB, answers BLOB);
    CREATE TABLE transactions (
        seq INTEGER PRIMARY KEY, sender TEXT NOT NULL, nonce INTEGER NOT NULL,
        effect BLOB, about BLOB, raw BLOB NOT NULL
    );
    CREATE TABLE cursor (id INTEGER PRIMARY KEY CHECK (id = 0), block INTEGER NOT NULL, hash BLOB);
    CREATE TABLE owner (id INTEGER PRIMARY KEY CHECK (id = 0), name TEXT NOT NULL);
"""
_ASIDE = """
    CREATE TABLE aside (
        id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL, event TEXT NOT NULL, reason TEXT NOT NULL,
        body BLOB
    );
"""
_ASIDE_SINCE = 3
_SET_ASIDE = """
    INSERT INTO aside (seq, at_ms, event, reason, body)
    VALUES (?1, ?2, ?3, ?4, (SELECT substr(body, 1, ?5) FROM events WHERE seq = ?1))
"""
_EMPTY = "UPDATE events SET at_ms = ?2, body = NULL, answers = CASE WHEN ?3 THEN NULL ELSE answers END WHERE seq = ?1"
_FORGET_ASIDE = "DELETE FROM aside WHERE id <= (SELECT max(id) FROM aside) - ?"
_END = 2**63 - 1
_PAGES = ("freelist_count", "page_count", "page_size")
_SNAPSHOT = """
    CREATE TABLE snapshot (
        id INTEGER PRIMARY KEY CHECK (id = 0), seq INTEGER NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
        pending BLOB NOT NULL
    );
"""
_SAVE = "INSERT OR REPLACE INTO snapshot (id, seq, version, state, pending) VALUES (0, ?, ?, ?, ?)"
# The last row stays, so that the next one gets a higher number.
_DROP = "DELETE FROM events WHERE seq < ?"
# ["DeadlinePassed", [...]] and ["MessageReceived", [...]] in CBOR: the first one's timer was a text up to version 2, a
# message of the second may have had another name up to version 4.
_RENAMED = """
    UPDATE events SET body = present_form(body)
    WHERE substr(body, 1, 16) IN (x'826e446561646c696e65506173736564', x'826f4d65737361676552656365697665');
"""
# Up to version 5 no row was a ModelRemoved: a program of then would set it aside, and offer a model that is gone.
_REMOVALS = ""
# Up to version 6 no job had token rules: a program of then would fold its ask as one that no node serves, and give the
# number of its order to another one.
_RULES = ""
# Up to version 7 none told of a lane before that is final: a program of then would forget what it works for.
_LANES = ""
# Up to version 8 no job was stopped: a program of then would condemn the short answer and hire another node.
_STOPS = ""
_STEPS = {
    1: "ALTER TABLE cursor ADD COLUMN hash BLOB;",
    2: _ASIDE,
    3: _SNAPSHOT,
    4: _RENAMED,
    5: _REMOVALS,
    6: _RULES,
    7: _LANES,
    8: _STOPS,
}
"""Steps that bring tables and rows to the next version: one commit a step, so that a killed one begins again."""
_TABLE_NAMES = frozenset({"events", "transactions", "cursor", "owner", "aside", "snapshot"})
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


def _require_version(file: Path) -> None:
    """Check the version of a data directory, and say it in one that does not: those before 1 did not."""
    try:
        found = file.read_text(errors="replace").strip() if file.exists() else ""
        if not found:
            file.write_text(f"{DIRECTORY_VERSION}\n")
    except OSError as error:
        raise ConfigError(f"cannot use {file}: {error.strerror}", "set node.data_dir") from error
    if found and found != str(DIRECTORY_VERSION):
        raise ConfigError(
            f"{file.parent} is of version {found[:20]!r}, and this program knows version {DIRECTORY_VERSION}",
            "install the version that has run there last, or set node.data_dir to another directory",
        )


class SavedState(NamedTuple):
    """The snapshot of the rows up to `seq`: state of a version, and the effects that none of them answers."""

    seq: int
    version: int
    state: bytes
    pending: tuple[bytes, ...]


class Aside(NamedTuple):
    """An event that no role could handle: its row, 0 if it was never journalled; when it came, what it was, and why."""

    seq: int
    at_ms: int
    event: str
    reason: str


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


@contextmanager
def own_directory(path: Path) -> Iterator[Path]:
    """Hold the directory that one daemon owns: private to its user, made if need be, and locked until it is let go.

    The lock is the kernel's, so that none is left behind by a crash.
    Raises: ConfigError if it cannot be made, another daemon uses it, or a newer version has made it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot use {path}: {error.strerror}", "set node.data_dir") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            raise ConfigError(
                f"another daemon uses {path} (pid {holder})", "stop it, or set node.data_dir for this one"
            ) from None
        # The number is only for people to read; a stale one does no harm, for the lock is what counts.
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        _require_version(path / VERSION_NAME)
        yield path
    finally:
        os.close(lock)


class Journal:
    """The open file. Made by `open_journal`, closed by leaving its `with` block."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path
        # One writer: the second call waits for the first, in the order of asking.
        self._turn = trio.CapacityLimiter(1)
        self.aside = deque(_aside(connection), ASIDE_KEPT)
        """The rows that were set aside, oldest first."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
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

    async def append(self, entries: Sequence[tuple[Event | None, int, bytes | None]]) -> int:
        """Add entries in one commit: all are on the disk when this returns, or none. Returns the number of the last."""
        rows = [(at_ms, None if event is None else encode_named(event), key) for event, at_ms, key in entries]
        return await self._run(lambda: self._write("INSERT INTO events (at_ms, body, answers) VALUES (?, ?, ?)", rows))

    async def set_aside(self, seq: int, at_ms: int, event: str, reason: str, *, reopen: bool = False) -> None:
        """Take an event out of its row, so that no fold meets it again.

        Args: seq, its row, or 0 if it has none; reopen, whether the effect that it answered is to be asked for again.
        """
        row = Aside(seq, at_ms, event, reason)
        then = ((_EMPTY, (seq, at_ms, reopen)), (_FORGET_ASIDE, (ASIDE_KEPT,)))
        await self._run(lambda: self._write(_SET_ASIDE, [(*row, MAX_ASIDE_BYTES)], *then))
        self.aside.append(row)

    def read_all(self) -> Iterator[Entry]:
        """Every row from the first on; see `rows_before`."""
        for _, entry, _ in self.rows_before():
            yield entry

    async def compact(self, snapshot: tuple[int, int, bytes, tuple[bytes, ...]]) -> None:
        """Put a snapshot in the place of the rows that it was made of, in one commit."""
        seq, version, state, pending = snapshot
        row = await trio.to_thread.run_sync(
            lambda: (seq, version, zlib.compress(state, 1), zlib.compress(cbor2.dumps(pending), 1))
        )
        await self._run(lambda: self._write(_SAVE, [row], (_DROP, (seq,))))
        await self._run(self._shrink)

    def snapshot(self) -> SavedState | None:
        """The snapshot in the place of the rows that are gone; None while none are.

        Raises: ConfigError if the file is damaged.
        """
        with _reading(self._path) as db:
            found = db.execute("SELECT seq, version, state, pending FROM snapshot").fetchone()
            if found is None:
                return None
        seq, version, state, pending = found
        try:
            return SavedState(seq, version, zlib.decompress(state), tuple(cbor2.loads(zlib.decompress(pending))))
        except (zlib.error, cbor2.CBORError, TypeError) as error:
            raise _damaged(self._path, error) from error

    def rows_before(self, before: int | None = None, after: int = 0) -> Iterator[tuple[int, Entry, str]]:
        """Every row after `after`, up to the one before `before`: its number, what it holds, and what is wrong.

        An event that cannot be read is left out of its entry, and the last item says why.
        Raises: ConfigError if the file is damaged.
        """
        sql = "SELECT seq, at_ms, body, answers FROM events WHERE seq < ? AND seq > ? ORDER BY seq"
        with _reading(self._path) as db:
            for seq, at_ms, body, answers in db.execute(sql, (_END if before is None else before, after)):
                yield seq, *_entry(at_ms, body, answers)

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

    def _write(self, sql: str, rows: Sequence[tuple[object, ...]], *then: tuple[str, tuple[object, ...]]) -> int:
        """Write in one commit. Returns the number of the last row that was inserted."""
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(sql, rows)
                for follows in then:
                    self._db.execute(*follows)
                return int(self._db.execute("SELECT last_insert_rowid()").fetchone()[0])
        except sqlite3.OperationalError as error:
            raise ConfigError(f"cannot write {self._path}: {error}", "is the disk full?") from error

    def _shrink(self) -> None:
        """Give back what deleted rows have left of the file, where that is most of it."""
        free, pages, page = (int(self._db.execute(f"PRAGMA {name}").fetchone()[0]) for name in _PAGES)
        if free * page > MAX_FREE_BYTES and 2 * free > pages:
            self._db.execute("VACUUM")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def open_journal(directory: Path) -> Journal:
    """Open the journal of a data directory, or make it. The directory is held by `own_directory`.

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
            db.executescript(f"BEGIN IMMEDIATE; {_TABLES} {_ASIDE} {_SNAPSHOT} PRAGMA user_version = {SCHEMA}; COMMIT;")
        elif db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check failed")
        elif found > 0:
            db.create_function("present_form", 1, present_form)
            for version in range(found, SCHEMA):
                db.executescript(f"BEGIN IMMEDIATE; {_STEPS[version]} PRAGMA user_version = {version + 1}; COMMIT;")
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


def read_aside(directory: Path) -> tuple[Aside, ...]:
    """The rows that the node of a data directory has set aside, oldest first, whether or not its daemon runs.

    Raises: ConfigError if there is no journal, or one that cannot be read.
    """
    path = directory / FILE_NAME
    if not path.exists():
        raise ConfigError(f"there is no journal at {path}", "give the node's --data-dir")
    with _reading(path) as db:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        return tuple(_aside(db)) if found >= _ASIDE_SINCE else ()


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of its own, so that others may write meanwhile. Raises: ConfigError if the file is damaged."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            yield db
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _aside(db: sqlite3.Connection) -> Iterator[Aside]:
    sql = "SELECT seq, at_ms, event, reason FROM aside ORDER BY id DESC LIMIT ?"
    return (Aside(*row) for row in reversed(db.execute(sql, (ASIDE_KEPT,)).fetchall()))


def _entry(at_ms: object, body: object, answers: object) -> tuple[Entry, str]:
    """The content of a row, and its fault."""
    key = answers if isinstance(answers, bytes) else None
    if type(at_ms) is not int or not isinstance(body, bytes | None) or not isinstance(answers, bytes | None):
        return Entry(None, at_ms if type(at_ms) is int else 0, key), "a column is of another kind"
    try:
        return Entry(None if body is None else decode_named(_EVENTS, body, MAX_EVENT_BYTES), at_ms, key), ""
    except MemoryError:
        raise
    except Exception as error:
        return Entry(None, at_ms, key), f"it cannot be read: {error}"


def _damaged(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"{path} is damaged: {error}",
        "put back a copy of it, or move it away: the node then forgets its open jobs, and keeps its keys",
    )
