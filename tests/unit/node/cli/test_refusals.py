"""Bad input: one clear line with the fix, and an exit code that a script can rely on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from node.api.faults import KINDS, Exit, Fault, fault_of
from protocol.errors import ChainError, ConfigError, ExecutorError, ImageMissing, NodeError, P2PError, Reverted
from tests.fakes.backend import PROVIDER, SMOL, VCN, FakeBackend, peer
from tests.unit.node.cli.conftest import Shell

KEY = ("--key", "/no/key.json")
ANNOUNCE = ("node", "commission", "announce", *KEY)
PROPOSE = ("timelock", "propose")
CLASS = (*PROPOSE, "class", "7", "cuda", "--dtype", "bf16", "--isa", "sm80", *KEY)
RUN = ("job", "run", "hello there", "--model", SMOL.name)


def _poor(backend: FakeBackend) -> None:
    backend.free_wei = 0


def _alone(backend: FakeBackend) -> None:
    backend.nodes = []


def _dear(backend: FakeBackend) -> None:
    backend.nodes = [peer(price_wei=1_000 * VCN, stake_wei=10**7 * VCN)]


def _short(backend: FakeBackend) -> None:
    backend.models_held = [replace(SMOL, context=100)]


def _as_it_is(backend: FakeBackend) -> None:
    pass


ASKED: list[tuple[str, Callable[[FakeBackend], None], tuple[str, ...], Exit, str, str]] = [
    ("model", _as_it_is, (*RUN[:-1], "gpt-9"), Exit.FAILED, "unknown model 'gpt-9'", f"one of: {SMOL.name}"),
    ("long prompt", _short, RUN, Exit.FAILED, "exceeds the model's 100", "--max-tokens 98 at most"),
    ("price", _dear, (*RUN, "--max-price", "2"), Exit.FAILED, "the cheapest asks 256", "--max-price 256"),
    ("deposit", _poor, RUN, Exit.FAILED, "the account has 0 VCN free", "vcoin account deposit 10"),
    ("no node", _alone, RUN, Exit.RETRY_LATER, "no able node", "try again later"),
    ("no job", _as_it_is, ("job", "show", "ffff"), Exit.FAILED, "no job 'ffff'", "vcoin job list"),
    ("short id", _as_it_is, ("job", "show", "f"), Exit.USAGE, "too short", "at least 3"),
    ("no node id", _as_it_is, ("node", "score", "0x999"), Exit.FAILED, "no node '0x999'", "vcoin status --nodes"),
    ("no case", _as_it_is, ("case", "show", "ffff"), Exit.FAILED, "no case 'ffff'", "vcoin case list"),
    ("withdraw", _as_it_is, ("account", "withdraw", "2000", "-y"), Exit.REVERTED, "NotEnoughFree", ""),
    ("lane", _as_it_is, ("lane", "open", PROVIDER, "2000", "-y"), Exit.REVERTED, "NotEnoughFree", ""),
    ("no lane", _as_it_is, ("lane", "close", PROVIDER, "-y"), Exit.REVERTED, "LaneNotOpen", ""),
    ("open lane", _as_it_is, ("lane", "reclaim", PROVIDER, "-y"), Exit.REVERTED, "LaneNotClosing", ""),
    ("no such node", _as_it_is, ("lane", "open", "0x999", "1"), Exit.FAILED, "no node '0x999'", "vcoin status"),
    ("no model", _as_it_is, ("model", "add", "/"), Exit.FAILED, "no config.json", "Hugging Face"),
    ("no folder", _as_it_is, ("model", "add", "/nowhere/at/all"), Exit.FAILED, "nothing at /nowhere/at/all", ""),
    ("no source", _as_it_is, ("model", "add"), Exit.USAGE, "give one of PATH, --smollm2", ""),
    ("two sources", _as_it_is, ("model", "add", "/", "--smollm2"), Exit.USAGE, "give one of", ""),
    ("amount", _as_it_is, ("account", "deposit", "1e3"), Exit.USAGE, "'1e3' is no amount in VCN", "--help"),
    ("nothing", _as_it_is, ("account", "deposit", "0"), Exit.USAGE, "must be above 0", "--help"),
    ("too fine", _as_it_is, ("account", "deposit", "0." + "0" * 18 + "1"), Exit.USAGE, "is no amount", "--help"),
    ("share", _as_it_is, (*ANNOUNCE, "100.01"), Exit.USAGE, "'100.01' is no share", "--help"),
    ("fine share", _as_it_is, (*ANNOUNCE, "1.234"), Exit.USAGE, "'1.234' is no share", "--help"),
    ("minus share", _as_it_is, (*ANNOUNCE, "--", "-1"), Exit.USAGE, "'-1' is no share", "--help"),
    ("span", _as_it_is, ("guardian", "pause", "36", *KEY), Exit.USAGE, "'36' is no time span", "--help"),
    ("no span", _as_it_is, ("guardian", "pause", "0h", *KEY), Exit.USAGE, "'0h' is no time span", "--help"),
    ("class", _as_it_is, ("node", "classes", "1,32", *KEY), Exit.USAGE, "'1,32' names no device", "--help"),
    ("payout", _as_it_is, ("node", "payout", "announce", "me", *KEY), Exit.USAGE, "'me' is no address", "--help"),
    ("wallet", _as_it_is, ("node", "unjail"), Exit.USAGE, "--key", "vcoin node unjail --help"),
    ("runtime", _as_it_is, (*CLASS, "--runtime", "0xab"), Exit.USAGE, "'0xab' is no hash", ""),
    ("role", _as_it_is, (*PROPOSE, "role", "grant", "king", PROVIDER, *KEY), Exit.USAGE, "king", "--help"),
    ("noun", _as_it_is, ("jobs", "list"), Exit.USAGE, 'Unknown command "jobs"', 'did you mean "job"'),
    ("verb", _as_it_is, ("job", "rnu"), Exit.USAGE, 'Unknown command "rnu"', 'did you mean "run"'),
    ("option", _as_it_is, (*RUN, "--max-tokns", "5"), Exit.USAGE, "--max-tokns", "did you mean --max-tokens"),
    ("number", _as_it_is, (*RUN, "--max-tokens", "many"), Exit.USAGE, "--max-tokens", "vcoin job run --help"),
    ("range", _as_it_is, (*RUN, "--max-tokens", "9000"), Exit.USAGE, "from 1 to 8192", ""),
    ("missing", _as_it_is, ("job", "run", "hello"), Exit.USAGE, "--model", "vcoin job run --help"),
    ("too many", _as_it_is, ("job", "show", "aaa", "bbb"), Exit.USAGE, "bbb", "vcoin job show --help"),
]


@pytest.mark.parametrize(
    ("prepare", "command", "code", "words", "hint"), [case[1:] for case in ASKED], ids=[case[0] for case in ASKED]
)
async def test_refused_in_one_line_with_the_fix(
    vcoin: Shell,
    prepare: Callable[[FakeBackend], None],
    command: tuple[str, ...],
    code: Exit,
    words: str,
    hint: str,
) -> None:
    prepare(vcoin.backend)
    ran = await vcoin(*command)
    error, *more = ran.err.splitlines()[-2 if hint else -1 :]
    assert error.startswith("error: ")
    assert words in error
    assert not hint or hint in more[0]
    assert ran.code == code
    assert ran.out == ""
    assert not vcoin.backend.asked, "nothing half-done"
    assert "Traceback" not in ran.err


ERRORS: list[tuple[NodeError, Exit, str]] = [
    (ConfigError("wrong password for /k", "give the one the key was created with"), Exit.BAD_CONFIG, "give the one"),
    (ConfigError("unknown key in c.toml: nod.price", "did you mean node.price?"), Exit.BAD_CONFIG, "did you mean"),
    (ChainError("no Ethereum endpoint answers: http://x", transient=True), Exit.RETRY_LATER, "RPC endpoint"),
    (ExecutorError("no Docker Engine answers"), Exit.PREFLIGHT, "docker info"),
    (ImageMissing("no image vcoin-runner:cpu"), Exit.PREFLIGHT, "docker info"),
    (Reverted("Settlement.deposit: DepositTooLow(1, 10)"), Exit.REVERTED, ""),
    (P2PError("no peer answers", transient=True), Exit.RETRY_LATER, "try again"),
    (Fault("preflight", "a second daemon runs on /d", "stop pid 5"), Exit.PREFLIGHT, "stop pid 5"),
    (NodeError("odd"), Exit.FAILED, ""),
]


@pytest.mark.parametrize(("error", "code", "hint"), ERRORS, ids=[str(error)[:20] for error, *_ in ERRORS])
def test_every_error_of_the_tree_has_its_exit_code(error: NodeError, code: Exit, hint: str) -> None:
    fault = fault_of(error)
    assert fault.kind.exit is code
    assert hint in fault.hint
    assert str(error) in fault.message


def test_refusal_of_the_system_is_a_sentence(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: list[str]) -> int:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), "output")

    monkeypatch.setattr("node.cli._run", fail)
    ran = shell.run("localnet", "down")
    assert (ran.code, ran.err) == (Exit.FAILED, "error: this machine refused: Device or resource busy (output)\n")


def test_exit_codes_are_the_documented_ones() -> None:
    assert [int(code) for code in Exit] == [0, 1, 2, 3, 4, 5, 6, 75, 78, 130]
    assert {kind.exit for kind in KINDS.values()} == set(Exit) - {Exit.OK, Exit.INTERRUPTED}


@pytest.mark.parametrize("command", [("status",), RUN, ("account", "deposit", "1", "-y"), ("model", "list")])
def test_without_a_daemon_the_way_to_start_one(shell: Shell, command: tuple[str, ...]) -> None:
    ran = shell.run(*command)
    assert ran.code == Exit.NO_DAEMON
    assert ran.err.splitlines()[-2:] == [
        f"error: no daemon answers at {shell.data_dir / 'vcoin.sock'}",
        "hint: start one: vcoin node run",
    ]


def test_unknown_setting_is_named(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text('[node]\nprise = "2.5"\n')
    ran = shell.run("config", "show")
    assert (ran.code, ran.err.splitlines()[0]) == (
        Exit.BAD_CONFIG,
        f"error: unknown key in {tmp_path / 'config.toml'}: node.prise",
    )
    (tmp_path / "config.toml").unlink()
    monkeypatch.setenv("VCOIN_PRICE", "1")
    assert shell.run("config", "show").code == Exit.BAD_CONFIG


def test_broken_settings_file_is_named_by_any_command(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[node\n")
    ran = shell.run("status")
    assert (ran.code, "is not TOML" in ran.err) == (Exit.BAD_CONFIG, True)


async def test_ctrl_c_is_130(vcoin: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("node.cli.commands.status.client", interrupt)
    ran = await vcoin("status")
    assert (ran.code, ran.err) == (Exit.INTERRUPTED, "interrupted\n")
