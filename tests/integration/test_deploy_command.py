"""`vcoin deploy`, `vcoin params` and `vcoin treasury` on a chain of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from chain.abi.interface import CONTRACTS
from chain.contracts.network import Network, read_deployment
from chain.contracts.timelock import Governance
from chain.rpc.endpoints import open_rpc
from chain.tx.keystore import create_key
from chain.tx.transactions import Sender
from node.api.faults import Exit
from node.cli import main
from protocol.params import VCN
from tests.support.anvil import CHAIN_ID, Anvil, Controls, anvil
from tests.support.anvil_ledger import DEPLOYER, POLL_S, RUNTIME, forget, open_anvil_ledger
from tests.support.jobs import key
from tests.unit.node.cli.conftest import Ran

pytestmark = pytest.mark.anvil
OTHER_CHAIN = 424_242


@dataclass
class Desk:
    """The deployer's folder, with its key."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    chain: Anvil

    @property
    def key_file(self) -> Path:
        return self.folder / "deployer.json"

    def ask(self, work: Callable[[Controls], Any], chain_id: int = CHAIN_ID) -> Any:
        """The state of the chain in a look."""

        async def run() -> Any:
            async with open_rpc([self.chain.url], chain_id) as rpc:
                return await work(Controls(rpc))

        return trio.run(run)

    def vcoin(self, *arguments: str) -> Ran:
        self.capsys.readouterr()
        code = main(arguments)
        return Ran(code, *self.capsys.readouterr())

    def deploy(self, *arguments: str, profile: str = "local") -> Ran:
        key_options = ["--key", str(self.key_file)] if "--deployer" not in arguments else []
        options = ["--rpc", self.chain.url, "--profile", profile, "--runtime", RUNTIME.hex()]
        return self.vcoin("deploy", *options, *key_options, *arguments)

    def sent(self, chain_id: int = CHAIN_ID) -> int:
        return int(self.ask(lambda controls: controls.ethereum.nonce(DEPLOYER.address), chain_id))


