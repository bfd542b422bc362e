"""Every parameter of every command, given everything that it should not get: one line, the right code, nothing done."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App, ArgumentCollection

from node.api.faults import Exit
from node.cli import application
from protocol.errors import ConfigError
from tests.fakes.backend import SMOL
from tests.support.scenes.commands import commands
from tests.unit.node.cli.conftest import Shell
from tests.unit.node.hostile import TEXTS, files_under, require_clear_end

pytestmark = pytest.mark.slow
# Parameters that a command needs beside the one that is tried.
BASE: dict[str, tuple[list[str], dict[str, str]]] = {
    "vcoin node init": ([], {"--no-interactive": ""}),
    "vcoin job run": (["hello"], {"--model": SMOL.name}),
    "vcoin job show": (["ffff"], {}),
    "vcoin account deposit": (["1"], {"--dry-run": ""}),
    "vcoin account withdraw": (["1"], {"--dry-run": ""}),
    "vcoin lane open": (["0x999", "1"], {"--dry-run": ""}),
    "vcoin lane close": (["0x999"], {"--dry-run": ""}),
    "vcoin lane reclaim": (["0x999"], {"--dry-run": ""}),
    "vcoin stake deposit": (["1"], {"--owner-key": "no-such-key.json"}),
    "vcoin stake delegate": (["1"], {"--key": "no-such-key.json"}),
    "vcoin stake unbond": (["1"], {"--key": "no-such-key.json"}),
    "vcoin stake rebond": (["1"], {"--key": "no-such-key.json"}),
    "vcoin stake withdraw": ([], {"--key": "no-such-key.json"}),
    "vcoin stake claim": ([], {"--key": "no-such-key.json"}),
    "vcoin model add": ([], {"--smollm2": ""}),
    "vcoin case show": (["ffff"], {}),
    "vcoin deploy": ([], {"--rpc": "http://127.0.0.1:1", "--profile": "local", "--deployer": "0x" + "11" * 20}),
    "vcoin localnet up": ([], {"--dir": "net"}),
    "vcoin localnet down": ([], {"--dir": "net"}),
    "vcoin localnet status": ([], {"--dir": "net"}),
}
PARAMETERS = [
    (name, argument.name, argument.index)
    for name, app in commands(application())
    for argument in app.assemble_argument_collection()
    if argument.name != "*"
]

ASSEMBLED: dict[object, ArgumentCollection] = {}


def argv(command: str, parameter: str, index: int | None, value: str) -> list[list[str]]:
    """The ways to give a value to a parameter."""
    words = command.split()[1:]
    places, options = BASE.get(command, ([], {}))
    if index is not None:
        given = [*places[:index], value, *places[index + 1 :]]
        rest = [part for name, text in options.items() for part in ((name, text) if text else (name,))]
        return [[*words, *given, *rest], *([[*words, *rest, "--", *given]] if value.startswith("-") else [])]
    rest = [part for name, text in options.items() if name != parameter for part in ((name, text) if text else (name,))]
    joined = [*words, *places, *rest, f"{parameter}={value}"]
    return [joined, [*words, *places, *rest, parameter, value]] if value.startswith("-") else [joined]


def reached(*_: object, **__: object) -> None:
    raise ConfigError("it would have been started")


@pytest.fixture
def harmless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to work in; no daemon and no local network is started, and keys are made quickly."""
    from node.daemon import main as _  # noqa: F401
    from node.localnet import network
    from node.wallet import home

    monkeypatch.setattr("node.daemon.main", reached)
    monkeypatch.setattr(network, "up", reached)
    monkeypatch.setattr(home, "create_key", lambda path, password, iterations: partial(quick, path, password)())
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


USERS = Path("/etc/passwd")


def quick(path: Path, password: str) -> object:
    from chain.tx.keystore import create_key

    return create_key(path, password, iterations=2)


@pytest.fixture(autouse=True)
def users() -> Iterator[None]:
    """What the path among the hostile texts leads to: no command writes over a file that is there."""
    before = USERS.read_bytes()
    yield
    if USERS.read_bytes() != before:
        USERS.write_bytes(before)
        pytest.fail(f"{USERS} was written over")


@pytest.fixture(autouse=True)
def assembled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy a command's arguments as cyclopts assembled them first: the commands here are 15,000."""
    assemble = App.assemble_argument_collection

    def copied(app: App, **settings: Any) -> ArgumentCollection:
        if settings:
            return assemble(app, **settings)
        made = ASSEMBLED.get(app.default_command)
        if made is None:
            made = ASSEMBLED[app.default_command] = assemble(app)
        shared = [part for argument in made for part in (argument.parameter, argument.field_info)]
        return copy.deepcopy(made, {id(part): part for part in shared})

    monkeypatch.setattr(App, "assemble_argument_collection", copied)


@pytest.mark.parametrize(("command", "parameter", "index"), PARAMETERS, ids=[f"{c[6:]} {p}" for c, p, _ in PARAMETERS])
async def test_hostile_value_ends_in_one_line(
    vcoin: Shell, harmless: Path, tmp_path: Path, command: str, parameter: str, index: int | None
) -> None:
    # A valid call ends here: there is no node to perform it.
    vcoin.backend.nodes = []
    for about, value in TEXTS.items():
        for words in argv(command, parameter, index, value):
            before = files_under(tmp_path)
            ran = await vcoin(*words)
            require_clear_end(ran, f"{about}: {[word[:60] for word in words]}")
            if ran.code not in (Exit.OK, Exit.JOB_FAILED):
                assert files_under(tmp_path) == before, f"{about}: something half-done"


def test_every_command_is_tried() -> None:
    assert {command for command, *_ in PARAMETERS} == {name for name, _ in commands(application())}
    assert len(PARAMETERS) > 60
