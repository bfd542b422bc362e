"""A network of whole nodes on this machine, a process each, that may be killed: only their containers are played.

The chain is Anvil, peers are libp2p over loopback in fast mode, journals are on the disk.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import trio
from coincurve import PrivateKey

from chain.tx.keystore import load_key, read_password
from chain.tx.wallet import Key
from node.api.client import Client
from node.api.faults import Fault
from node.api.views import JobView, Snapshot, read
from node.config import Config
from node.wallet.home import Home
from protocol.params import VCN
from protocol.wire.ids import peer_id_of
from tests.benchmarks.played_node import PlayedProcess
from tests.support.anvil_ledger import AnvilLedger, open_anvil_ledger
from tests.support.jobs import CLASSES
from tests.support.scenes.daemon_jobs import CALIBRATION, MODEL, TOKENIZER_JSON, operator_of
from tests.support.scenes.daemons import Place

T = TypeVar("T")

BOOTNODES = 3
FIRST_PORT, LAST_PORT = 24_000, 32_000
READY_WITHIN_S = 180.0
LOOK_EVERY_S = 0.25
DEPOSIT = 5_000 * VCN
STAKE = 10_000 * VCN
MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class Part:
    """The plan of one node. Amounts in VCN: its price of 1,000 tokens, and what it locks in a lane at once.

    `owner` is the requester whose client has its stake, and for whom it therefore never works; empty for a stranger.
    """

    roles: str
    price: int = 10
    lane: int = 20
    owner: str = ""


@dataclass
class Member:
    """One node: its settings, and its process while it runs."""

    name: str
    config: Config
    flags: Mapping[str, object]
    node_id: str
    process: PlayedProcess | None = None

    @property
    def client_key(self) -> Key:
        """The key that pays for its jobs."""
        home = Home(self.config.node.data_dir)
        return load_key(home.client_key, read_password(home.password, {}, None, ""))

    @property
    def client(self) -> Client:
        """The door to its daemon; each call may raise Fault, also if no daemon runs."""
        return Client(self.config.api.socket)

    def look(self) -> Snapshot:
        """Its snapshot. Raises: Fault."""
        return read(Snapshot, self.client.get("status"))

    def ask(self, words: str, timeout_ms: int, max_price: int = 0) -> str:
        """Ask for a job at this price in wei at most, 0 for any; returns its id. Raises: Fault."""
        body = {
            "model": MODEL.name,
            "messages": [{"role": "user", "content": words}],
            "max_new_tokens": MAX_NEW_TOKENS,
            "max_price_wei": str(max_price),
            "timeout_ms": timeout_ms,
            "min_reputation": 0,
            "with_bonus": True,
            "uncalibrated": False,
        }
        return str(self.client.post("jobs", body=body)["id"])


@dataclass
class PlayedNetwork:
    """The nodes, none of which runs yet; `asker` is the first of those that ask. Its calls block."""

    members: Mapping[str, Member]
    ledger: AnvilLedger
    work_s: float
    log: Path

    @property
    def asker(self) -> Member:
        """The first of those that ask."""
        return next(iter(self.members.values()))

    @property
    def workers(self) -> list[Member]:
        """The nodes that do not only ask."""
        return [member for member in self.members.values() if member.config.node.roles != ("requester",)]

    def start(self, member: Member) -> None:
        """Start a node that is not running; it is ready a moment later."""
        member.process = PlayedProcess(member.flags, self.work_s, self.log)

    def kill(self, member: Member) -> float:
        """SIGKILL; returns when, in seconds since 1970."""
        assert member.process is not None
        member.process.kill()
        at = time.time()
        member.process.wait()
        member.process = None
        return at

    def stop(self) -> None:
        """Kill whatever runs."""
        for member in self.members.values():
            if member.process is not None:
                self.kill(member)

    def wait_ready(self, members: list[Member]) -> None:
        """Until each sees all workers online. Raises: RuntimeError."""
        ids = {worker.node_id for worker in self.workers if worker.process is not None}
        for member in members:
            until(
                lambda member=member: self._is_ready(member, ids - {member.node_id}),
                READY_WITHIN_S,
                f"{member.name} sees the others, see {self.log}",
            )

    def _is_ready(self, member: Member, others: set[str]) -> bool:
        for each in self.members.values():
            if each.process is not None and each.process.poll() is not None:
                raise RuntimeError(f"{each.name} ended by itself, see {self.log}")
        try:
            view = member.look()
        except Fault:
            return False
        online = {node.node_id for node in view.nodes if node.online and node.class_ids}
        return view.state == "ready" and others <= online

    def ask(self, timeout_ms: int) -> str:
        """Ask for a job; returns its id. Raises: Fault."""
        return self.asker.ask("jump", timeout_ms)

    def job(self, job_id: str) -> JobView:
        """As its requester sees it. Raises: Fault."""
        return read(JobView, self.asker.client.get("jobs", job_id))


def until(look: Callable[[], T | None], within_s: float, what: str) -> T:
    """The first answer that is something. Raises: RuntimeError when it does not come in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(LOOK_EVERY_S)
    raise RuntimeError(f"{what}: not within {within_s:.0f} s")


