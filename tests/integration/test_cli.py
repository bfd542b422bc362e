"""The `vcoin` command as people run it: real processes, a real chain, real nodes; whatever is wrong in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chain.tx.keystore import create_key
from chain.tx.wallet import Key
from node.api.faults import Exit
from node.localnet.processes import start_of
from node.wallet.home import Founded, Home, found
from protocol.params import VCN
from tests.support.ports import free_ports

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.slow]

WITHIN_S = 180
FAST = 2
PLAN = """
[nodes.asker]
roles = ["requester"]
stake = "1000"
deposit = "100"
coins = "200"
[nodes.other]
roles = ["requester"]
stake = "2000"
"""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def complaint(self) -> tuple[str, str]:
        """The error and its hint; nothing else but them and log lines may have been said."""
        lines = self.err.splitlines()
        assert "Traceback" not in self.err, self.err
        errors = [line for line in lines if line.startswith("error: ")]
        assert len(errors) == 1, self.err
        return errors[0], next((line for line in lines if line.startswith("hint: ")), "")


@dataclass(frozen=True)
class Network:
    """A local network, and commands in its surroundings."""

    directory: Path
    rpc_port: int
    p2p_port: int

    def vcoin(self, *arguments: str, **environment: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "node.cli", *arguments],
            env={**clean_environment(), **environment},
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def of(self, node: str, *arguments: str) -> Ran:
        """A command to one of the nodes."""
        return self.vcoin(*arguments, "--data-dir", str(self.directory / node))

    def up(self, plan: Path) -> Ran:
        ports = ("--port", str(self.rpc_port), "--p2p-port", str(self.p2p_port))
        return self.vcoin("localnet", "up", "--nodes", str(plan), "--dir", str(self.directory), *ports, "--json")

    @property
    def record(self) -> Any:
        return json.loads((self.directory / "localnet.json").read_text())


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("VCOIN_")}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "plan.toml").write_text(PLAN)
    # A socket's path is short, and those of pytest are not.
    directory = Path("/tmp") / f"vcoin-{os.getpid()}"
    network = Network(directory, free_ports(1), free_ports(2))
    ran = network.up(folder / "plan.toml")
    try:
        assert ran.code == Exit.OK, ran.err
        assert ran.json == network.record
        yield network
    finally:
        network.vcoin("localnet", "down", "--dir", str(directory))
        subprocess.run(["rm", "-rf", str(directory)], check=True)


def test_network_is_up_with_what_was_planned(network: Network) -> None:
    record = network.record
    assert record["ready"]
    assert [(node["name"], node["stake_wei"]) for node in record["nodes"]] == [
        ("asker", 1_000 * VCN),
        ("other", 2_000 * VCN),
    ]
    status = network.of("asker", "status", "--json").json
    assert (status["state"], status["me"]["stake_wei"]) == ("ready", str(1_000 * VCN))
    assert [node["node_id"] for node in status["nodes"] if node["online"]] == [record["nodes"][1]["node_id"]]
    shown = network.vcoin("localnet", "status", "--dir", str(network.directory))
    assert shown.code == Exit.OK
    assert [line.split()[:3] for line in shown.out.splitlines()[3:]] == [
        ["asker", "requester", "ready"],
        ["other", "requester", "ready"],
    ]


def test_second_network_in_one_place_is_refused(network: Network, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    before = network.record
    refused = network.up(tmp_path / "plan.toml")
    assert refused.code == Exit.PREFLIGHT
    assert refused.complaint == (
        f"error: a local network is up already: {network.directory}",
        "hint: vcoin localnet down",
    )
    assert network.record == before


def test_taken_port_is_named_and_nothing_is_started(network: Network, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    elsewhere = Network(tmp_path / "net", network.rpc_port, network.p2p_port)
    refused = elsewhere.up(tmp_path / "plan.toml")
    assert refused.code == Exit.PREFLIGHT
    assert refused.complaint[0] == f"error: port {network.rpc_port} of 127.0.0.1 is taken, the chain needs it"
    assert not elsewhere.directory.exists()


def test_directory_that_is_something_else_is_not_touched(network: Network, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "thesis.txt").write_text("x")
    refused = Network(tmp_path, free_ports(1), free_ports(2)).up(tmp_path / "plan.toml")
    assert refused.code == Exit.BAD_CONFIG
    assert "holds something else" in refused.complaint[0]
    assert (tmp_path / "thesis.txt").exists()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Network]:
    """A place for a second network, with nothing left running in it."""
    second = Network(Path("/tmp") / f"vcoin-{os.getpid()}-b", free_ports(1), free_ports(2))
    yield second
    second.vcoin("localnet", "down", "--dir", str(second.directory))
    subprocess.run(["rm", "-rf", str(second.directory)], check=True)


def processes_of(network: Network) -> list[int]:
    """Those in its record that still run."""
    record = network.record
    processes = [record["chain"], *(node["process"] for node in record["nodes"] if node["process"])]
    assert len(processes) > 1, "something was started"
    return [process["pid"] for process in processes if start_of(process["pid"]) == process["started"]]


def test_node_that_ends_while_it_starts_takes_the_network_down(elsewhere: Network, tmp_path: Path) -> None:
    """Docker is missing, for a node that has nothing to do without it."""
    plan = '[nodes.worker]\nroles = ["provider"]\nstake = 5000\n'
    settings = '[nodes.worker.settings]\n"executor.docker_host" = "unix:///nowhere.sock"\n'
    (tmp_path / "plan.toml").write_text(plan + settings)
    failed = elsewhere.up(tmp_path / "plan.toml")
    assert failed.code == Exit.PREFLIGHT
    error, hint = failed.complaint
    assert error.startswith("error: worker ended: ")
    assert "nowhere.sock" in error
    assert hint == f"hint: its log: {elsewhere.directory}/worker/node.log"
    assert processes_of(elsewhere) == []


def test_ctrl_c_takes_down_what_has_come_up(elsewhere: Network, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    ports = ("--port", str(elsewhere.rpc_port), "--p2p-port", str(elsewhere.p2p_port))
    options = ("--nodes", str(tmp_path / "plan.toml"), "--dir", str(elsewhere.directory), *ports)
    command = [sys.executable, "-m", "node.cli", "localnet", "up", *options]
    # A process in a shell's background ignores Ctrl-C, and so would its children.
    heeding = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command, env=clean_environment(), stderr=subprocess.PIPE, text=True, preexec_fn=heeding
    ) as up:
        assert up.stderr is not None
        for line in up.stderr:
            if "nodes start" in line:
                up.send_signal(signal.SIGINT)
                break
        rest = up.stderr.read()
        assert up.wait(WITHIN_S) == Exit.INTERRUPTED, rest
    assert "Traceback" not in rest
    assert processes_of(elsewhere) == []


def test_money_of_a_client_moves_by_the_daemon(network: Network) -> None:
    before = network.of("asker", "account", "show", "--json").json
    planned = network.of("asker", "account", "deposit", "12.5", "--dry-run")
    assert (planned.code, "Settlement.depositWithPermit(amount=12500000000000000000" in planned.out) == (0, True)
    sent = network.of("asker", "account", "deposit", "12.5", "--yes", "--json").json
    assert len(sent["transactions"]) == 1
    after = network.of("asker", "account", "show", "--json").json
    assert int(after["free_wei"]) - int(before["free_wei"]) == 25 * VCN // 2
    assert int(before["wallet_wei"]) - int(after["wallet_wei"]) == 25 * VCN // 2
    assert network.of("asker", "account", "withdraw", "12.5", "-y").code == Exit.OK
    assert network.of("asker", "account", "show", "--json").json["free_wei"] == before["free_wei"]


def test_what_the_contract_refuses_is_said_before_anything_is_sent(network: Network) -> None:
    refused = network.of("asker", "account", "withdraw", "5000", "-y")
    assert refused.code == Exit.REVERTED
    error, hint = refused.complaint
    assert "NotEnoughFree" in error
    assert hint.startswith("hint: the account has less free")
    poor = network.of("asker", "account", "deposit", "100000", "-y")
    assert (poor.code, "holds" in poor.complaint[0]) == (Exit.REVERTED, True)


def owner_options(network: Network, node: str) -> tuple[str, ...]:
    directory = network.directory
    return ("--owner-key", str(directory / f"{node}-owner.json"), "--password-file", str(directory / "password"))


def test_owner_adds_stake_from_the_own_wallet(network: Network) -> None:
    poor = network.of("other", "stake", "deposit", "50", "-y", *owner_options(network, "other"))
    assert poor.code == Exit.REVERTED
    assert "holds 0 VCN, 50 are needed" in poor.complaint[0]
    stranger = network.of("other", "stake", "deposit", "50", "--dry-run", *owner_options(network, "asker"))
    assert stranger.code == Exit.REVERTED, stranger.err


def test_new_node_is_registered_with_its_first_stake(network: Network, tmp_path: Path) -> None:
    """init, stake deposit from an owner's wallet, stake again: seen by a node that is already there."""
    record = network.record
    founded = new_node(network, tmp_path)
    owner = create_key(tmp_path / "owner.json", "x", iterations=FAST)
    pay(network, owner, 3_000)
    (tmp_path / "password").write_text("x\n")
    here = ("--data-dir", str(founded.home.path))
    keys = ("--owner-key", str(tmp_path / "owner.json"), "--password-file", str(tmp_path / "password"))
    planned = network.vcoin("stake", "deposit", "1000", "--dry-run", "--json", *keys, *here).json
    assert [call["function"] for call in planned["calls"]] == ["registerWithPermit"]
    assert [(change["name"], change["after_wei"]) for change in planned["balances"]] == [
        ("stake", str(1_000 * VCN)),
        ("wallet", str(2_000 * VCN)),
    ]
    assert network.vcoin("stake", "deposit", "1000", "--yes", *keys, *here).code == Exit.OK
    more = network.vcoin("stake", "deposit", "500", "--yes", "--json", *keys, *here).json
    assert [call["function"] for call in more["calls"]] == ["approve", "stake"]
    score = network.of("asker", "node", "score", founded.operator, "--json")
    assert score.json["stake_wei"] == str(1_500 * VCN)
    assert record["nodes"] == network.record["nodes"]


