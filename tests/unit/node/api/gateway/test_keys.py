"""Keys and their file: hashes only, limits, and money that no crash forgets."""

from __future__ import annotations

import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.api.faults import Fault
from node.api.gateway import key_file
from node.api.gateway.key_file import FILE_NAME, open_key_file
from node.api.gateway.keys import Credential, credential_of, new_credential, opens
from protocol.errors import ConfigError
from tests.fakes.backend import VCN
from tests.support.scenes.gateways import kept_key, make_key


def test_shown_key_is_read_back() -> None:
    credential = new_credential()
    assert credential_of(f"Bearer {credential.text}") == credential
    assert credential_of(f"bearer  {credential.text} ") == credential
    assert new_credential() != credential


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer sk-123",
        "Basic vcoin_0011aabb_secret",
        "Bearer vcoin_0011aabb_",
        "Bearer vcoin_0011aab_secret",
        "Bearer vcoin_0011aabb_" + "x" * 129,
        "Bearer vcoin_0011aabb_s\u00e9cret",
    ],
)
def test_header_without_a_key_is_none(shown: str) -> None:
    assert credential_of(shown) is None


def test_file_keeps_only_a_hash_and_belongs_to_its_user(tmp_path: Path) -> None:
    shown, key = make_key(tmp_path)
    secret = shown.rpartition("_")[2] if shown.count("_") == 2 else shown.split("_", 2)[2]
    with open_key_file(tmp_path) as file:
        file.reserve(key.id, [1])
        paths = list(tmp_path.glob(f"{FILE_NAME}*"))
        assert len(paths) == 3, "SQLite keeps changes beside the file while it is open"
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
        assert not any(secret.encode() in path.read_bytes() for path in paths)
    assert opens(Credential(key.id, secret), kept_key(tmp_path, key))
    assert not opens(Credential(key.id, secret + "x"), kept_key(tmp_path, key))


def test_amount_above_the_integers_of_sqlite_is_kept(tmp_path: Path) -> None:
    _, key = make_key(tmp_path, budget_wei=2**96 - 1)
    with open_key_file(tmp_path) as file:
        (held,) = file.reserve(key.id, [2**95])
        file.settle(held, 2**94)
    found = kept_key(tmp_path, key)
    assert (found.budget_wei, found.spent_wei, found.reserved_wei) == (2**96 - 1, 2**94, 0)


def test_reservation_is_all_or_nothing(tmp_path: Path) -> None:
    _, key = make_key(tmp_path, budget_wei=10)
    with open_key_file(tmp_path) as file:
        assert file.reserve(key.id, [4, 4, 4]) == ()
        assert len(file.reserve(key.id, [4, 4])) == 2
        assert file.reserve(key.id, [3]) == ()
        assert file.reserve("ffffffff", [0]) == ()
    assert kept_key(tmp_path, key).left_wei == 2


def test_parallel_reservations_never_exceed_the_budget(tmp_path: Path) -> None:
    _, key = make_key(tmp_path, budget_wei=10 * VCN)

    def reserve(_: int) -> int:
        # Each has its own connection, as a second process would.
        with open_key_file(tmp_path) as file:
            return len(file.reserve(key.id, [3 * VCN]))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(reserve, range(8))) == 3
    assert kept_key(tmp_path, key).reserved_wei == 9 * VCN


def test_reservation_goes_from_reserved_to_spent_once(tmp_path: Path) -> None:
    _, key = make_key(tmp_path, budget_wei=100)
    with open_key_file(tmp_path) as file:
        (held,) = file.reserve(key.id, [60])
        file.name_job(held, "ab" * 32)
        file.adjust(held, 20)
        assert (file.reservations()[0].job_id, file.reservations()[0].amount_wei) == ("ab" * 32, 20)
        for _ in range(2):
            file.settle(held, 25)
            file.adjust(held, 90)
        assert file.reservations() == ()
    found = kept_key(tmp_path, key)
    assert (found.spent_wei, found.reserved_wei, found.left_wei) == (25, 0, 75)


def test_spending_survives_a_file_that_is_opened_again(tmp_path: Path) -> None:
    _, key = make_key(tmp_path, budget_wei=100)
    with open_key_file(tmp_path) as file:
        file.reserve(key.id, [60])
    assert kept_key(tmp_path, key).left_wei == 40


def test_revoked_key_stays_revoked_from_the_first_time(tmp_path: Path) -> None:
    _, key = make_key(tmp_path)
    with open_key_file(tmp_path) as file:
        assert file.revoke(key.id[:4], 5).revoked_ms == 5
        assert file.revoke(key.id, 9).revoked_ms == 5
        with pytest.raises(Fault, match="no key 'ffff'"):
            file.revoke("ffff", 5)


def test_full_file_forgets_revoked_keys_without_open_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_file, "MAX_KEYS", 2)
    _, first = make_key(tmp_path)
    _, second = make_key(tmp_path)
    with open_key_file(tmp_path) as file:
        (held,) = file.reserve(first.id, [1])
        file.revoke(first.id, 5)
    with pytest.raises(Fault, match="2 keys already"):
        make_key(tmp_path)
    with open_key_file(tmp_path) as file:
        file.settle(held, 1)
    _, third = make_key(tmp_path)
    with open_key_file(tmp_path) as file:
        assert {key.id for key in file.all_keys()} == {second.id, third.id}


@pytest.mark.parametrize("content", [b"x" * 4_096, b"SQLite format 3\0" + b"\xff" * 4_096])
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    (tmp_path / FILE_NAME).chmod(0o600)
    with pytest.raises(ConfigError, match=FILE_NAME), open_key_file(tmp_path):
        pass


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_file_that_others_may_read_or_write_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    _, key = make_key(tmp_path)
    (tmp_path / FILE_NAME).chmod(mode)
    with pytest.raises(ConfigError, match="others may read") as caught, open_key_file(tmp_path):
        pass
    assert caught.value.hint.startswith("chmod 600 ")
    (tmp_path / FILE_NAME).chmod(0o600)
    assert kept_key(tmp_path, key) == key


def test_file_that_another_process_writes_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = make_key(tmp_path)
    monkeypatch.setattr(key_file, "LOCKED_S", 0.0)
    with sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="another process is writing"), open_key_file(tmp_path) as file:
            file.revoke(key.id, 1)
    db.close()


def test_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    make_key(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigError, match="another version"), open_key_file(tmp_path):
        pass


def test_directory_without_a_node_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught, open_key_file(tmp_path / "none"):
        pass
    assert caught.value.hint == "vcoin node init makes one"
