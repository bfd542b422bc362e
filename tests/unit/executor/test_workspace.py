"""A job's own folder."""

from __future__ import annotations

import stat
from pathlib import Path

from executor.workspace.folders import Workspace, Workspaces


def test_file_is_read_back_and_only_the_owner_may(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    workspace.put("input.json", b"{}")
    assert workspace.get("input.json") == b"{}"
    assert stat.S_IMODE((tmp_path / "w").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "w" / "input.json").stat().st_mode) == 0o600


def test_missing_file_is_none_and_missing_folder_too(tmp_path: Path) -> None:
    assert Workspace(tmp_path / "w").get("input.json") is None


def test_second_write_replaces_the_first(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    workspace.put("a", b"first, and longer")
    workspace.put("a", b"second")
    assert workspace.get("a") == b"second"
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["a"]


def test_discard_twice(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    workspace.put("a", b"1")
    workspace.discard()
    workspace.discard()
    assert not (tmp_path / "w").exists()


def test_job_and_sample_of_one_id_do_not_meet(tmp_path: Path) -> None:
    spaces = Workspaces(tmp_path)
    spaces.of_job(bytes(32)).put("a", b"job")
    spaces.of_sample(bytes(32), 0).put("a", b"sample 0")
    spaces.of_sample(bytes(32), 1).put("a", b"sample 1")
    assert spaces.of_job(bytes(32)).get("a") == b"job"
    assert spaces.of_sample(bytes(32), 1).get("a") == b"sample 1"


def test_sweep_takes_down_exchanges_and_keeps_the_rest(tmp_path: Path) -> None:
    spaces = Workspaces(tmp_path)
    workspace = spaces.of_job(bytes(32))
    workspace.put("input.json", b"{}")
    (workspace.volume / "output").mkdir(parents=True)
    assert spaces.sweep() == 1
    assert spaces.sweep() == 0
    assert workspace.get("input.json") == b"{}"
