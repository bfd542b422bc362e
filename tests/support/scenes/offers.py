"""A provider that hears a request, and what it offers."""

import dataclasses

from protocol.effects import SignMessage
from protocol.events import (
    AccountSeen,
    CalibrationSeen,
    DeviceReported,
    HpkeKeyRotated,
    ModelAdded,
    NodeSeen,
    RequestReceived,
)
from protocol.params import VCN
from protocol.roles.machine import Machine
from protocol.stages.assignment import Account
from protocol.stages.heartbeat import DeviceStatus
from protocol.stages.request import Request, SignedRequest
from protocol.wire.envelope import digest, sign_digest
from protocol.wire.ids import TimestampMs, Wei
from tests.simulation.scene import CLASS, DOMAIN, MANIFEST, NOISE, START_MS
from tests.simulation.world import World

NOW = TimestampMs(START_MS)


def provider() -> tuple[World, Machine]:
    world = World()
    client = world.add("client", {"requester"})
    node = world.add("provider", {"provider"}, 5_000)
    machine = node.machine
    record = world.record(node)
    for event in (
        NodeSeen(record),
        AccountSeen(Account(client.address, Wei(100 * VCN))),
        HpkeKeyRotated(b"k" * 32),
        ModelAdded(MANIFEST),
        CalibrationSeen(MANIFEST.cid, CLASS, NOISE),
        DeviceReported(DeviceStatus((CLASS,), (), 2**33, 1, (50,))),
    ):
        machine.handle(event, NOW)
    return world, machine


def request(world: World, **changes) -> SignedRequest:
    client = next(node for node in world.nodes.values() if node.name == "client")
    plain = Request(
        client=client.address,
        signer=client.address,
        manifest=MANIFEST.cid,
        kind=0,
        max_new_tokens=64,
        input_bytes=100,
        max_price=VCN,
        max_memory=2**32,
        classes=1 << CLASS,
        timeout_ms=120_000,
        deadline=START_MS // 1_000 + 600,
        min_reputation=0,
        requester_peer=client.machine.identity.addresses[0],
        nonce=1,
    )
    made = dataclasses.replace(plain, **changes)
    return SignedRequest(made, sign_digest(digest(made, DOMAIN), client.secret))


def offers(machine: Machine, signed: SignedRequest, now: int = NOW) -> list[SignMessage]:
    return [
        effect
        for effect in machine.handle(RequestReceived(signed), TimestampMs(now))
        if isinstance(effect, SignMessage)
    ]
