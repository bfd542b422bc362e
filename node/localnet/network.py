"""Bringing a local network up: chain, contracts, keys, money, nodes, in this order."""

import contextlib
import os
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import trio

from chain.contracts.network import Network
from chain.tx.keystore import create_key, load_key
from executor import images
from executor.containers.engine import DEFAULT_HOST, Engine
from executor.conversion import SMOLLM2, add_wheel
from executor.devices import class_ids
from executor.models import ModelStore
from node.api.faults import Fault
from node.api.views import Snapshot
from node.localnet import bank
from node.localnet.leftovers import clear
from node.localnet.plan import DEFAULT, NodePlan
from node.localnet.processes import Process, start, stop
from node.localnet.record import LocalnetRecord, LocalNode, read_record
from node.localnet.running import STOP_WITHIN_S, Say, look
from node.wallet.home import Home, found, write_secret

RPC_PORT = 8_545
P2P_PORT = 4_701
SCRYPT = 2**12
"""Keys of a local network guard nothing, and there are many of them to open at the start."""
PASSWORD = "localnet"  # noqa: S105 - it guards nothing, see above
READY_WITHIN_S = 120.0
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class LocalnetPlan:
    """The nodes to bring up.

    `store`: a content store to share instead of a new one; `first_p2p_port` and those after it; `smollm2`: have that
    model in the store before the nodes look into it.
    """

    directory: Path
    plan: tuple[NodePlan, ...] = DEFAULT
    rpc_port: int = RPC_PORT
    first_p2p_port: int = P2P_PORT
    store: Path | None = None
    smollm2: bool = False

    @property
    def content_store(self) -> Path:
        """The store of models and blobs of all nodes."""
        return self.store or self.directory / "store"


def up(order: LocalnetPlan, say: Say) -> LocalnetRecord:
    """Start everything and wait until it is ready. After any failure, the started parts are stopped again.

    Raises: Fault preflight for what the machine lacks, a taken port, a network that is up already; NodeError.
    """
    _require_ready_machine(order)
    clear(order.directory, say)
    if order.smollm2:
        _add_smollm2(order.content_store, say)
    try:
        trio.run(_up, order, say)
    except BaseException:
        if begun := read_record(order.directory):
            stop(begun.processes, STOP_WITHIN_S)
        raise
    finished = read_record(order.directory)
    assert finished is not None
    return finished


def _require_ready_machine(order: LocalnetPlan) -> None:
    record = read_record(order.directory)
    if record and any(process.is_alive for process in record.processes):
        raise Fault("preflight", f"a local network is up already: {order.directory}", "vcoin localnet down")
    bank.find_anvil()
    bank.require_free(order.rpc_port, "the chain")
    for index, node in enumerate(order.plan):
        bank.require_free(order.first_p2p_port + index, node.name)


def _add_smollm2(store: Path, say: Say) -> None:
    """Convert the model once, in a container. Raises: ExecutorError."""
    models = ModelStore(store)
    if any(manifest.name == SMOLLM2.name for manifest in models.manifests()):
        return
    say(f"converting {SMOLLM2.name}, once; this takes a minute ...")
    host = os.environ.get("DOCKER_HOST", DEFAULT_HOST)
    image = images.find(host)
    with contextlib.closing(Engine("localnet", host)) as engine:
        add_wheel(engine, image, models)


async def _up(order: LocalnetPlan, say: Say) -> None:
    directory = order.directory
    rpc_url = f"http://127.0.0.1:{order.rpc_port}"
    deployer = create_key(directory / "deployer.json", PASSWORD, iterations=SCRYPT)
    write_secret(directory / "password", PASSWORD + "\n")
    chain = bank.start_anvil(order.rpc_port, directory)
    record = LocalnetRecord(
        directory=str(directory),
        rpc=rpc_url,
        chain_id=bank.CHAIN_ID,
        profile="local",
        deployment=str(directory / "deployment.json"),
        contracts={},
        deployer=deployer.address,
        deployer_key=str(directory / "deployer.json"),
        store=str(order.content_store),
        chain=chain,
    )
    record.write()
    say(f"chain {bank.CHAIN_ID} at {rpc_url}, pid {chain.pid}")
    async with bank.reach(rpc_url, chain) as ethereum:
        path = Path(record.deployment)
        deployment = await bank.found_network(ethereum, deployer, bytes.fromhex(images.runtime()), path, record.profile)
        say(f"{len(asdict(deployment.addresses))} contracts deployed, profile {record.profile}")
        accounts, members = _found_nodes(order, record)
        record = replace(record, contracts=asdict(deployment.addresses), nodes=members)
        record.write()
        network = Network(ethereum, deployment.addresses)
        async for name in bank.fund(network, deployer, accounts, class_ids()):
            say(f"{name} has its keys, its money and its stake")
        await bank.tick(ethereum)
    for member in record.nodes:
        record = record.with_process(member.name, _start_node(member))
        record.write()
    say(f"{len(record.nodes)} nodes start ...")
    await _wait_until_ready(record, say)
    replace(record, ready=True).write()