@pytest.fixture
def open_desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens a desk at a chain of its own; the deployer has plenty for gas."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VCOIN_PASSWORD", "secret")
    for name in ("VCOIN_CONFIG", "VCOIN_NODE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    create_key(tmp_path / "deployer.json", "secret", secret=DEPLOYER.secret, iterations=2)

    @contextmanager
    def opened(*arguments: str, chain_id: int = CHAIN_ID) -> Iterator[Desk]:
        with anvil(*arguments, chain_id=chain_id) as chain:
            desk = Desk(tmp_path, capsys, chain)
            desk.ask(lambda controls: controls.enrich(DEPLOYER), chain_id)
            yield desk

    return opened


def test_planned_then_deployed_then_checked(open_desk: Any) -> None:
    with open_desk() as desk:
        planned = desk.deploy("--json")
        assert planned.code == Exit.OK, planned.err
        plan = planned.json
        assert (desk.sent(), plan["was_sent"], plan["is_complete"]) == (0, False, False)
        assert not (desk.folder / "deployments").exists()
        assert [each["name"] for each in plan["contracts"]] == list(CONTRACTS)
        assert plan["governance"]["proposers"] == [DEPLOYER.address]
        assert plan["chain"]["runs_cancun"]
        assert plan["chain"]["has_history"]
        assert plan["refused"] == []
        done = desk.deploy("--broadcast", "--json")
        assert done.code == Exit.OK, done.err
        assert [each["address"] for each in done.json["contracts"]] == [each["address"] for each in plan["contracts"]]
        assert (done.json["was_sent"], done.json["is_complete"], desk.sent()) == (True, True, len(CONTRACTS))
        assert 0 < done.json["paid_wei"] < plan["most_cost_wei"]
        made = read_deployment(desk.folder / "deployments" / f"{CHAIN_ID}.json")
        assert list(astuple(made.addresses)) == [each["address"] for each in plan["contracts"]]
        assert done.json["code_hashes"] == list(made.code_hashes)
        again = desk.deploy("--broadcast", "--json")
        assert (again.code, again.json["paid_wei"], desk.sent()) == (Exit.OK, 0, len(CONTRACTS))
        after = desk.deploy()
        assert "It is deployed already" in after.out
        assert [each["is_there"] for each in desk.deploy("--json").json["contracts"]] == [True] * len(CONTRACTS)


def test_a_person_reads_the_whole_plan(open_desk: Any) -> None:
    with open_desk("--block-time", "1") as desk:
        desk.ask(lambda controls: controls.mine(20))
        ran = desk.deploy()
        assert ran.code == Exit.OK, ran.err
        for words in (
            f"{CHAIN_ID}, anvil/",
            "s in the mean of 1",
            "by 1 proposer",
            "EIP-1559",
            "EIP-2935, a hash can be had for",
            "executor  everybody",
            "15 min between a proposal and its execution",
            "min_stake",
            "1000 VCN",
            "cpu-bf16, bf16, avx512_bf16 or amx, runtime " + RUNTIME.hex(),
            f"{DEPLOYER.address} from nonce 0, has 1000 of the chain's own coin",
            "Nothing was sent: add --broadcast.",
        ):
            assert words in ran.out, words


def test_a_plan_needs_no_key(open_desk: Any) -> None:
    with open_desk() as desk:
        ran = desk.deploy("--deployer", DEPLOYER.address, "--json")
        assert (ran.code, ran.json["deployer"]) == (Exit.OK, DEPLOYER.address)


def test_everybody_who_governs_can_be_named(open_desk: Any) -> None:
    first, second, keeper, canceller = (key(name).address for name in ("first", "second", "keeper", "canceller"))
    with open_desk() as desk:
        named = ("--proposer", first, "--proposer", second, "--keeper", keeper, "--canceller", canceller)
        ran = desk.deploy(*named, "--broadcast", "--json")
        assert ran.code == Exit.OK, ran.err
        made = read_deployment(Path(ran.json["file"]))
        rulers = Governance((first, second), keeper, (canceller,))

        async def look(controls: Controls) -> bool:
            return await Network(controls.ethereum, made.addresses).timelock.has_roles(rulers.roles())

        assert desk.ask(look)
        other = desk.deploy("--broadcast")
        assert (other.code, other.out) == (Exit.BAD_CONFIG, "")
        assert "another roles than was asked for" in other.err


# ---- refusals


def test_without_gas_money_nothing_is_sent(open_desk: Any) -> None:
    with open_desk() as desk:
        desk.ask(lambda controls: controls.raw("anvil_setBalance", DEPLOYER.address, hex(10**15)))
        for more in ((), ("--broadcast",)):
            ran = desk.deploy(*more, "--json")
            assert ran.code == Exit.PREFLIGHT
            assert len(ran.json["refused"]) == 1
            assert f"error: {DEPLOYER.address} has 0.001000 of the chain's own coin" in ran.err
            assert "hint: send 0.0" in ran.err
            assert desk.sent() == 0
        assert not (desk.folder / "deployments").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--hardfork", "shanghai"), "lacks opcodes of the Cancun upgrade"),
        (("--code-size-limit", "20000"), "refuses contracts as large as ours"),
    ],
)
def test_a_chain_that_is_not_able_is_refused(open_desk: Any, options: tuple[str, ...], words: str) -> None:
    with open_desk(*options) as desk:
        ran = desk.deploy("--broadcast")
        assert ran.code == Exit.PREFLIGHT
        assert words in ran.err
        assert "Nothing was sent." in ran.out
        assert desk.sent() == 0


def test_a_chain_without_history_is_told(open_desk: Any) -> None:
    with open_desk("--hardfork", "cancun") as desk:
        ran = desk.deploy("--json")
        assert ran.code == Exit.OK, ran.err
        assert not ran.json["chain"]["has_history"]
        assert any("EIP-2935" in each["what"] for each in ran.json["warnings"])