def load() -> str:
    """How busy the machine was: the anchor of what was measured on it."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def measured(measure: Callable[[PlayedNetwork], T], workers: int, work_s: float) -> T:
    """The result of `measure` in a network of one requester and so many workers."""
    return trio.run(_measured, measure, workers, work_s)


async def _measured(measure: Callable[[PlayedNetwork], T], workers: int, work_s: float) -> T:
    cast = {"n0": Part("requester")} | {f"n{number}": Part("provider,verifier") for number in range(1, workers + 1)}
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="vc-", ignore_cleanup_errors=True) as folder:
        log = Path(tempfile.gettempdir()) / "vcoin-played.log"
        log.unlink(missing_ok=True)
        async with open_played_network(Path(folder), cast, work_s, log) as network:
            await network.ledger.controls.ethereum.rpc.request("evm_setIntervalMining", 1)
            for member in network.members.values():
                network.start(member)
            await trio.to_thread.run_sync(network.wait_ready, list(network.members.values()))
            # A Ctrl-C need not wait for what the thread waits for.
            return await trio.to_thread.run_sync(measure, network, abandon_on_cancel=True)


@asynccontextmanager
async def open_played_network(
    root: Path, cast: Mapping[str, Part], work_s: float, log: Path, *, poll_ms: int = 500, **changes: Any
) -> AsyncIterator[PlayedNetwork]:
    """A chain on which everybody has what they need: deposits, stakes, places on the list of verifiers.

    Args: root, where the nodes live; work_s, how long a container works; log, what the nodes say; poll_ms, between two
    looks at the chain; changes, to the numbers of the local profile. Nodes that still run at the end are killed.
    """
    async with open_anvil_ledger(calibrations=[CALIBRATION], **changes) as ledger:
        await ledger.controls.ethereum.rpc.request("anvil_setLoggingEnabled", False)
        _write_model(root / "store")
        members = _make(Place(root, ledger), cast, poll_ms)
        await _found(ledger, members, cast)
        network = PlayedNetwork(members, ledger, work_s, log)
        try:
            yield network
        finally:
            network.stop()


async def _found(ledger: AnvilLedger, members: Mapping[str, Member], cast: Mapping[str, Part]) -> None:
    """Requesters first: some own nodes."""
    for name, part in cast.items():
        if "requester" in part.roles:
            await ledger.deposit(members[name].client_key, DEPOSIT)
    for name, part in cast.items():
        operator = operator_of(members[name].config)
        if part.owner:
            await ledger.controls.enrich(operator)
            await ledger.actions(members[part.owner].client_key).register(operator, STAKE, CLASSES)
        elif part.roles != "requester":
            await ledger.register(operator, STAKE)
        if "verifier" in part.roles:
            await ledger.join(operator)


def _make(place: Place, cast: Mapping[str, Part], poll_ms: int) -> dict[str, Member]:
    """The nodes of a cast; each joins by the three made before it."""
    ports = _free_ports(len(cast))
    made = [
        place.make(
            name,
            node__roles=part.roles,
            node__price=str(part.price),
            node__lane=str(part.lane),
            p2p__listen=f"/ip4/127.0.0.1/tcp/{port}",
            executor__store=str(place.root / "store"),
            chain__poll_ms=poll_ms,
        )
        for (name, part), port in zip(cast.items(), ports, strict=True)
    ]
    keys = [operator_of(config) for config in made]
    peers = [peer_id_of(PrivateKey(key.secret).public_key.format()) for key in keys]
    addresses = [f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}" for port, peer in zip(ports, peers, strict=True)]
    members = {}
    for number, (name, config) in enumerate(zip(cast, made, strict=True)):
        # A ring, so that no node is the neighbour of all.
        others = [addresses[number - distance] for distance in range(1, BOOTNODES + 1)]
        flags = {**place.flags(config), "p2p.bootnodes": others}
        members[name] = Member(name, config, flags, keys[number].address)
    return members


def _write_model(store: Path) -> None:
    folder = store / "models" / MODEL.cid.hex()
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(MODEL.encode())
    (folder / "tokenizer.json").write_bytes(TOKENIZER_JSON)


def _free_ports(count: int) -> list[int]:
    """Ports below those that the system gives to connections, so that a killed node finds its own again."""
    with ExitStack() as stack:
        found: list[int] = []
        for port in range(FIRST_PORT, LAST_PORT):
            door = stack.enter_context(socket.socket())
            with suppress(OSError):
                door.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError(f"fewer than {count} free ports from {FIRST_PORT} to {LAST_PORT}")
