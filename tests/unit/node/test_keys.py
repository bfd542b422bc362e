"""Secrets on the disk: private, whole, and gone when their time is over."""

import os
from pathlib import Path

import pytest

from node.wallet.secrets import KEEP_MS, ROTATE_AFTER_MS, ContentKeys, HpkeSecrets, SecretFiles, node_secret
from protocol.errors import ConfigError
from protocol.wire.ids import Cid

DAY = ROTATE_AFTER_MS
NOW = 1_700_000_000_000


def test_secret_stays_for_a_day_and_opens_for_two_more(tmp_path: Path) -> None:
    secrets = HpkeSecrets(SecretFiles(tmp_path / "hpke"))
    first = secrets.current(NOW)
    assert secrets.current(NOW + DAY - 1) == first
    second = secrets.current(NOW + DAY)
    assert second != first
    assert secrets.all() == [second, first]
    # The first gave way at NOW + DAY; 48 hours later it is gone.
    third = secrets.current(NOW + 2 * DAY)
    assert secrets.all() == [third, second, first]
    fourth = secrets.current(NOW + DAY + KEEP_MS)
    assert secrets.all() == [fourth, third, second]


def test_secret_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first = HpkeSecrets(SecretFiles(tmp_path / "hpke")).current(NOW)
    assert HpkeSecrets(SecretFiles(tmp_path / "hpke")).current(NOW + 5) == first


def test_clock_that_was_set_back_makes_no_new_secret(tmp_path: Path) -> None:
    secrets = HpkeSecrets(SecretFiles(tmp_path / "hpke"))
    first = secrets.current(NOW)
    assert secrets.current(NOW - 10 * DAY) == first
    assert secrets.all() == [first]


def test_torn_file_is_no_secret(tmp_path: Path) -> None:
    files = SecretFiles(tmp_path / "hpke")
    (tmp_path / "hpke" / str(NOW)).write_bytes(b"half")
    (tmp_path / "hpke" / "notes.txt").write_bytes(b"x" * 32)
    secrets = HpkeSecrets(files)
    assert secrets.all() == []
    assert secrets.all() == [] != [secrets.current(NOW + 1)] == secrets.all()


def test_content_keys_are_kept_and_forgotten(tmp_path: Path) -> None:
    keys = ContentKeys(SecretFiles(tmp_path / "content"))
    cid = Cid(b"\3" * 32)
    assert keys.get(cid) is None
    keys.put(cid, b"\1" * 32)
    keys.put(cid, b"\2" * 32)
    assert keys.get(cid) == b"\2" * 32
    keys.forget(cid)
    keys.forget(cid)
    assert keys.get(cid) is None


def test_old_content_keys_are_found(tmp_path: Path) -> None:
    keys = ContentKeys(SecretFiles(tmp_path / "content"))
    old, new = Cid(b"\1" * 32), Cid(b"\2" * 32)
    for cid, written_ms in ((old, NOW - 1), (new, NOW)):
        keys.put(cid, b"\7" * 32)
        os.utime(tmp_path / "content" / cid.hex(), ns=(0, written_ms * 1_000_000))
    assert keys.kept_before(NOW) == [old]


def test_node_secret_is_made_once(tmp_path: Path) -> None:
    files = SecretFiles(tmp_path / "keys")
    first = node_secret(files)
    assert len(first) == 32
    assert node_secret(SecretFiles(tmp_path / "keys")) == first


def test_files_are_private_and_leave_nothing_half(tmp_path: Path) -> None:
    files = SecretFiles(tmp_path / "a" / "keys")
    files.put("one", b"\1" * 32)
    assert (tmp_path / "a" / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "keys" / "one").stat().st_mode & 0o777 == 0o600
    assert files.names() == ["one"] == [path.name for path in (tmp_path / "a" / "keys").iterdir()]


def test_directory_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="others may read") as caught:
        SecretFiles(tmp_path / "keys")
    assert caught.value.hint == f"chmod 700 {tmp_path / 'keys'}"


def test_directory_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot use"):
        SecretFiles(tmp_path / "file" / "keys")
