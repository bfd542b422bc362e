"""The file of gateway keys: their hashes, limits and money, which the daemon and `vcoin gateway key` both open.

<data>/gateway.sqlite    keys; and reservations: jobs under way, with the most that each may still cost its key

Every change is one transaction that is on the disk when it returns, so a crash forgets no spending. Amounts are kept
as decimal texts, because they do not fit the integers of SQLite.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from node.api.faults import Fault
from node.api.gateway.keys import GatewayKey
from node.api.prefix import complete
from protocol.errors import ConfigError

FILE_NAME = "gateway.sqlite"
SCHEMA = 1
MAX_KEYS = 1_000
LOCKED_S = 5.0
"""How long a change waits for that of another process."""
_TABLES = """
    CREATE TABLE keys (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, secret_hash BLOB NOT NULL, budget_wei TEXT NOT NULL,
        spent_wei TEXT NOT NULL, reserved_wei TEXT NOT NULL, rate INTEGER NOT NULL, models TEXT NOT NULL,
        created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, revoked_ms INTEGER NOT NULL
    );
    CREATE TABLE reservations (
        id INTEGER PRIMARY KEY, key_id TEXT NOT NULL REFERENCES keys (id),
        amount_wei TEXT NOT NULL, job_id TEXT NOT NULL
    );
