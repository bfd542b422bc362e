"""Every file and every variable that a command reads, spoilt in every way."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chain.contracts.network import Addresses, Deployment
from chain.tx.keystore import create_key
from node.api.faults import Exit
from node.cli.ui import output
from node.wallet.home import Home
from protocol.wire.ids import checksum
from tests.fakes.backend import SMOL
from tests.unit.node.cli.conftest import Shell
from tests.unit.node.hostile import FILES, TEXTS, files_under, require_clear_end

ADDRESS = checksum("0x" + "ab" * 20)
DEPOSIT = ("stake", "deposit", "1", "--owner-key", "owner.json", "--password-file", "password", "--dry-run")
# The file, the command that reads it, and how that ends.
READ: list[tuple[str, tuple[str, ...], Exit]] = [
    ("config.toml", ("config", "show"), Exit.BAD_CONFIG),
    ("config.toml", ("status",), Exit.BAD_CONFIG),
    ("config.toml", DEPOSIT, Exit.BAD_CONFIG),
    ("owner.json", DEPOSIT, Exit.BAD_CONFIG),
    ("deployment.json", DEPOSIT, Exit.BAD_CONFIG),
    ("plan.toml", ("localnet", "up", "--nodes", "plan.toml", "--dir", "net"), Exit.BAD_CONFIG),
    ("job.proof.json", ("job", "verify", "job.proof.json"), Exit.FAILED),
    ("net/localnet.json", ("localnet", "status", "--dir", "net"), Exit.BAD_CONFIG),
    ("net/localnet.json", ("localnet", "down", "--dir", "net"), Exit.BAD_CONFIG),
]
SPOILT = [
    *((about, data) for about, data in FILES.items() if about != "empty"),
    ("an empty file", b""),
    ("a directory", None),
]


@pytest.fixture
def desk(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data directory with everything in it that commands read, all of it good."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VCOIN_CHAIN_DEPLOYMENT", str(tmp_path / "deployment.json"))
    monkeypatch.setenv("VCOIN_CHAIN_RPC_URLS", "http://127.0.0.1:1")
    create_key(tmp_path / "owner.json", "secret", iterations=2)
    create_key(Home(tmp_path).operator_key, "secret", iterations=2)
    (tmp_path / "password").write_text("secret\n")
    Deployment(31_337, "local", ADDRESS, 0, 1, Addresses(*[ADDRESS] * 10)).write(tmp_path / "deployment.json")
    (tmp_path / "net").mkdir()
    return tmp_path


@pytest.mark.parametrize(("file", "command", "code"), READ, ids=[f"{command[0]} {file}" for file, command, _ in READ])
@pytest.mark.parametrize(("about", "data"), SPOILT, ids=[about for about, _ in SPOILT])
def test_spoilt_file_is_named_in_one_line(
    shell: Shell, desk: Path, file: str, command: tuple[str, ...], code: Exit, about: str, data: bytes | None
) -> None:
    path = desk / file
    path.unlink(missing_ok=True)
    if data is None:
        path.mkdir()
    else:
        path.write_bytes(data)
        path.chmod(0o600)
    before = files_under(desk)
    ran = shell.run(*command)
    require_clear_end(ran, about)
    if not (about == "an empty file" and file == "config.toml"):
        assert (ran.code, file.rpartition("/")[2] in ran.err) == (code, True), ran.err
    assert files_under(desk) == before, "something half-done"


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"a" * 100_000, b"wrong\n", b"\0" * 9])
def test_spoilt_password_file_opens_nothing(shell: Shell, desk: Path, data: bytes) -> None:
    (desk / "password").write_bytes(data)
    ran = shell.run(*DEPOSIT)
    require_clear_end(ran)
    assert ran.code == Exit.BAD_CONFIG
    assert "password" in ran.err
    assert "aaaa" not in ran.err


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"version": "3"},
        {"crypto": None},
        {"crypto": {}},
        {"crypto": {"kdf": "scrypt", "kdfparams": {"n": 2**60, "r": 8, "p": 1, "dklen": 32, "salt": "00"}}},
        {"crypto": {"kdf": "pbkdf2", "kdfparams": {"c": 2**60, "prf": "hmac-sha256", "dklen": 32, "salt": "00"}}},
        {"crypto": {"kdf": "none", "kdfparams": {"c": 1, "dklen": 32}}},
    ],
    ids=str,
)
def test_key_file_that_asks_for_too_much_is_no_key_file(shell: Shell, desk: Path, change: dict[str, Any]) -> None:
    plain = json.loads((desk / "owner.json").read_text())
    (desk / "owner.json").write_text(json.dumps({**plain, **change}))
    ran = shell.run(*DEPOSIT)
    require_clear_end(ran)
    assert (ran.code, "owner.json is no key file" in ran.err) == (Exit.BAD_CONFIG, True)


def test_key_file_that_others_may_read_is_refused(shell: Shell, desk: Path) -> None:
    (desk / "owner.json").chmod(0o644)
    ran = shell.run(*DEPOSIT)
    require_clear_end(ran)
    assert "chmod 600" in ran.err


VARIABLES = ["HOME", "VCOIN_CONFIG", "VCOIN_NODE_DATA_DIR", "VCOIN_API_SOCKET", "VCOIN_PASSWORD", "XDG_STATE_HOME"]


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize(
    "command", [("status",), ("config", "show"), ("localnet", "status"), DEPOSIT], ids=lambda c: c[0]
)
def test_hostile_variable_ends_in_one_line(
    shell: Shell, desk: Path, monkeypatch: pytest.MonkeyPatch, name: str, command: tuple[str, ...]
) -> None:
    monkeypatch.delenv("VCOIN_NODE_DATA_DIR")
    for about, value in TEXTS.items():
        monkeypatch.setenv(name, value)
        before = files_under(desk)
        ran = shell.run(*command)
        require_clear_end(ran, about)
        if ran.code != Exit.OK:
            assert files_under(desk) == before, about


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"", b"a" * (9 << 20)])
async def test_question_on_stdin_that_is_none_is_refused(
    vcoin: Shell, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
    ran = await vcoin("job", "run", "-", "--model", SMOL.name)
    require_clear_end(ran)
    assert ran.code == Exit.USAGE
    assert not vcoin.backend.asked


async def test_words_of_strangers_do_not_reach_the_terminal_raw(vcoin: Shell) -> None:
    """Names of models come from the network, and JSON leaves C1 as it is."""
    from dataclasses import replace

    odd = "\x1b[2J\x9b31m\u202eevil\n\ud800"
    vcoin.backend.models_held = [replace(SMOL, name=odd)]
    for command in (("model", "list"), ("model", "list", "--json"), ("status",), ("status", "--json")):
        ran = await vcoin(*command)
        assert ran.code == Exit.OK, ran.err
        assert all(sign.isprintable() or sign == "\n" for sign in ran.out), command
    assert (await vcoin("model", "list", "--json")).json[0]["name"] == odd


def test_lines_and_answers_are_cleaned_wherever_they_come_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = "\x1b[2J\x9b31m\u202e"
    output.data([odd])
    output.words(odd)
    output.error(odd, odd)
    output.as_json({odd: odd})
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    output.text(odd + "\n")
    said = "".join(capsys.readouterr())
    assert len(said.splitlines()) > 5
    assert all(sign.isprintable() or sign == "\n" for sign in said)


def test_answer_of_another_program_is_told_in_one_line(shell: Shell, tmp_path: Path) -> None:
    import socket
    import threading

    answers = [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull", *_bodies()]
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "vcoin.sock"))
        door.listen()

        def serve() -> None:
            for answer in answers:
                taken, _ = door.accept()
                with taken:
                    taken.recv(65_536)
                    taken.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        for answer in answers:
            ran = shell.run("status")
            require_clear_end(ran, repr(answer[:80]))
            assert ran.code in (Exit.FAILED, Exit.RETRY_LATER)
        thread.join()


def _bodies() -> list[bytes]:
    bodies = [b"[1, 2]", b"{", b'{"state": "\\u001b[2J"}', b"[" * 100_000, b'{"code": [], "message": {}}', b"\xff"]
    return [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies]
