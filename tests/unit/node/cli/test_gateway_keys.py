"""`vcoin gateway key`: made and shown once, listed without secrets, revoked; with or without a daemon."""

from __future__ import annotations

import sqlite3

import pytest

from node.api.faults import Exit
from node.api.gateway.key_file import FILE_NAME, open_key_file
from node.api.gateway.keys import credential_of, opens
from tests.fakes.backend import SMOL, VCN
from tests.unit.node.cli.conftest import Shell

CREATE = ("gateway", "key", "create", "--budget", "50")


def test_key_is_shown_once_and_opens(shell: Shell) -> None:
    made = shell.run(*CREATE, "--expires", "30d", "--name", "notebook", "--models", f"{SMOL.name}, other")
    assert made.code == Exit.OK, made.err
    credential = credential_of(f"Bearer {made.out.strip()}")
    assert credential is not None
    with open_key_file(shell.data_dir) as file:
        (key,) = file.all_keys()
    assert opens(credential, key)
    assert (key.budget_wei, key.rate, key.models) == (50 * VCN, 60, (SMOL.name, "other"))
    assert key.expires_ms - key.created_ms == 30 * 86_400_000
    listed = shell.run("gateway", "key", "list")
    assert all(word in listed.out for word in (key.id, "notebook", "active", "50", "60/min"))
    assert credential.secret not in listed.out + listed.err


def test_list_for_scripts_has_money_as_texts_and_no_hash(shell: Shell) -> None:
    made = shell.run(*CREATE, "--rate", "0", "--json").json
    (listed,) = shell.run("gateway", "key", "list", "--json").json
    assert made.pop("key").startswith(f"vcoin_{listed['id']}_")
    assert made == listed
    assert (listed["budget_wei"], listed["expires_ms"], listed["rate"]) == (str(50 * VCN), 0, 0)
    assert not any("hash" in name for name in listed)


def test_revoked_key_is_listed_as_such(shell: Shell) -> None:
    key_id = shell.run(*CREATE, "--json").json["id"]
    assert f"key {key_id} is revoked" in shell.run("gateway", "key", "revoke", key_id[:5]).out
    assert shell.run("gateway", "key", "revoke", key_id, "--json").json["state"] == "revoked"
    assert "revoked" in shell.run("gateway", "key", "list").out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("create",), Exit.USAGE, "--budget"),
        (("create", "--budget", "0"), Exit.USAGE, "no amount in VCN"),
        (("create", "--budget", "1", "--expires", "soon"), Exit.USAGE, "no time span"),
        (("create", "--budget", "1", "--rate", "-1"), Exit.USAGE, "--rate -1"),
        (("create", "--budget", "1", "--name", "a\nb"), Exit.USAGE, "--name"),
        (("create", "--budget", "1", "--models", ",".join("abc" for _ in range(65))), Exit.USAGE, "1 to 64"),
        (("create", "--budget", "1", "--models", ","), Exit.USAGE, "1 to 64"),
        (("create", "--budget", "1", "--expires", "36501d"), Exit.USAGE, "at most 36500d"),
        (("revoke", "ffffff"), Exit.FAILED, "no key 'ffffff'"),
        (("revoke", "f"), Exit.USAGE, "too short"),
    ],
)
def test_wrong_use_is_one_sentence(shell: Shell, arguments: tuple[str, ...], code: int, words: str) -> None:
    ran = shell.run("gateway", "key", *arguments)
    assert (ran.code, words in ran.err) == (code, True), ran.err
    assert "Traceback" not in ran.err


def test_only_a_new_key_makes_the_file(shell: Shell) -> None:
    assert shell.run("gateway", "key", "list", "--json").json == []
    assert shell.run("gateway", "key", "revoke", "ffffff").code == Exit.FAILED
    assert not (shell.data_dir / FILE_NAME).exists()


def test_directory_without_a_node_and_damaged_file_are_named(shell: Shell) -> None:
    none = shell.run("gateway", "key", "list", "--data-dir", str(shell.data_dir / "none"))
    assert (none.code, "there is no node at" in none.err) == (Exit.BAD_CONFIG, True)
    (shell.data_dir / FILE_NAME).write_bytes(b"x" * 4_096)
    broken = shell.run("gateway", "key", "list")
    assert (broken.code, FILE_NAME in broken.err) == (Exit.BAD_CONFIG, True)


@pytest.mark.parametrize("column", ["models", "budget_wei"])
def test_damaged_row_is_one_sentence(shell: Shell, column: str) -> None:
    shell.run(*CREATE)
    with sqlite3.connect(shell.data_dir / FILE_NAME, isolation_level=None) as db:
        db.execute(f"UPDATE keys SET {column} = 'x'")
    db.close()
    ran = shell.run("gateway", "key", "list")
    assert (ran.code, "a row is damaged" in ran.err) == (Exit.BAD_CONFIG, True), ran.err


def test_latest_end_of_a_key_is_listed(shell: Shell) -> None:
    assert shell.run(*CREATE, "--expires", "36500d").code == Exit.OK
    assert shell.run("gateway", "key", "list").code == Exit.OK
