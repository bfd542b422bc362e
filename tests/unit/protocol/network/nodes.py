"""Gossip machines wired to each other in virtual time, without any network."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from coincurve import PrivateKey

from protocol.errors import RemoteProtocolError
from protocol.network.frames import Content, Topic
from protocol.network.gossip import Admission, Gossip, Received
from protocol.wire.ids import PeerId, peer_id_of

CHAIN_ID = 31337
SETTLEMENT = bytes(range(20))
START_MS = 1_700_000_000_000


def key(index: int) -> PrivateKey:
    return PrivateKey(hashlib.sha256(b"gossip node %d" % index).digest())


@dataclass
class Node:
    """A machine, its key, and what it delivered and found fault with."""

    index: int
    admit: Callable[[Content], Admission] = lambda content: Admission.ADMIT
    tick_ms: int = 1_000
    heard: list[Content] = field(default_factory=list)
    faults: list[tuple[PeerId, RemoteProtocolError]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = key(self.index)
        self.author = self.key.public_key.format()
        self.peer_id = peer_id_of(self.author)
        self.gossip = Gossip(
            chain_id=CHAIN_ID,
            settlement=SETTLEMENT,
            author=self.author,
            admit=lambda content, now_ms: self.admit(content),
            charge=lambda content, now_ms: None,
            heartbeat_ms=30_000,
            tick_ms=self.tick_ms,
            seed=bytes([self.index % 256]),
        )

    def publish(self, body: bytes, now_ms: int, topic: Topic = Topic.REQUEST) -> Content:
        return self.gossip.publish(topic, body, now_ms, self.key.sign)

    def receive(self, source: PeerId, data: bytes, now_ms: int) -> Received:
        received = self.gossip.receive(source, data, now_ms)
        self.heard += received.delivered
        self.faults += [(source, fault) for fault in received.faults]
        return received

    @property
    def bodies(self) -> list[bytes]:
        return [content.body for content in self.heard]


def link(one: Node, two: Node, now_ms: int) -> None:
    """Make two nodes neighbours of each other."""
    one.gossip.join(two.peer_id, now_ms)
    two.gossip.join(one.peer_id, now_ms)


def run(
    nodes: list[Node],
    from_ms: int,
    until_ms: int,
    *,
    step_ms: int = 10,
    passes: Callable[[Node, Node, bytes], bool] = lambda source, target, data: True,
) -> int:
    """Let time pass; batches arrive in the step after they were sent, unless `passes` loses them.

    Returns: how many batches were sent.
    """
    by_peer = {node.peer_id: node for node in nodes}
    sent = 0
    for now_ms in range(from_ms, until_ms, step_ms):
        arriving: list[tuple[Node, Node, bytes]] = []
        for node in nodes:
            for peer_id in sorted(node.gossip.neighbours):
                if node.gossip.due_ms(peer_id) <= now_ms:
                    arriving += [(node, by_peer[peer_id], data) for data in node.gossip.take(peer_id, now_ms)]
        sent += len(arriving)
        for source, target, data in arriving:
            if passes(source, target, data) and source.peer_id in target.gossip.neighbours:
                target.receive(source.peer_id, data, now_ms)
        if now_ms % 1_000 < step_ms:
            for node in nodes:
                node.heard += node.gossip.tick(now_ms).delivered
    return sent
