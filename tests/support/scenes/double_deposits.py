"""A client that shows one deposit to many nodes, and nodes that begin before its lane is on chain."""

import dataclasses
import hashlib

from protocol import events as ev
from protocol.params import VCN
from protocol.stages.assignment import LaneOpen, SignedRefuse
from protocol.stages.commitment import Receipt, ResultDelivery, SignedReceipt
from protocol.stages.lane_notice import LaneCounted, SignedLaneOpen
from protocol.stages.offer import SignedOffer
from protocol.stages.request import SignedRequest
from protocol.wire.envelope import digest, sign_digest
from protocol.wire.ids import Address, PeerId, TimestampMs, checksum
from tests.fakes.audits import Audits
from tests.simulation.node import Node
from tests.simulation.scene import CLASS, DOMAIN, MANIFEST
from tests.simulation.world import World
from tests.support.scenes.offers import request
from tests.support.scenes.provided_jobs import order_for
from tests.support.scenes.simulated_jobs import choose

DEPOSIT = 20 * VCN
VALID_S = 260
"""How long its orders for lanes are valid: little more than the shortest that a node holds."""


def add_providers(world: World, count: int, **settings: object) -> list[Node]:
    """Providers with the same choices of their owners."""
    nodes = [world.add(f"provider-{number}", {"provider"}, 20_000) for number in range(count)]
    for node in nodes:
        choose(node, **settings)
    return nodes


class Spender:
    """A client without a program of ours: it orders of every node at once, and signs receipts for what it gets."""

    def __init__(self, world: World, name: str = "client") -> None:
        self.world = world
        self.node = world.add(name, {"requester"})
        world.chain.deposit(self.node.address, DEPOSIT)
        self.node.take = self._hear  # type: ignore[method-assign]
        self.own = checksum("0x" + hashlib.sha256(name.encode()).hexdigest()[:40])
        self.counted: set[PeerId] = set()
        self.refused: list[int] = []
        self.answers: set[Address] = set()
        self.waits_for_word = True
        """Whether it orders only of nodes that count its lane."""
        self._offers: dict[PeerId, SignedOffer] = {}
        self._lanes: dict[PeerId, SignedLaneOpen] = {}
        self._signed: dict[PeerId, tuple[int, int]] = {}
        self._request: SignedRequest

    def ask(self, nonce: int = 1) -> None:
        """Ask all nodes for a job."""
        self.counted.clear()
        world = self.world
        plain = dataclasses.replace(
            request(world).request,
            client=self.node.address,
            signer=self.node.address,
            manifest=MANIFEST.cid,
            classes=1 << CLASS,
            deadline=world.now_ms // 1_000 + 600,
            requester_peer=self.node.identity.addresses[0],
            nonce=nonce,
        )
        self._request = SignedRequest(plain, self._sign(plain), wide=True)
        world._gossip(self.node, ev.RequestReceived(self._request))

    def lane_to(self, node: Node) -> SignedLaneOpen:
        """The order that locks the whole deposit for one node; signed once for each."""
        if node.peer_id not in self._lanes:
            me, deadline = self.node.address, self.world.now_ms // 1_000 + VALID_S
            order = LaneOpen(me, me, node.address, DEPOSIT, 0, deadline)
            self._lanes[node.peer_id] = SignedLaneOpen(order, self._sign(order), VCN)
        return self._lanes[node.peer_id]

    def _hear(self, event: ev.Event, answers: bytes | None = None) -> None:
        if not isinstance(event, ev.MessageReceived):
            return
        node = self.world.nodes[event.peer_id]
        match event.message:
            case SignedOffer() as offer:
                self._offers[event.peer_id] = offer
                self._say(node, self.lane_to(node))
                if not self.waits_for_word:
                    self.order(node)
            case LaneCounted():
                self.counted.add(event.peer_id)
                if self.waits_for_word:
                    self.order(node)
            case SignedRefuse(refuse):
                self.refused.append(refuse.code)
            case ResultDelivery(result):
                self.answers.add(node.address)
                receipt = Receipt(result.job_id, result.result_hash, self._offers[event.peer_id].offer.price, 5_000)
                self._say(node, SignedReceipt(receipt, self._sign(receipt)))

    def withdraw(self) -> None:
        """Lock the whole deposit for a node of its own, from the next block on: no other lane can open any more."""
        me = self.node.address

        def change(contracts: Audits) -> None:
            lane = contracts.lane(me, me, self.own)
            contracts.set_lane(dataclasses.replace(lane, left=lane.left + contracts.free[me]))
            contracts.add_free(me, -contracts.free[me])

        self.world.chain.change(change)

    def order(self, node: Node) -> None:
        """Order the job of the present request of a node."""
        index, before = self._signed.get(node.peer_id, (0, 0))
        offer = self._offers[node.peer_id]
        order = order_for(self._request, offer, self.node.secret, index + 1, before, self.world.now_ms)
        self._signed[node.peer_id] = index + 1, order.assignment.cumulative
        self._say(node, order)

    def _say(self, node: Node, message: object) -> None:
        self.world.soon(lambda: node.take(ev.MessageReceived(self.node.peer_id, message)))  # type: ignore[arg-type]

    def _sign(self, message: object) -> bytes:
        return sign_digest(digest(message, DOMAIN), self.node.secret)


def risked_wei(node: Node, now_ms: int) -> int:
    """What rests on unconfirmed lanes by a node's own books."""
    return node.machine.provider._desk.unconfirmed.risked_wei(TimestampMs(now_ms))