def test_somebody_stakes_on_a_node_from_the_own_wallet(network: Network, tmp_path: Path) -> None:
    friend = create_key(tmp_path / "friend.json", "x", iterations=FAST)
    pay(network, friend, 100)
    (tmp_path / "password").write_text("x\n")
    node = next(each["node_id"] for each in network.record["nodes"] if each["name"] == "other")
    keys = ("--key", str(tmp_path / "friend.json"), "--password-file", str(tmp_path / "password"), "--node", node)
    planned = network.of("asker", "stake", "delegate", "40", "--dry-run", "--json", *keys).json
    assert [call["function"] for call in planned["calls"]] == ["delegateWithPermit"]
    assert [(change["name"], change["after_wei"]) for change in planned["balances"]] == [
        ("stake", str(40 * VCN)),
        ("wallet", str(60 * VCN)),
    ]
    assert network.of("asker", "stake", "delegate", "40", "--yes", *keys).code == Exit.OK
    assert network.of("asker", "stake", "unbond", "15", "--yes", *keys).code == Exit.OK
    assert network.of("asker", "stake", "rebond", "5", "--yes", *keys).code == Exit.OK
    look = ("stake", "show", "--node", node, "--staker", friend.address)
    shown = network.of("asker", *look, "--json").json
    assert (shown["staked_wei"], shown["unbonding_wei"]) == (str(30 * VCN), str(10 * VCN))
    assert (shown["delegated_wei"], shown["commission_bps"]) == (str(30 * VCN), 1_000)
    assert "30 VCN" in network.of("asker", *look).out
    early = network.of("asker", "stake", "withdraw", "--yes", *keys)
    assert (early.code, "StillUnbonding" in early.complaint[0]) == (Exit.REVERTED, True)
    nothing = network.of("asker", "stake", "claim", "--yes", *keys)
    assert (nothing.code, "NoRewards" in nothing.complaint[0]) == (Exit.REVERTED, True)
    unknown = network.of("asker", "stake", "show", "--node", friend.address)
    assert (unknown.code, "no node" in unknown.complaint[0]) == (Exit.FAILED, True)


