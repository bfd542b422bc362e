"""The journal: what was committed is there after any end, and a file that cannot be trusted is refused."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import cbor2
import pytest

from node.journal import (
    ASIDE_KEPT,
    FILE_NAME,
    Aside,
    Entry,
    SentTransaction,
    open_journal,
    own_directory,
    read_aside,
)
from protocol.effects import SealEpoch
from protocol.errors import ConfigError
from protocol.events import DeadlinePassed, TransactionMined
from protocol.timers import LatencyTimer
from protocol.wire.ids import ZERO_ADDRESS, Hash32, PeerId

REPOSITORY = Path(__file__).resolve().parents[3]


def timer(peer: str) -> LatencyTimer:
    return LatencyTimer(PeerId(peer), slow=True)


async def test_rows_come_back_in_order(tmp_path: Path) -> None:
    rows = [
        Entry(DeadlinePassed(timer("a")), 1),
        Entry(TransactionMined(SealEpoch, b"\7" * 32, 5), 2, b"k" * 16),
        Entry(None, 3, b"j" * 16),
    ]
    with open_journal(tmp_path) as journal:
        await journal.append(rows[:1])
        await journal.append(rows[1:])
    with open_journal(tmp_path) as journal:
        assert list(journal.read_all()) == rows


async def test_commit_is_whole_or_not_there(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        await journal.append([Entry(DeadlinePassed(timer("a")), 1)])
        with pytest.raises(sqlite3.IntegrityError):
            await journal.append([Entry(DeadlinePassed(timer("b")), 2), Entry(DeadlinePassed(timer("c")), None)])  # type: ignore[arg-type]
        assert [entry.at_ms for entry in journal.read_all()] == [1]
        # The file is usable as before.
        await journal.append([Entry(DeadlinePassed(timer("d")), 4)])
        assert [entry.at_ms for entry in journal.read_all()] == [1, 4]


def test_what_was_committed_outlives_a_kill(tmp_path: Path) -> None:
    program = """
        import os, signal, sys, trio
        from pathlib import Path
        from node.journal import Entry, open_journal
        from protocol.events import DeadlinePassed
        from protocol.timers import LatencyTimer

        async def main():
            with open_journal(Path(sys.argv[1])) as journal:
                await journal.append([Entry(DeadlinePassed(LatencyTimer("kept", slow=True)), 1)])
                journal._db.execute("BEGIN IMMEDIATE")
                journal._db.execute("INSERT INTO events (at_ms, body) VALUES (2, x'00')")
                os.kill(os.getpid(), signal.SIGKILL)

        trio.run(main)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], cwd=REPOSITORY, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    with open_journal(tmp_path) as journal:
        assert list(journal.read_all()) == [Entry(DeadlinePassed(timer("kept")), 1)]


async def test_transactions_come_back_in_the_order_of_recording(tmp_path: Path) -> None:
    first = SentTransaction(ZERO_ADDRESS, 4, b"k" * 16, b"a" * 32, b"raw one")
    dearer = SentTransaction(ZERO_ADDRESS, 4, b"k" * 16, b"a" * 32, b"raw two")
    deposit = SentTransaction(ZERO_ADDRESS, 3, None, None, b"raw three")
    with open_journal(tmp_path) as journal:
        for sent in (first, dearer, deposit):
            await journal.record_transaction(sent)
    with open_journal(tmp_path) as journal:
        assert await journal.transactions() == (first, dearer, deposit)
        assert await journal.transactions(newest=2) == (dearer, deposit)


async def test_cursor_moves(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        assert await journal.cursor() is None
        await journal.move_cursor(7)
        await journal.move_cursor(9)
    with open_journal(tmp_path) as journal:
        assert await journal.cursor() == 9


def test_journal_of_another_chain_is_refused(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.require_owner("0xA on chain 1")
        journal.require_owner("0xA on chain 1")
    with open_journal(tmp_path) as journal, pytest.raises(ConfigError, match="0xA on chain 1, this is 0xA on chain 2"):
        journal.require_owner("0xA on chain 2")


def test_newer_file_is_refused(tmp_path: Path) -> None:
    open_journal(tmp_path).__exit__(None, None, None)
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigError, match="newer vcoin"):
        open_journal(tmp_path)


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigError, match="is damaged") as caught:
        open_journal(tmp_path)
    assert "put back a copy" in caught.value.hint


