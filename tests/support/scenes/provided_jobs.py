"""A provider and a client with an order between them."""

import dataclasses

from protocol.effects import SignMessage
from protocol.events import (
    InputOpened,
    LaneSeen,
    MessageReceived,
    MessageSigned,
)
from protocol.params import VCN
from protocol.roles.machine import Machine
from protocol.stages.assignment import (
    CHECK_ORDERED,
    Accept,
    Assignment,
    AssignmentOrder,
    JobDetails,
    Lane,
    Refuse,
    RefuseCode,
    bonus_cap,
    job_id,
    order_total,
    verify_fee,
)
from protocol.stages.offer import SignedOffer
from protocol.stages.request import SignedRequest
from protocol.wire.envelope import digest, sign_digest, struct_hash
from protocol.wire.ids import TimestampMs, cid_of
from tests.simulation.scene import DOMAIN
from tests.support.scenes.offers import NOW, offers, provider, request

CLIENT_MONEY = 20 * VCN


class Deal:
    """A request, its offer and an order for it, and the lane behind it."""

    def __init__(self, **asked) -> None:
        self.world, self.machine = provider()
        self.client = next(node for node in self.world.nodes.values() if node.name == "client")
        self.node = next(node for node in self.world.nodes.values() if node.name == "provider")
        self.request = request(self.world, **asked)
        (asked,) = offers(self.machine, self.request)
        self.offer = SignedOffer(asked.message, sign_digest(digest(asked.message, DOMAIN), self.node.secret))

    def lane(self, left: int = CLIENT_MONEY) -> None:
        lane = Lane(self.client.address, self.client.address, self.node.address, left, 0, 0)
        self.machine.handle(LaneSeen(lane), NOW)

    def order(self, index: int = 1, before: int = 0, secret: bytes = b"", **changes) -> AssignmentOrder:
        return order_for(self.request, self.offer, secret or self.client.secret, index, before, NOW, **changes)

    def send(self, order: AssignmentOrder, now: int = NOW):
        return self.machine.handle(MessageReceived(self.client.peer_id, order), TimestampMs(now))


def order_for(
    request: SignedRequest, signed: SignedOffer, secret: bytes, index: int, before: int, now: int, **changes
) -> AssignmentOrder:
    """The order of a client for an offer, signed with a key: number `index` of its lane, above `before` wei."""
    offer, asked = signed.offer, request.request
    checked = bool(changes.get("flags", 0) & CHECK_ORDERED)
    total = order_total(offer.price, with_bonus=True, checked=checked)
    details = JobDetails(
        request_id=digest(asked, DOMAIN),
        offer_hash=digest(offer, DOMAIN),
        price=offer.price,
        bonus_cap=bonus_cap(offer.price),
        verify_fee=verify_fee(offer.price, checked=checked),
        manifest=asked.manifest,
        input_cid=cid_of(b"input"),
        content_key_hash=cid_of(b"key"),
        temperature=0,
        seed_nonce=bytes(32),
        max_new_tokens=64,
        classes=asked.classes,
        expected_ms=offer.eta_ms,
        deadline=now // 1_000 + 300,
        attempt=0,
        max_total=total,
        flags=0,
    )
    details = dataclasses.replace(details, **changes)
    assignment = Assignment(asked.client, asked.signer, offer.node_id, index, before + total, struct_hash(details))
    signature = sign_digest(digest(assignment, DOMAIN), secret)
    return AssignmentOrder(request, signed, assignment, details, signature, b"sealed", b"input")


def refusal(effects) -> RefuseCode | None:
    return next(
        (RefuseCode(e.message.code) for e in effects if isinstance(e, SignMessage) and isinstance(e.message, Refuse)),
        None,
    )


def accept(machine: Machine, order: AssignmentOrder):
    job = job_id(order.assignment, DOMAIN)
    (asked,) = machine.handle(InputOpened(job), NOW)
    assert isinstance(asked.message, Accept)
    return machine.handle(MessageSigned(asked.message, b"s" * 65), NOW)