"""
_COLUMNS = (
    "id, name, secret_hash, budget_wei, spent_wei, reserved_wei, rate, models, created_ms, expires_ms, revoked_ms"
)
_RESERVATION = "SELECT id, key_id, amount_wei, job_id FROM reservations"


class KeysUnusable(ConfigError):
    """The file of keys cannot be used as it is."""


class Reservation(NamedTuple):
    """A job under way: the most that it may cost its key in wei, and its id; "" while the job is being asked for."""

    id: int
    key_id: str
    amount_wei: int
    job_id: str


class KeyFile:
    """The open file. All calls block. Made by `open_key_file`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # --- keys -------------------------------------------------------------------------------------------------------
    def create(self, key: GatewayKey) -> None:
        """Keep a new key, its secret as a hash; where there are too many, the oldest that was revoked is forgotten.

        Raises: Fault bad_request if there are too many that were not revoked, or whose jobs are still under way.
        """
        with self._change():
            if self._db.execute("SELECT count(*) FROM keys").fetchone()[0] >= MAX_KEYS:
                self._forget_oldest()
            values = (
                *(key.id, key.name, key.secret_hash, str(key.budget_wei), "0", "0", key.rate, json.dumps(key.models)),
                *(key.created_ms, key.expires_ms, 0),
            )
            self._db.execute(f"INSERT INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608

    def _forget_oldest(self) -> None:
        done = self._db.execute(
            "DELETE FROM keys WHERE id = (SELECT id FROM keys WHERE revoked_ms > 0 "
            "AND id NOT IN (SELECT key_id FROM reservations) ORDER BY revoked_ms LIMIT 1)"
        )
        if not done.rowcount:
            raise Fault("bad_request", f"there are {MAX_KEYS} keys already", "revoke one: vcoin gateway key revoke ID")

    def all_keys(self) -> tuple[GatewayKey, ...]:
        """All keys, oldest first."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY created_ms, id")  # noqa: S608
        return tuple(_key(row) for row in rows)

    def find(self, key_id: str) -> GatewayKey | None:
        """A key by its whole id."""
        row = self._db.execute(f"SELECT {_COLUMNS} FROM keys WHERE id = ?", (key_id,)).fetchone()  # noqa: S608
        return None if row is None else _key(row)

    def revoke(self, prefix: str, now_ms: int) -> GatewayKey:
        """End a key, by the beginning of its id; twice changes nothing. Raises: Fault not_found, ambiguous."""
        with self._change():
            key_id = complete(prefix, (key.id for key in self.all_keys()), "key")
            self._db.execute("UPDATE keys SET revoked_ms = ? WHERE id = ? AND revoked_ms = 0", (now_ms, key_id))
            found = self.find(key_id)
        assert found is not None
        return found

    # --- money ------------------------------------------------------------------------------------------------------
    def reserve(self, key_id: str, amounts_wei: Sequence[int]) -> tuple[int, ...]:
        """Set aside the most that some jobs may cost: for all of them, or for none.

        Returns: the id of a reservation for each; empty if the key's budget does not hold them all.
        """
        with self._change():
            key = self.find(key_id)
            if key is None or sum(amounts_wei) > key.left_wei:
                return ()
            self._add(key_id, "reserved_wei", sum(amounts_wei))
            return tuple(self._insert(key_id, amount) for amount in amounts_wei)

    def name_job(self, reservation_id: int, job_id: str) -> None:
        """Note the job of a reservation."""
        with self._change():
            self._db.execute("UPDATE reservations SET job_id = ? WHERE id = ?", (job_id, reservation_id))

    def adjust(self, reservation_id: int, amount_wei: int) -> None:
        """The job of a reservation costs so much by now; nothing happens if it is settled already."""
        with self._change():
            if (reservation := self._reservation(reservation_id)) is not None:
                self._add(reservation.key_id, "reserved_wei", amount_wei - reservation.amount_wei)
                self._db.execute(
                    "UPDATE reservations SET amount_wei = ? WHERE id = ?", (str(amount_wei), reservation_id)
                )

    def settle(self, reservation_id: int, cost_wei: int) -> None:
        """The job of a reservation has ended and cost so much; nothing happens if it is settled already."""
        with self._change():
            if (reservation := self._reservation(reservation_id)) is not None:
                self._add(reservation.key_id, "reserved_wei", -reservation.amount_wei)
                self._add(reservation.key_id, "spent_wei", cost_wei)
                self._db.execute("DELETE FROM reservations WHERE id = ?", (reservation_id,))

    def reservations(self) -> tuple[Reservation, ...]:
        """All jobs under way, oldest first."""
        rows = self._db.execute(_RESERVATION + " ORDER BY id")
        return tuple(_reservation(row) for row in rows)

    def _reservation(self, reservation_id: int) -> Reservation | None:
        found = self._db.execute(_RESERVATION + " WHERE id = ?", (reservation_id,))
        row = found.fetchone()
        return None if row is None else _reservation(row)

    def _insert(self, key_id: str, amount_wei: int) -> int:
        done = self._db.execute(
            "INSERT INTO reservations (key_id, amount_wei, job_id) VALUES (?, ?, '')", (key_id, str(amount_wei))
        )
        assert done.lastrowid is not None
        return done.lastrowid

    def _add(self, key_id: str, column: str, change_wei: int) -> None:
        held = self._db.execute(f"SELECT {column} FROM keys WHERE id = ?", (key_id,)).fetchone()[0]  # noqa: S608
        self._db.execute(f"UPDATE keys SET {column} = ? WHERE id = ?", (str(int(held) + change_wei), key_id))  # noqa: S608

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction, all of it or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


@contextmanager
def open_key_file(directory: Path, *, is_made: bool = True) -> Iterator[KeyFile]:
    """The keys of a data directory, in a file that only its user may read.

    Args: is_made, whether a file that is not there is made; if not, there are no keys, and changes are lost.
    Raises: KeysUnusable if it cannot be opened, is damaged, was written by a newer version, or others may read it;
    ConfigError if there is no such directory.
    """
    path = directory / FILE_NAME
    if not directory.is_dir():
        raise ConfigError(f"there is no node at {directory}", "vcoin node init makes one")
    file = _guard(path, lambda: _opened(path if is_made or path.exists() else None))
    try:
        yield file
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    finally:
        file.close()


def _opened(path: Path | None) -> KeyFile:
    if path is not None:
        path.touch(mode=0o600)
        _require_private(path)
    # One call at a time, whichever thread makes it.
    db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False, timeout=LOCKED_S)
    try:
        # As in the journal: one write to the disk a change, and FULL, so that no power cut loses it.
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            # A second process may do the same: the first one that gets the lock makes the tables.
            db.execute("BEGIN IMMEDIATE")
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in _TABLES.split(";")[:-1]:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA}")
            db.execute("COMMIT")
        elif found != SCHEMA:
            raise KeysUnusable(f"{path} was written by another version", "install the newest release")
    except BaseException:
        db.close()
        raise
    return KeyFile(db)


def _require_private(path: Path) -> None:
    """A backup is often restored with the rights of every file: others could then change budgets."""
    if path.stat().st_mode & 0o077:
        raise KeysUnusable(f"others may read or write {path}", f"chmod 600 {path}*")


def _guard(path: Path, act: Callable[[], KeyFile]) -> KeyFile:
    try:
        return act()
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> KeysUnusable:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        return KeysUnusable(f"another process is writing {path}", "try again in a moment")
    return KeysUnusable(f"cannot use {path}: {error}", f"restore it from a backup, or remove {path}* and make new keys")


def _key(row: tuple[str, str, bytes, str, str, str, int, str, int, int, int]) -> GatewayKey:
    key_id, name, secret_hash, budget, spent, reserved, rate, models, *times = row
    with _damage_told():
        money = int(budget), int(spent), int(reserved)
        return GatewayKey(key_id, name, secret_hash, *money, rate, tuple(json.loads(models)), *times)


def _reservation(row: tuple[int, str, str, str]) -> Reservation:
    reservation_id, key_id, amount_wei, job_id = row
    with _damage_told():
        return Reservation(reservation_id, key_id, int(amount_wei), job_id)


@contextmanager
def _damage_told() -> Iterator[None]:
    """Raises: sqlite3.DatabaseError for a row whose values were not written here."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError("a row is damaged") from error
