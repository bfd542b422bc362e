"""A directory that a job has written, read without trusting it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from executor.containers.sandbox import Limits
from executor.workspace.outputs import HostileOutput, Outputs

LIMITS = Limits(output_bytes=10_000, output_files=5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "output").mkdir()
    return tmp_path / "output"


def write(root: Path, **files: bytes) -> None:
    for name, data in files.items():
        (root / name).write_bytes(data)


def list_in_manifest(root: Path, *names: str, **changes: Any) -> None:
    files = [
        {"path": n, "size": len(d := (root / n).read_bytes()), "sha256": hashlib.sha256(d).hexdigest(), **changes}
        for n in names
    ]
    (root / "manifest.json").write_text(json.dumps({"files": files}))


def collect(root: Path, *wanted: str) -> list[str]:
    return sorted(Outputs(root, LIMITS).collect(root.parent / "kept", wanted))


def test_what_is_wanted_and_listed_is_kept(root: Path) -> None:
    write(root, a=b"1", b=b"2", c=b"3")
    list_in_manifest(root, "a", "b")
    assert collect(root, "a") == ["a"]
    assert [path.name for path in (root.parent / "kept").iterdir()] == ["a"]


def test_folder_is_kept_whole(root: Path) -> None:
    (root / "model").mkdir()
    write(root / "model", a=b"1", b=b"2")
    list_in_manifest(root, "model/a", "model/b")
    assert collect(root, "model/") == ["model/a", "model/b"]
    assert (root.parent / "kept" / "model" / "b").read_bytes() == b"2"


def test_listed_file_that_nobody_wants_cannot_take_the_place_of_ours(root: Path) -> None:
    kept = root.parent / "kept"
    kept.mkdir()
    (kept / "input.json").write_bytes(b"ours")
    write(root, **{"a": b"1", "input.json": b"theirs"})
    list_in_manifest(root, "a", "input.json")
    collect(root, "a")
    assert (kept / "input.json").read_bytes() == b"ours"


def test_wanted_file_that_is_not_listed(root: Path) -> None:
    write(root, a=b"1")
    list_in_manifest(root)
    with pytest.raises(HostileOutput, match="does not list a"):
        collect(root, "a")


@pytest.mark.parametrize("lie", [{"sha256": "00" * 32}, {"size": 2}])
def test_wrong_hash_or_size(root: Path, lie: dict[str, Any]) -> None:
    write(root, a=b"1")
    list_in_manifest(root, "a", **lie)
    with pytest.raises(HostileOutput, match="is not what"):
        collect(root, "a")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files":[1]}', '{"files":[{}]}', "[" * 100_000, '{"files":3}'])
def test_manifest_that_no_runner_writes(root: Path, text: str) -> None:
    (root / "manifest.json").write_text(text)
    with pytest.raises(HostileOutput):
        collect(root, "a")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "", "."])
def test_name_that_leads_out(root: Path, name: str) -> None:
    (root.parent / "secret").write_text("s")
    entry = {"path": name, "size": 1, "sha256": hashlib.sha256(b"s").hexdigest()}
    (root / "manifest.json").write_text(json.dumps({"files": [entry]}))
    with pytest.raises(HostileOutput):
        collect(root, name)


def test_symbolic_link(root: Path) -> None:
    (root.parent / "secret").write_bytes(b"s")
    (root / "a").symlink_to(root.parent / "secret")
    list_in_manifest(root, "a")
    with pytest.raises(HostileOutput, match="no plain file"):
        collect(root, "a")


def test_folder_that_is_a_symbolic_link(root: Path) -> None:
    (root.parent / "d").mkdir()
    write(root.parent / "d", a=b"s")
    (root / "d").symlink_to(root.parent / "d")
    list_in_manifest(root, "d/a")
    with pytest.raises(HostileOutput):
        collect(root, "d/a")


def test_manifest_that_is_a_symbolic_link(root: Path) -> None:
    write(root, a=b"1")
    list_in_manifest(root, "a")
    (root / "manifest.json").rename(root.parent / "m")
    (root / "manifest.json").symlink_to(root.parent / "m")
    with pytest.raises(HostileOutput, match="no plain file"):
        collect(root, "a")


def test_hard_link(root: Path) -> None:
    write(root, a=b"1")
    os.link(root / "a", root / "b")
    list_in_manifest(root, "a")
    with pytest.raises(HostileOutput, match="no plain file"):
        collect(root, "a")


def test_pipe_does_not_block(root: Path) -> None:
    os.mkfifo(root / "a")
    (root / "manifest.json").write_text(json.dumps({"files": [{"path": "a", "size": 0, "sha256": "00" * 32}]}))
    with pytest.raises(HostileOutput, match="no plain file"):
        collect(root, "a")


def test_sparse_file_counts_with_its_whole_length(root: Path) -> None:
    with (root / "a").open("wb") as file:
        file.truncate(1 << 40)
    (root / "manifest.json").write_text(json.dumps({"files": [{"path": "a", "size": 1 << 40, "sha256": "00" * 32}]}))
    with pytest.raises(HostileOutput, match="over their limit"):
        collect(root, "a")


def test_too_many_files(root: Path) -> None:
    write(root, **{str(n): b"" for n in range(6)})
    with pytest.raises(HostileOutput, match="more than 5"):
        collect(root, "0")


def test_too_many_files_in_several_folders(root: Path) -> None:
    for folder in ("a", "b"):
        (root / folder).mkdir()
        write(root / folder, **{str(n): b"" for n in range(4)})
    with pytest.raises(HostileOutput, match="over their limit"):
        collect(root, "a/0")


def test_nested_folders(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    with pytest.raises(HostileOutput, match="nested too deep"):
        collect(root, "a")


def test_read_caps_before_it_returns(root: Path) -> None:
    write(root, a=b"12345")
    outputs = Outputs(root, LIMITS)
    assert outputs.read("a", 5) == b"12345"
    assert outputs.read("b", 5) is None
    with pytest.raises(HostileOutput, match="over 4 bytes"):
        outputs.read("a", 4)


def take(root: Path, name: str = "0.result.json", limit: int = 10) -> bytes:
    kept = root.parent / "kept"
    kept.mkdir(exist_ok=True)
    Outputs(root, LIMITS).take(name, kept / "result.json", limit)
    return (kept / "result.json").read_bytes()


def test_an_output_may_be_taken_while_its_container_goes_on(root: Path) -> None:
    write(root, **{"0.result.json": b"answer"})
    assert take(root) == b"answer"
    # Its later changes of the file do not matter.
    write(root, **{"0.result.json": b"other"})
    assert (root.parent / "kept" / "result.json").read_bytes() == b"answer"


@pytest.mark.parametrize("attack", ["missing", "link", "second name", "too long", "folder", "pipe"])
def test_what_is_no_plain_output_is_not_taken(root: Path, attack: str) -> None:
    path = root / "0.result.json"
    match attack:
        case "link":
            path.symlink_to("/etc/hostname")
        case "second name":
            path.write_bytes(b"answer")
            os.link(path, root / "other")
        case "too long":
            path.write_bytes(b"0123456789a")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    with pytest.raises(HostileOutput):
        take(root)
    assert list((root.parent / "kept").iterdir()) == []
