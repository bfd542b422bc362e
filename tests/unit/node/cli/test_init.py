"""`vcoin node init`: a whole node or nothing, which the settings and the keystore accept."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from chain.tx import keystore
from chain.tx.keystore import load_key
from node.api.faults import Exit
from node.config import load
from node.wallet.home import Home, found, to_toml
from protocol.errors import ConfigError
from tests.unit.node.cli.conftest import Shell

FAST = 2
"""Iterations of scrypt: enough to see that a password counts."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command makes keys that take a second each to open; these do not."""
    create = keystore.create_key
    monkeypatch.setattr(
        "node.wallet.home.create_key", lambda path, password, iterations: create(path, password, iterations=FAST)
    )


@pytest.mark.usefixtures("quick")
def test_init_makes_a_node_that_can_start(shell: Shell, tmp_path: Path) -> None:
    data_dir = tmp_path / "new"
    ran = shell.run("node", "init", "--no-interactive", "--data-dir", str(data_dir), "--price", "2.5", "--json")
    assert ran.code == Exit.OK
    config = load({}, {"node.data_dir": str(data_dir)})
    assert config.node.price == 25 * 10**17
    assert config.node.password_file == data_dir / "keys" / "password"
    home = Home(data_dir)
    password = home.password.read_text().strip()
    operator = load_key(home.operator_key, password)
    assert (ran.json["node_id"], ran.json["peer_id"]) == (operator.address, operator.peer_id)
    assert home.operator_address() == operator.address
    assert ran.json["client"] == load_key(home.client_key, password).address
    for path in (home.operator_key, home.client_key, home.password):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


@pytest.mark.usefixtures("quick")
def test_client_only_asks_and_is_told_how_to_go_on(
    shell: Shell, tmp_path: Path, answers: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where peers reach it, and the endpoint: a client is asked for nothing that only a provider needs.
    answers("", "http://127.0.0.1:9")
    monkeypatch.setattr("node.cli.ui.output.is_interactive", lambda: True)
    data_dir = tmp_path / "new"
    ran = shell.run("node", "init", "--client", "--data-dir", str(data_dir))
    assert ran.code == Exit.OK, ran.err
    config = load({}, {"node.data_dir": str(data_dir)})
    assert (config.node.roles, config.chain.rpc_urls) == (("requester",), ("http://127.0.0.1:9",))
    client = load_key(Home(data_dir).client_key, Home(data_dir).password.read_text().strip()).address
    assert f"next: send VCN and gas to {client}; then vcoin node run, vcoin account deposit" in ran.err
    assert "stake" not in ran.err


@pytest.mark.parametrize("option", [("--roles", "provider"), ("--price", "3")])
def test_client_sells_nothing(shell: Shell, tmp_path: Path, option: tuple[str, ...]) -> None:
    ran = shell.run("node", "init", "--client", "--no-interactive", "--data-dir", str(tmp_path / "new"), *option)
    assert (ran.code, ran.err.splitlines()[1]) == (Exit.USAGE, "hint: leave out --roles and --price")
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("quick")
def test_questions_take_defaults_and_ask_again(shell: Shell, tmp_path: Path, answers: Callable[..., None]) -> None:
    answers("provider,miner", "provider", "free", "3", "", "")
    import node.cli.ui.output

    data_dir = tmp_path / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node.cli.ui.output, "is_interactive", lambda: True)
        ran = shell.run("node", "init", "--data-dir", str(data_dir))
    assert ran.code == Exit.OK
    assert "expected some of requester,provider,verifier" in ran.err
    assert "what should it do [requester,provider,verifier]: " in ran.err
    config = load({}, {"node.data_dir": str(data_dir)})
    assert (config.node.roles, config.node.price) == (("provider",), 3 * 10**18)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--roles", "miner"), "expected some of requester"),
        (("--price", "0"), "must be above 0"),
        (("--rpc", "localhost:8545"), "is no endpoint"),
        (("--listen", "0.0.0.0:4701"), "is no multiaddr"),
    ],
)
def test_value_that_cannot_be_used_makes_nothing(
    shell: Shell, tmp_path: Path, option: tuple[str, ...], words: str
) -> None:
    ran = shell.run("node", "init", "--no-interactive", "--data-dir", str(tmp_path / "new"), *option)
    assert (ran.code, words in ran.err) == (Exit.USAGE, True)
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("quick")
def test_second_node_in_one_place_is_refused_and_the_first_one_stays(shell: Shell, tmp_path: Path) -> None:
    arguments = ("node", "init", "--no-interactive", "--data-dir", str(tmp_path / "new"))
    shell.run(*arguments)
    before = (tmp_path / "new" / "keys" / "operator.json").read_bytes()
    ran = shell.run(*arguments)
    assert (ran.code, "there is a node already" in ran.err) == (Exit.BAD_CONFIG, True)
    assert (tmp_path / "new" / "keys" / "operator.json").read_bytes() == before


@pytest.mark.usefixtures("quick")
def test_missing_password_file_is_a_bad_setting(shell: Shell, tmp_path: Path) -> None:
    options = ("--data-dir", str(tmp_path / "new"), "--password-file", str(tmp_path / "none"))
    ran = shell.run("node", "init", "--no-interactive", *options)
    assert (ran.code, "cannot be read" in ran.err) == (Exit.BAD_CONFIG, True)
    assert not (tmp_path / "new").exists()


def test_what_was_begun_is_undone(tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    with pytest.raises(TypeError):
        found(home, {"p2p": {"listen": {1, 2}}}, "x", iterations=FAST)
    assert not home.path.exists()
    mounted = Home(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(TypeError):
        found(mounted, {"p2p": {"listen": {1, 2}}}, "x", iterations=FAST)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    broken = Home(tmp_path / "file" / "below")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make a node"):
        found(broken, {}, "x", iterations=FAST)


def test_settings_are_written_as_they_are_read(tmp_path: Path) -> None:
    odd = 'quote " back \\ smile \N{GRINNING FACE}'
    (tmp_path / "config.toml").write_text(to_toml({"node": {"name": odd}, "p2p": {"fast": True, "bootnodes": [odd]}}))
    config = load({}, {"node.data_dir": str(tmp_path)})
    assert (config.node.name, config.p2p.bootnodes, config.p2p.fast) == (odd, (odd,), True)
    # A value that a setting may not hold stands in the file as TOML has it, all the same.
    odder = "line \n del \x7f"
    assert tomllib.loads(to_toml({"node": {"name": odder}})) == {"node": {"name": odder}}


def test_run_without_a_node_says_how_to_make_one(shell: Shell, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Home(tmp_path).operator_address()
    assert caught.value.hint == "vcoin node init makes one"
    ran = shell.run("node", "run", "--set", "p2p.fast")
    assert (ran.code, "expected KEY=VALUE" in ran.err) == (Exit.BAD_CONFIG, True)
