"""A network of whole nodes on this machine, a process each, that benchmarks may kill: only their containers are played.

The chain is Anvil with a block a second, peers are libp2p over loopback in fast mode, journals are on the disk.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio
from coincurve import PrivateKey

from chain.keystore import load_key, read_password
from chain.wallet import Key
from node.api.client import Client
from node.api.faults import Fault
from node.api.snapshot import JobView, Snapshot, read
from node.config import Config
from node.home import Home
from protocol.params import VCN
from protocol.wire.ids import peer_id_of
from tests.anvil_ledger import open_anvil_ledger
from tests.integration.test_daemon import REPOSITORY, Place
from tests.integration.test_daemon_jobs import CALIBRATION, MODEL, TOKENIZER_JSON, operator_of

T = TypeVar("T")

BOOTNODES = 3
FIRST_PORT, LAST_PORT = 24_000, 32_000
READY_WITHIN_S = 180.0
LOOK_EVERY_S = 0.25
DEPOSIT = 5_000 * VCN


@dataclass
class Member:
    """One node: its settings, and its process while it runs."""

    name: str
    config: Config
    flags: Path
    node_id: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Client:
        """The door to its daemon; each call may raise Fault, too where nobody is at home."""
        return Client(self.config.api.socket)

    def look(self) -> Snapshot:
        """Its snapshot. Raises: Fault."""
        return read(Snapshot, self.client.get("status"))


@dataclass
class PlayedNetwork:
    """The nodes. Everything here blocks."""

    asker: Member
    workers: list[Member]
    work_s: float
    log: Path

    def start(self, member: Member) -> None:
        """Start a node that is not running; it is ready some seconds later."""
        command = [sys.executable, "-m", "tests.benchmarks.played_node", str(member.flags), str(self.work_s)]
        with self.log.open("ab") as log:
            member.process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

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
        for member in (self.asker, *self.workers):
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
        for each in (self.asker, *self.workers):
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
        body = {
            "model": MODEL.name,
            "messages": [{"role": "user", "content": "jump"}],
            "max_new_tokens": 64,
            "max_price_wei": "0",
            "timeout_ms": timeout_ms,
            "min_reputation": 0,
            "with_bonus": True,
            "uncalibrated": False,
        }
        return str(self.asker.client.post("jobs", body=body)["id"])

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
    """What `measure` finds in a network of one requester and so many workers."""
    return trio.run(_measured, measure, workers, work_s)


async def _measured(measure: Callable[[PlayedNetwork], T], workers: int, work_s: float) -> T:
    async with _played_network(workers, work_s) as network:
        # A Ctrl-C need not wait for what the thread waits for.
        return await trio.to_thread.run_sync(measure, network, abandon_on_cancel=True)


@asynccontextmanager
async def _played_network(workers: int, work_s: float) -> AsyncIterator[PlayedNetwork]:
    with ExitStack() as stack:
        # A socket's path must be short.
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vc-", ignore_cleanup_errors=True)))
        ledger = open_anvil_ledger(calibrations=[CALIBRATION])
        async with ledger as opened:
            await opened.controls.ethereum.rpc.request("anvil_setLoggingEnabled", False)
            place = Place(root, opened)
            _write_model(root / "store")
            members = _make(place, workers)
            network = PlayedNetwork(members[0], members[1:], work_s, Path(tempfile.gettempdir()) / "vcoin-played.log")
            network.log.unlink(missing_ok=True)
            await opened.deposit(_client_key(members[0]), DEPOSIT)
            for worker in network.workers:
                await opened.register(operator_of(worker.config))
                await opened.join(operator_of(worker.config))
            await opened.controls.ethereum.rpc.request("evm_setIntervalMining", 1)
            stack.callback(network.stop)
            for member in members:
                network.start(member)
            await trio.to_thread.run_sync(network.wait_ready, members)
            yield network
            network.stop()


def _make(place: Place, workers: int) -> list[Member]:
    """Settings of the requester and then of the workers; each joins by the three made before it."""
    ports = _free_ports(workers + 1)
    made = [
        place.make(
            f"n{number}",
            node__roles="provider,verifier" if number else "requester",
            p2p__listen=f"/ip4/127.0.0.1/tcp/{port}",
            executor__store=str(place.root / "store"),
            chain__poll_ms=500,
        )
        for number, port in enumerate(ports)
    ]
    keys = [operator_of(config) for config in made]
    peers = [peer_id_of(PrivateKey(key.secret).public_key.format()) for key in keys]
    addresses = [f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}" for port, peer in zip(ports, peers, strict=True)]
    members = []
    for number, config in enumerate(made):
        # A ring, so that nobody is everybody's neighbour.
        others = [addresses[number - distance] for distance in range(1, BOOTNODES + 1)]
        flags = place.root / f"n{number}.json"
        flags.write_text(json.dumps({**place.flags(config), "p2p.bootnodes": others}))
        members.append(Member(f"n{number}", config, flags, keys[number].address))
    return members


def _client_key(member: Member) -> Key:
    home = Home(member.config.node.data_dir)
    return load_key(home.client_key, read_password(home.password, {}, None, ""))


def _write_model(store: Path) -> None:
    folder = store / "models" / MODEL.cid.hex()
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(MODEL.encode())
    (folder / "tokenizer.json").write_bytes(TOKENIZER_JSON)


def _free_ports(count: int) -> list[int]:
    """Below those that the system gives to connections, so that a node that was killed finds its own again."""
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