def test_a_public_chain_wants_names_and_another_profile(open_desk: Any) -> None:
    with open_desk(chain_id=OTHER_CHAIN) as desk:
        unnamed = desk.deploy(profile="testnet")
        assert unnamed.code == Exit.USAGE
        assert "hint: --proposer ADDRESS --keeper ADDRESS" in unnamed.err
        named = ("--proposer", key("first").address, "--keeper", key("keeper").address)
        local = desk.deploy(*named, "--broadcast")
        assert local.code == Exit.PREFLIGHT
        assert "hint: --profile testnet" in local.err
        assert desk.sent(OTHER_CHAIN) == 0
        done = desk.deploy(*named, "--broadcast", "--json", profile="testnet")
        assert (done.code, done.json["file"]) == (Exit.OK, f"deployments/{OTHER_CHAIN}.json"), done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--chain-id", "5"), Exit.PREFLIGHT, f"hint: another --rpc, or --chain-id {CHAIN_ID}"),
        (("--proposer", "0x12", "--keeper", "0x12"), Exit.USAGE, "--proposer: '0x12' is no address"),
        (("--keeper", "0x" + "11" * 20), Exit.USAGE, "name all who govern, or none"),
        (("--rpc", "127.0.0.1:8545"), Exit.USAGE, "is no URL that begins with http://"),
        (("--runtime", "12"), Exit.USAGE, "is no sha256"),
        (("--profile", "moon"), Exit.USAGE, "moon"),
        (("--key", "nowhere.json"), Exit.BAD_CONFIG, "there is no key file nowhere.json"),
    ],
)
def test_what_cannot_be_meant(open_desk: Any, arguments: tuple[str, ...], code: Exit, words: str) -> None:
    with open_desk() as desk:
        options = {"--rpc": desk.chain.url, "--profile": "local", "--key": str(desk.key_file)}
        options |= dict(zip(arguments[::2], arguments[1::2], strict=True))
        ran = desk.vcoin("deploy", *(part for option in options.items() for part in option))
        assert (ran.code, ran.out) == (code, ""), ran.err
        assert words in ran.err


def test_a_key_is_needed_to_send_and_its_password(open_desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_desk() as desk:
        keyless = desk.deploy("--deployer", DEPLOYER.address, "--broadcast")
        assert (keyless.code, "hint: --key FILE" in keyless.err) == (Exit.USAGE, True)
        neither = desk.vcoin("deploy", "--rpc", desk.chain.url, "--profile", "local")
        assert (neither.code, "--deployer ADDRESS" in neither.err) == (Exit.USAGE, True)
        monkeypatch.setenv("VCOIN_PASSWORD", "wrong")
        wrong = desk.deploy("--broadcast")
        assert (wrong.code, "error: wrong password" in wrong.err) == (Exit.BAD_CONFIG, True)
        assert desk.sent() == 0


def test_a_chain_that_is_down_is_said_in_a_sentence(open_desk: Any) -> None:
    with open_desk() as desk:
        desk.chain.stop()
        ran = desk.deploy()
        assert ran.code == Exit.RETRY_LATER
        assert "error: no Ethereum endpoint answers" in ran.err


# ---- killed


@pytest.mark.slow
def test_killed_after_every_transaction_it_ends_where_it_was_planned(open_desk: Any) -> None:
    with open_desk("--block-time", "1") as desk:
        planned = desk.deploy("--json").json
        command = [sys.executable, "-m", "node.cli", "deploy", "--rpc", desk.chain.url, "--profile", "local"]
        command += ["--runtime", RUNTIME.hex(), "--key", str(desk.key_file), "--broadcast", "--json"]
        kills = 0
        while desk.sent() < len(CONTRACTS):
            before = desk.sent()
            process = subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ), cwd=desk.folder)
            while desk.sent() == before and process.poll() is None:
                time.sleep(0.05)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.communicate()
        assert kills >= len(CONTRACTS) // 2, "it was killed in between"
        done = desk.deploy("--broadcast", "--json")
        assert done.code == Exit.OK, done.err
        assert [each["address"] for each in done.json["contracts"]] == [
            each["address"] for each in planned["contracts"]
        ]
        assert desk.sent() == len(CONTRACTS)


