"""Content keys and stamps."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.setup.cache import Stamp, cache_directory, content_key


def test_key_changes_with_any_byte_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "lock").write_text("one")
    before = content_key(tmp_path)
    assert content_key(tmp_path) == before
    (tmp_path / "a" / "lock").write_text("two")
    assert content_key(tmp_path) != before


def test_key_changes_when_a_file_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("same")
    before = content_key(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_key(tmp_path) != before


def test_key_keeps_parts_apart() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")


def test_stamp_goes_with_the_folder_it_lies_in(tmp_path: Path) -> None:
    stamp = Stamp(tmp_path)
    assert not stamp.matches("k")
    stamp.write("k")
    assert stamp.matches("k")
    assert not stamp.matches("other")
    stamp.remove()
    assert not stamp.matches("k")


def test_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCOIN_CACHE", str(tmp_path / "made" / "for it"))
    assert cache_directory() == tmp_path / "made" / "for it"
    assert cache_directory().is_dir()