def _found_nodes(order: LocalnetPlan, record: LocalnetRecord) -> tuple[list[bank.NodeKeys], tuple[LocalNode, ...]]:
    """Keys and settings of every node; all join by the first one."""
    accounts, members = [], []
    bootnode = ""
    for index, plan in enumerate(order.plan):
        home = Home(order.directory / plan.name)
        listen = f"/ip4/127.0.0.1/tcp/{order.first_p2p_port + index}"
        settings = _settings(plan, record, listen, bootnode)
        founded = found(home, settings, PASSWORD, iterations=SCRYPT)
        owner_key = order.directory / f"{plan.name}-owner.json"
        owner = create_key(owner_key, PASSWORD, iterations=SCRYPT)
        bootnode = bootnode or f"{listen}/p2p/{founded.peer_id}"
        keys = (load_key(path, PASSWORD) for path in (home.operator_key, home.client_key))
        accounts.append(bank.NodeKeys(plan, owner, *keys))
        members.append(
            LocalNode(
                name=plan.name,
                roles=plan.roles,
                data_dir=str(home.path),
                socket=str(home.path / "vcoin.sock"),
                node_id=founded.operator,
                peer_id=founded.peer_id,
                client=founded.client,
                owner=owner.address,
                operator_key=str(home.operator_key),
                client_key=str(home.client_key),
                password_file=str(order.directory / "password"),
                owner_key=str(owner_key),
                owner_password_file=str(order.directory / "password"),
                listen=listen,
                stake_wei=plan.stake_wei,
                deposit_wei=plan.deposit_wei,
            )
        )
    return accounts, tuple(members)


def _settings(plan: NodePlan, record: LocalnetRecord, listen: str, bootnode: str) -> dict[str, dict[str, object]]:
    """The settings of every node of a local network, and then those of this one alone."""
    settings: dict[str, dict[str, object]] = {
        "node": {
            "name": plan.name,
            "roles": list(plan.roles),
            "password_file": str(Path(record.directory) / "password"),
        },
        "p2p": {"listen": [listen], "bootnodes": [bootnode] if bootnode else [], "fast": True},
        "chain": {"rpc_urls": [record.rpc], "deployment": record.deployment, "poll_ms": 500},
        "executor": {"store": record.store, "host_slots": os.cpu_count() or 1},
    }
    if host := os.environ.get("DOCKER_HOST"):
        settings["executor"]["docker_host"] = host
    for key, value in plan.settings.items():
        section, _, name = key.partition(".")
        settings.setdefault(section, {})[name] = value
    return settings


def _start_node(member: LocalNode) -> Process:
    command = [sys.executable, "-m", "node.cli", "node", "run", "--data-dir", member.data_dir]
    # Settings of this shell are not theirs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VCOIN_")}
    return start(member.name, command, Path(member.data_dir) / "node.log", environment)


async def _wait_until_ready(record: LocalnetRecord, say: Say) -> None:
    """Raises: Fault preflight for a node that ended, not_ready for one that is not ready in time."""
    waiting = {node.name: node for node in record.nodes}
    staked = {node.node_id for node in record.nodes if node.stake_wei}
    with trio.move_on_after(READY_WITHIN_S):
        while waiting:
            for node in tuple(waiting.values()):
                seen = await trio.to_thread.run_sync(partial(look, node))
                if not seen.is_alive:
                    raise _ended(node)
                if seen.snapshot and _is_ready(seen.snapshot, staked - {node.node_id}):
                    say(f"{node.name} is ready and sees {len(staked - {node.node_id})} others")
                    del waiting[node.name]
            await trio.sleep(POLL_S)
    if waiting:
        names = ", ".join(waiting)
        hint = f"see {record.directory}/*/node.log"
        raise Fault("not_ready", f"not ready after {READY_WITHIN_S:.0f} s: {names}", hint)


def _is_ready(snapshot: Snapshot, others: set[str]) -> bool:
    online = {node.node_id for node in snapshot.nodes if node.online}
    return snapshot.state == "ready" and snapshot.chain.connected and others <= online


def _ended(node: LocalNode) -> Fault:
    assert node.process is not None
    log = node.process.log
    said = next((line for line in node.process.tail().splitlines() if line.startswith("error: ")), "")
    return Fault("preflight", f"{node.name} ended: {said.removeprefix('error: ') or 'see its log'}", f"its log: {log}")
