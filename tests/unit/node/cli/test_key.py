"""Key files of wallets: made once, locked by the password that was meant, and named without being opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chain.tx.keystore import load_key
from node.api.faults import Exit
from tests.unit.node.cli.conftest import Shell


@pytest.fixture(autouse=True)
def without_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VCOIN_PASSWORD", raising=False)


@pytest.fixture
def typed(answers: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a person sit there who types these passwords, unseen."""

    def sit_down(*secrets: str) -> None:
        lines: Iterator[str] = iter(secrets)
        answers()
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        monkeypatch.setattr("getpass.getpass", lambda _: next(lines))

    return sit_down


def test_a_key_is_made_and_named(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x\n")
    file = tmp_path / "owner.json"
    made = shell.run("key", "create", str(file), "--password-file", str(tmp_path / "password"), "--json")
    assert made.code == Exit.OK, made.err
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_key(file, "x").address == made.json["address"]
    assert shell.run("key", "show", str(file), "--json").json == made.json
    assert made.json["address"] in shell.run("key", "show", str(file)).out


def test_a_file_that_is_there_is_never_overwritten(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x\n")
    (tmp_path / "owner.json").write_text("mine")
    again = shell.run("key", "create", str(tmp_path / "owner.json"), "--password-file", str(tmp_path / "password"))
    assert (again.code, "exists already" in again.err) == (Exit.BAD_CONFIG, True)
    assert (tmp_path / "owner.json").read_text() == "mine"


def test_a_typed_password_must_be_typed_twice(shell: Shell, tmp_path: Path, typed: Callable[..., None]) -> None:
    typed("right", "rigth")
    wrong = shell.run("key", "create", str(tmp_path / "owner.json"))
    assert (wrong.code, "the two passwords differ" in wrong.err) == (Exit.USAGE, True)
    assert not (tmp_path / "owner.json").exists()
    typed("right", "right")
    assert shell.run("key", "create", str(tmp_path / "owner.json")).code == Exit.OK
    assert load_key(tmp_path / "owner.json", "right").address


def test_without_a_password_nothing_is_made(shell: Shell, tmp_path: Path) -> None:
    ran = shell.run("key", "create", str(tmp_path / "owner.json"))
    assert (ran.code, "no password" in ran.err) == (Exit.BAD_CONFIG, True)
    assert not (tmp_path / "owner.json").exists()


def test_a_file_that_is_no_key_is_named(shell: Shell, tmp_path: Path) -> None:
    ran = shell.run("key", "show", str(tmp_path / "none.json"))
    assert ran.code == Exit.BAD_CONFIG
    assert ran.err.splitlines()[1] == "hint: make one with: vcoin key create FILE"