def test_wrong_password_and_missing_key_file(network: Network, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("not this\n")
    owner_key = str(network.directory / "asker-owner.json")
    wrong = network.of(
        "asker", "stake", "deposit", "5", "--owner-key", owner_key, "--password-file", str(tmp_path / "wrong")
    )
    assert (wrong.code, wrong.complaint[0]) == (Exit.BAD_CONFIG, f"error: wrong password for {owner_key}")
    missing = network.of("asker", "stake", "deposit", "5", "--owner-key", str(tmp_path / "none.json"))
    assert missing.code == Exit.BAD_CONFIG


def test_score_names_what_is_behind_it(network: Network) -> None:
    """The owner changes the classes; another node tells so, with the transaction."""
    other = next(each["node_id"] for each in network.record["nodes"] if each["name"] == "other")
    owner_key, password = network.directory / "other-owner.json", str(network.directory / "password")
    keys = ("--key", str(owner_key), "--password-file", password, "--node", other)
    sent = network.of("other", "node", "classes", "1", "--yes", "--json", *keys)
    assert sent.code == Exit.OK, sent.err
    score = network.of("asker", "node", "score", other, "--json").json
    (changed,) = [change for change in score["changes"] if change["cause"] == "classes"]
    assert [changed["transaction"]] == sent.json["transactions"]
    assert (changed["score"], score["penalised"]) == (score["score"], 0)
    text = network.of("asker", "node", "score", other).out
    assert "other device classes: probation" in text
    assert "no case was lost" in text


def test_job_that_nobody_can_do_costs_nothing(network: Network) -> None:
    before = network.of("asker", "account", "show", "--json").json
    refused = network.of("asker", "job", "run", "--model", "gpt-9", "Why is the sky blue?")
    assert refused.code == Exit.FAILED
    assert refused.complaint[0] == "error: unknown model 'gpt-9': the store is empty"
    assert network.of("asker", "job", "list", "--json").json == []
    assert network.of("asker", "account", "show", "--json").json["free_wei"] == before["free_wei"]


def new_node(network: Network, tmp_path: Path, roles: tuple[str, ...] = ("requester",)) -> Founded:
    """A node that does not run, with the settings of the network."""
    settings = {
        "node": {"roles": list(roles)},
        "p2p": {"listen": ["/ip4/127.0.0.1/tcp/0"], "fast": True},
        "chain": {"rpc_urls": [network.record["rpc"]], "deployment": network.record["deployment"]},
    }
    return found(Home(tmp_path / "node"), settings, "", iterations=FAST)


def pay(network: Network, to: Key, amount: int) -> None:
    """Coins and gas from the deployer of the network."""
    import trio

    from chain.contracts.network import Network as Contracts
    from chain.contracts.network import read_deployment
    from chain.rpc.endpoints import open_rpc
    from chain.rpc.ethereum import Ethereum
    from chain.tx.keystore import load_key
    from tests.support.actions import Actions

    record = network.record

    async def send() -> None:
        deployment = read_deployment(Path(record["deployment"]))
        async with open_rpc([record["rpc"]], record["chain_id"]) as rpc:
            await rpc.request("anvil_setBalance", to.address, hex(10 * VCN))
            deployer = load_key(Path(record["deployer_key"]), "localnet")
            contracts = Contracts(Ethereum(rpc), deployment.addresses)
            await Actions(contracts, deployer, poll_s=0.05).transfer(to.address, amount * VCN)

    trio.run(send)


def test_second_daemon_on_one_data_directory_is_refused(network: Network) -> None:
    refused = network.of("asker", "node", "run")
    assert refused.code == Exit.BAD_CONFIG
    assert str(network.directory / "asker") in refused.complaint[0]
    assert network.of("asker", "status").code == Exit.OK


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        (("node.roles=provider", "executor.docker_host=unix:///nowhere.sock"), Exit.PREFLIGHT, "nowhere.sock"),
        (("chain.rpc_urls=http://127.0.0.1:9",), Exit.RETRY_LATER, "no Ethereum endpoint answers"),
        (("p2p.listen=/ip4/127.0.0.1/tcp/{taken}",), Exit.BAD_CONFIG, "{taken}"),
        (("node.pryce=1",), Exit.BAD_CONFIG, "node.pryce"),
        (("chain.deployment=/nowhere.json",), Exit.BAD_CONFIG, "there is no deployment file"),
        (("node.password_file=/nowhere",), Exit.BAD_CONFIG, "/nowhere"),
        (("api.socket=/nowhere/at/all.sock",), Exit.BAD_CONFIG, "cannot listen on /nowhere/at/all.sock"),
    ],
    ids=["docker", "rpc", "port", "key", "deployment", "password", "socket"],
)
def test_node_that_cannot_run_says_why_in_one_line(
    network: Network, tmp_path: Path, settings: tuple[str, ...], code: Exit, words: str
) -> None:
    founded = new_node(network, tmp_path)
    taken = str(network.p2p_port)
    flags = [part for setting in settings for part in ("--set", setting.replace("{taken}", taken))]
    refused = network.vcoin("node", "run", "--data-dir", str(founded.home.path), *flags)
    error, hint = refused.complaint
    assert (refused.code, words.replace("{taken}", taken) in error) == (code, True), refused.err
    assert hint, error


def test_down_ends_only_what_is_ours_and_all_of_it(network: Network) -> None:
    """Last in this file: the network is gone after it."""
    pids = [node["process"]["pid"] for node in network.record["nodes"]] + [network.record["chain"]["pid"]]
    os.kill(pids[0], signal.SIGKILL)
    partly = network.vcoin("localnet", "status", "--dir", str(network.directory), "--json")
    assert partly.code == Exit.NO_DAEMON
    assert [node["alive"] for node in partly.json["found"]] == [False, True]
    dead = network.of("asker", "status")
    assert (dead.code, dead.complaint[1]) == (Exit.NO_DAEMON, "hint: start one: vcoin node run")
    down = network.vcoin("localnet", "down", "--dir", str(network.directory))
    assert down.code == Exit.OK
    assert "killed" not in down.err
    assert [start_of(pid) for pid in pids] == ["", "", ""]
    again = network.vcoin("localnet", "down", "--dir", str(network.directory))
    assert (again.code, "there is no local network" in again.err) == (Exit.OK, True)
    gone = network.vcoin("localnet", "status", "--dir", str(network.directory))
    assert (gone.code, gone.complaint[1]) == (Exit.NO_DAEMON, "hint: vcoin localnet up")
