"""Key files: what opens them, and what is said when nothing does."""

import json
import stat
from pathlib import Path

import pytest

from chain.tx.keystore import create_key, load_key, read_password
from protocol.errors import ConfigError
from tests.support.jobs import key

QUICK = 2
"""Rounds of scrypt: enough for a test, nothing for a thief."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "operator.json"


def test_a_key_comes_back_with_its_password(path: Path) -> None:
    made = create_key(path, "correct horse", iterations=QUICK)
    assert load_key(path, "correct horse") == made
    assert made.secret.hex() not in path.read_text()


def test_a_given_secret_is_kept(path: Path) -> None:
    create_key(path, "p", secret=key("node").secret, iterations=QUICK)
    assert load_key(path, "p") == key("node")


def test_the_file_is_web3_secret_storage_for_its_owner_alone(path: Path) -> None:
    made = create_key(path, "p", iterations=QUICK)
    plain = json.loads(path.read_text())
    assert (plain["version"], plain["address"].lower()) == (3, made.address[2:].lower())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0


def test_a_wrong_password_says_so_with_a_hint(path: Path) -> None:
    create_key(path, "right", iterations=QUICK)
    with pytest.raises(ConfigError, match="wrong password") as caught:
        load_key(path, "wrong")
    assert caught.value.hint


def test_a_key_is_never_overwritten(path: Path) -> None:
    made = create_key(path, "p", iterations=QUICK)
    with pytest.raises(ConfigError, match="exists already"):
        create_key(path, "p", iterations=QUICK)
    assert load_key(path, "p") == made


def test_a_key_that_others_may_read_is_refused(path: Path) -> None:
    create_key(path, "p", iterations=QUICK)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read") as caught:
        load_key(path, "p")
    assert "chmod 600" in caught.value.hint


def test_a_missing_key_says_how_to_make_one(path: Path) -> None:
    with pytest.raises(ConfigError, match="no key file") as caught:
        load_key(path, "p")
    assert "key create" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "no json", '{"version": 3, "crypto": {"kdf": "none"}}'])
def test_other_files_are_no_key_files(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="is no key file"):
        load_key(path, "p")


@pytest.mark.parametrize(
    "work",
    [
        {"n": 2**62, "r": "a text", "p": 1},
        {"n": "a text", "r": 2**62, "p": 1},
        {"n": 2**62, "r": [0], "p": 1},
        {"n": 2**40, "r": 8, "p": 1},
        {"n": -(2**14), "r": -8, "p": 1},
        {"n": 2**14, "r": 8, "p": 2**20},
        {"n": True, "r": 8, "p": 1},
    ],
)
def test_a_file_that_asks_for_more_work_than_any_wallet_is_no_key_file(path: Path, work: dict[str, object]) -> None:
    create_key(path, "p", iterations=QUICK)
    sealed = json.loads(path.read_text())
    sealed["crypto"] |= {"kdf": "scrypt", "kdfparams": {"dklen": 32, "salt": "00" * 32, **work}}
    path.write_text(json.dumps(sealed))
    with pytest.raises(ConfigError, match="is no key file"):
        load_key(path, "p")


def test_a_secret_shows_in_no_text() -> None:
    made = key("node")
    assert made.secret.hex() not in repr(made) + str(made)
    assert repr(made.secret) not in repr(made)


def test_the_password_file_comes_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from the file\n")
    assert read_password(file, {"VCOIN_PASSWORD": "from the environment"}, None, "?") == "from the file"


def test_the_environment_comes_before_the_prompt() -> None:
    assert read_password(None, {"VCOIN_PASSWORD": "from the environment"}, lambda _: "typed", "?") == (
        "from the environment"
    )


def test_a_person_is_asked_last() -> None:
    assert read_password(None, {}, lambda question: question + " typed", "password:") == "password: typed"


def test_no_password_anywhere_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no password"):
        read_password(None, {"VCOIN_PASSWORD": ""}, lambda _: "", "?")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_password_file_without_a_password_is_an_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="password file"):
        read_password(file, {"VCOIN_PASSWORD": "x"}, None, "?")


def test_spaces_belong_to_a_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(" two words \r\n")
    assert read_password(file, {}, None, "?") == " two words "
