"""Nodes made of a peer adapter and a recording inbox, over any transport."""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import trio
import trio.testing
from coincurve import PrivateKey

from p2p.adapter import AdmissionRules, PeerAdapter, PeerSettings
from p2p.transport import Transport
from protocol.events import Event
from protocol.network.gossip import Admission
from protocol.stages.blob import ModelManifest
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import Request, SignedRequest
from protocol.wire.ids import Address, Cid, PeerId, cid_of
from tests.support.manifests import model_of

SETTLEMENT = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
CLIENT = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")

E = TypeVar("E")


def secret(index: int) -> bytes:
    """The operator key of the n-th node of a test."""
    return hashlib.sha256(b"vcoin test node %d" % index).digest()


def heartbeat(counter: int, addresses: tuple[str, ...] = ()) -> Heartbeat:
    """A beat as a node without GPUs sends it."""
    return Heartbeat(
        node_id=CLIENT,
        counter=counter,
        time_ms=counter,
        class_ids=(1,),
        gpus=(),
        reputation=0,
        stake=0,
        models=(),
        queue=0,
        slots=1,
        price=0,
        draining=False,
        paused=False,
        addresses=addresses,
        hpke_key_hash=bytes(32),
        agent="test",
        protocol_lowest=1,
        protocol_highest=1,
    )


def request(nonce: int) -> SignedRequest:
    """A request whose signature is none."""
    return SignedRequest(
        Request(
            client=CLIENT,
            signer=CLIENT,
            manifest=bytes(32),
            kind=0,
            max_new_tokens=1,
            input_bytes=1,
            max_price=1,
            max_memory=1,
            classes=1,
            timeout_ms=1_000,
            deadline=1,
            min_reputation=0,
            requester_peer="/ip4/127.0.0.1/tcp/1",
            nonce=nonce,
        ),
        signature=bytes(65),
    )


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that no event announces; the caller sets the deadline."""
    while not condition():
        await trio.testing.wait_all_tasks_blocked(0.005)


@dataclass
class Recorder:
    """An inbox that keeps what it gets and lets a test wait for it."""

    events: list[Event] = field(default_factory=list)
    open: trio.Event = field(default_factory=trio.Event)
    """While it is not set, nothing is taken."""
    listener: Callable[[Event], None] | None = None
    _changed: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def report(self, event: Event) -> None:
        await self.deliver(event)

    async def deliver(self, event: Event) -> None:
        await self.open.wait()
        self.events.append(event)
        if self.listener:
            self.listener(event)
        self._changed.set()
        self._changed = trio.Event()

    async def next(self, kind: type[E], fits: Callable[[E], bool] = lambda event: True) -> E:
        """The first event of a kind, now or when it comes."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and fits(event):
                    return event
            await self._changed.wait()


@dataclass
class Node:
    """A running adapter."""

    adapter: PeerAdapter
    transport: Transport
    inbox: Recorder
    store: Path
    key: PrivateKey

    @property
    def address(self) -> str:
        return self.transport.addresses[0]

    def put_blob(self, content: bytes) -> Cid:
        """Place content into the node's store."""
        cid = cid_of(content)
        (self.store / "blobs").mkdir(parents=True, exist_ok=True)
        (self.store / "blobs" / cid.hex()).write_bytes(content)
        return cid

    def put_model(self, files: dict[str, bytes]) -> ModelManifest:
        """Place a model of these files into the node's store."""
        manifest = model_of(files)
        folder = self.store / "models" / manifest.cid.hex()
        for path, data in {**files, "manifest.json": manifest.encode()}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return manifest


@dataclass(frozen=True)
class View:
    """A view of the chain in which every author is judged alike, and peers have the stakes that a test gives them."""

    admission: Admission = Admission.ADMIT
    stakes: Mapping[PeerId, int] = field(default_factory=dict)

    def admit(self, author: PeerId, content: object, now_ms: int) -> Admission:
        return self.admission

    def charge(self, content: object, now_ms: int) -> None: ...

    def stake_of(self, peer_id: PeerId) -> int:
        return self.stakes.get(peer_id, 0)


VIEW = View()


@asynccontextmanager
async def run_node(
    transport: Transport,
    index: int,
    folder: Path,
    *,
    bootnodes: tuple[str, ...] = (),
    view: AdmissionRules = VIEW,
    clock_ms: Callable[[], int] | None = None,
    cache: Path | None = None,
    tick_ms: int = 100,
    private: bool = True,
) -> AsyncIterator[Node]:
    """An adapter over `transport`, running as long as the block lasts."""
    key = PrivateKey(secret(index))
    store = folder / f"node{index}"
    store.mkdir(parents=True, exist_ok=True)
    settings = PeerSettings(
        chain_id=31337,
        settlement=SETTLEMENT,
        heartbeat_ms=4_000,
        bootnodes=bootnodes,
        cache=cache,
        tick_ms=tick_ms,
        seed=bytes([index]),
        private=private,
    )
    inbox = Recorder()
    clock = {"clock_ms": clock_ms} if clock_ms else {}
    adapter = PeerAdapter(transport, settings, store, sign=key.sign, gate=view, inbox=inbox, **clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(adapter.run)
        yield Node(adapter, transport, inbox, store, key)
        nursery.cancel_scope.cancel()