async def test_damaged_pages_are_refused(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        await journal.append([Entry(DeadlinePassed(timer("x" * 400)), n) for n in range(200)])
    path = tmp_path / "journal.sqlite"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is damaged"):
        open_journal(tmp_path)


def test_file_whose_words_are_no_text_is_refused(tmp_path: Path) -> None:
    """SQLite quotes the name of a table that it cannot make out."""
    with open_journal(tmp_path):
        pass
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    db.close()
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE owner", b"CREATE TABLE \xff\xfe\x8fer"))
    with pytest.raises(ConfigError, match="is damaged"):
        open_journal(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE owner",
        "DROP TABLE cursor",
        "PRAGMA user_version = -1",
    ],
)
def test_database_without_our_tables_is_refused(tmp_path: Path, change: str) -> None:
    with open_journal(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute(change)
    db.close()
    with pytest.raises(ConfigError, match="is damaged"):
        open_journal(tmp_path)


@pytest.mark.parametrize(
    "change", ["at_ms = 'soon'", "answers = 'text'", "body = 'text'", "body = 5", "body = x'82'", "body = x'8143f6'"]
)
async def test_row_that_cannot_be_read_keeps_no_node_down(tmp_path: Path, change: str) -> None:
    with open_journal(tmp_path) as journal:
        await journal.append([Entry(DeadlinePassed(timer("a")), 1, b"k" * 16), Entry(DeadlinePassed(timer("b")), 2)])
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute(f"UPDATE events SET {change} WHERE seq = 1")
    db.close()
    with open_journal(tmp_path) as journal:
        (first, entry, problem), second = journal.rows_before()
        assert (first, entry.event) == (1, None)
        assert problem
        assert second == (2, Entry(DeadlinePassed(timer("b")), 2), "")
        await journal.set_aside(1, entry.at_ms, "a row", problem, reopen=True)
        # From now on it is a row that says nothing.
        assert list(journal.rows_before()) == [(1, Entry(None, entry.at_ms), ""), second]
    assert read_aside(tmp_path) == (Aside(1, entry.at_ms, "a row", problem),)


async def test_event_that_is_set_aside_still_answers_its_effect_unless_that_is_open_again(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        last = await journal.append([Entry(DeadlinePassed(timer(name)), 5, b"k" * 16) for name in "ab"])
        await journal.set_aside(last - 1, 5, "DeadlinePassed", "KeyError: a")
        await journal.set_aside(last, 5, "DeadlinePassed", "KeyError: b", reopen=True)
        assert list(journal.read_all()) == [Entry(None, 5, b"k" * 16), Entry(None, 5)]
        assert await journal.append([Entry(DeadlinePassed(timer("c")), 6)]) == 3


async def test_rows_before_one_are_read_while_others_are_written(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        await journal.append([Entry(DeadlinePassed(timer(name)), 1) for name in "abc"])
        found = []
        for seq, _, _ in journal.rows_before(3):
            await journal.append([Entry(DeadlinePassed(timer("d")), 2)])
            found.append(seq)
        assert found == [1, 2]


async def test_only_the_newest_that_were_set_aside_are_kept(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        for number in range(ASIDE_KEPT + 3):
            await journal.set_aside(0, number, "Tick", "RuntimeError")
        assert [each.at_ms for each in journal.aside] == list(range(3, ASIDE_KEPT + 3))
        assert read_aside(tmp_path) == tuple(journal.aside)


def test_directory_without_a_journal_has_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no journal"):
        read_aside(tmp_path)


async def test_full_disk_says_so(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal._db.execute("PRAGMA max_page_count = 12")
        with pytest.raises(ConfigError, match="cannot write") as caught:
            await journal.append([Entry(DeadlinePassed(timer("x" * 500)), n) for n in range(500)])
        assert caught.value.hint == "is the disk full?"
        assert list(journal.read_all()) == []


def test_files_are_private(tmp_path: Path) -> None:
    with own_directory(tmp_path / "data") as data, open_journal(data):
        assert data.stat().st_mode & 0o777 == 0o700
        assert (data / "journal.sqlite").stat().st_mode & 0o777 == 0o600


def test_second_daemon_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from node.journal import own_directory\n"
        "with own_directory(Path(sys.argv[1])): pass"
    )
    with own_directory(tmp_path):
        second = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert f"another daemon uses {tmp_path} (pid {os.getpid()})" in second.stderr
    with own_directory(tmp_path):
        pass


def test_lock_of_a_dead_daemon_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4194304\n")
    with own_directory(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_directory_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot use"), own_directory(tmp_path / "file" / "data"):
        pass


async def test_cursor_keeps_the_hash_of_its_block(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        assert await journal.cursor_hash() is None
        await journal.move_cursor(7, Hash32(bytes(range(32))))
    with open_journal(tmp_path) as journal:
        assert (await journal.cursor(), await journal.cursor_hash()) == (7, bytes(range(32)))


async def test_journal_of_the_first_schema_is_taken_over(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        await journal.move_cursor(7)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("ALTER TABLE cursor DROP COLUMN hash")
        db.execute("DROP TABLE aside")
        db.execute("DROP TABLE snapshot")
        db.execute("PRAGMA user_version = 1")
    db.close()
    with open_journal(tmp_path) as journal:
        assert (await journal.cursor(), await journal.cursor_hash()) == (7, None)
        await journal.move_cursor(8, Hash32(bytes(32)))
        assert await journal.cursor_hash() == bytes(32)


def test_a_row_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    with open_journal(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("INSERT INTO events (at_ms, body) VALUES (7, ?)", [cbor2.dumps(["DeadlinePassed", ["slow:a"]])])
        db.execute("PRAGMA user_version = 4")
    db.close()
    with open_journal(tmp_path) as journal:
        assert list(journal.read_all()) == [Entry(DeadlinePassed(timer("a")), 7)]


@pytest.mark.parametrize("known", [5, 6], ids=["removals of models", "token rules"])
def test_program_that_does_not_know_a_row_refuses_a_journal_that_may_hold_one(tmp_path: Path, known: int) -> None:
    with open_journal(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute(f"PRAGMA user_version = {known}")
    db.close()
    with open_journal(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        # It refuses whatever is above the version that it knows.
        assert db.execute("PRAGMA user_version").fetchone()[0] > known
    db.close()


@pytest.mark.parametrize("seed", range(4))
def test_kill_at_any_moment_leaves_the_rows_or_the_snapshot_of_them(tmp_path: Path, seed: int) -> None:
    program = """
        import sys, trio
        from pathlib import Path
        from node.journal import Entry, open_journal

        async def main():
            with open_journal(Path(sys.argv[1])) as journal:
                while True:
                    last = await journal.append([Entry(None, 1, bytes(16))] * 3)
                    print(last, flush=True)
                    await journal.compact((last, 1, b"%d" % last, ()))

        trio.run(main)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    stop_at = random.Random(seed).randrange(10, 60)
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = next(last for last in map(int, writer.stdout) if last >= stop_at)
        writer.kill()
    with open_journal(tmp_path) as journal:
        saved = journal.snapshot()
        assert saved is not None
        assert int(saved.state) == saved.seq
        after = [seq for seq, _, _ in journal.rows_before(after=saved.seq)]
        last = after[-1] if after else saved.seq
        assert after == list(range(saved.seq + 1, last + 1))
        assert last >= told


def test_directory_says_its_version_and_one_of_before_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    for _ in range(2):
        with own_directory(tmp_path):
            assert (tmp_path / "version").read_text() == "1\n"


@pytest.mark.parametrize("found", ["2", "0", "what", "\udcff"])
def test_directory_of_another_version_is_refused_and_let_go(tmp_path: Path, found: str) -> None:
    (tmp_path / "version").write_bytes(found.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match="this program knows version 1") as caught, own_directory(tmp_path):
        pass
    assert "install the version" in caught.value.hint
    (tmp_path / "version").write_text("1")
    with own_directory(tmp_path):
        pass