# ---- what the network shows


@pytest.fixture
async def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    async with open_anvil_ledger() as opened:
        opened.deployment.write(tmp_path / "deployment.json")
        monkeypatch.setenv("VCOIN_CHAIN_DEPLOYMENT", str(tmp_path / "deployment.json"))
        monkeypatch.setenv("VCOIN_CHAIN_RPC_URLS", opened.chain.url)
        monkeypatch.setenv("VCOIN_NODE_DATA_DIR", str(tmp_path))
        monkeypatch.delenv("VCOIN_CONFIG", raising=False)
        yield opened


async def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ran:
    capsys.readouterr()
    code = await trio.to_thread.run_sync(partial(main, arguments))
    return Ran(code, *capsys.readouterr())


async def test_params_are_shown(ledger: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ran = await shown(capsys, "params", "show", "--json")
    assert ran.code == Exit.OK, ran.err
    assert (ran.json["profile"]["name"], ran.json["profile"]["min_stake"]) == ("local", 1_000 * VCN)
    assert ran.json["governor"] == ledger.deployment.addresses.timelock
    assert ran.json["delay_s"] == 900
    assert [each["name"] for each in ran.json["classes"]] == ["cpu-fp32", "cpu-bf16"]
    text = (await shown(capsys, "params", "show")).out
    assert "unbonding" in text
    assert "10 min" in text
    assert "adds rows, 15 min after it was proposed" in text


async def test_the_treasury_is_shown(ledger: Any, capsys: pytest.CaptureFixture[str]) -> None:
    network = ledger.network
    empty = (await shown(capsys, "treasury", "show", "--json")).json
    assert empty["supply_wei"] == 10**9 * VCN
    assert (empty["pool_wei"], empty["burned_wei"], empty["cases"], empty["operations"]) == (0, 0, 0, [])
    assert empty["guardian"]["keeper"] == DEPLOYER.address
    assert not empty["guardian"]["is_paused"]
    sender = Sender(network.ethereum, DEPLOYER, forget, poll_s=POLL_S)
    await sender.send(network.token.call("burn", 5 * VCN))
    await sender.send(network.token.approve(network.settlement.address, 3 * VCN))
    await sender.send(network.settlement.call("fundPool", 3 * VCN))
    await sender.send(network.timelock.schedule(network.guardian.set_keeper(key("other").address), 900))
    await sender.send(network.guardian.pause(3_600))
    full = (await shown(capsys, "treasury", "show", "--json")).json
    assert (full["pool_wei"], full["burned_wei"], full["supply_wei"]) == (3 * VCN, 5 * VCN, 10**9 * VCN - 5 * VCN)
    (waiting,) = full["operations"]
    assert waiting["call"] == f"Guardian.setKeeper(keeper_={key('other').address})"
    assert not waiting["is_ready"]
    assert full["guardian"]["is_paused"]
    text = (await shown(capsys, "treasury", "show")).out
    for words in ("3 VCN, from which seats are paid", "burned so far 5 VCN", "paused for", "Guardian.setKeeper"):
        assert words in text, words
    await ledger.warp(3_600)
    text = (await shown(capsys, "treasury", "show")).out
    assert "intake    open" in text
    assert "ready: Guardian.setKeeper" in text


async def test_without_a_deployment_it_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VCOIN_NODE_DATA_DIR", str(tmp_path))
    for name in ("VCOIN_CHAIN_DEPLOYMENT", "VCOIN_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for noun in ("params", "treasury"):
        ran = await shown(capsys, noun, "show")
        assert (ran.code, ran.out) == (Exit.BAD_CONFIG, "")
        assert "hint: chain.deployment names the network's addresses file" in ran.err
