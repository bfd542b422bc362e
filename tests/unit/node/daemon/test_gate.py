"""Who may gossip, by this node's own view of the chain."""

from dataclasses import replace

import pytest

from chain.tx.wallet import Key
from node.daemon.gate import Gate
from protocol.network.gossip import Admission
from protocol.params import VCN
from protocol.roles.member import Member
from protocol.stages.assignment import Lane
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import Request, SignedRequest
from protocol.wire.ids import Wei
from tests.simulation.scene import DOMAIN
from tests.unit.node.daemon.worlds import ended_job

CLIENT = Key(b"\7" * 32)
STRANGER = Key(b"\x08" * 32)


@pytest.fixture
def member() -> Member:
    return ended_job().node("verifier-0").machine.member


def beat_of(member: Member, name: int = 0) -> Heartbeat:
    return sorted(member.peers.values(), key=lambda peer: peer.peer_id)[name].heartbeat


def signed(key: Key = CLIENT, by: Key = CLIENT) -> SignedRequest:
    request = Request(
        client=key.address,
        signer=key.address,
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
        nonce=1,
    )
    return SignedRequest(request, by.sign(request, DOMAIN))


def test_registered_operator_may_beat_for_its_own_node(member: Member) -> None:
    beat = beat_of(member)
    gate = Gate(member)
    assert gate.admit(beat.node_id, beat) is Admission.ADMIT
    other = replace(beat, node_id=beat_of(member, 1).node_id)
    assert gate.admit(beat.node_id, other) is Admission.REFUSE
    # Its registration may be in a block that has not come yet.
    assert gate.admit(STRANGER.address, replace(beat, node_id=STRANGER.address)) is Admission.UNKNOWN


def test_client_needs_the_least_deposit_free_or_in_lanes(member: Member) -> None:
    gate = Gate(member)
    assert gate.admit(STRANGER.address, signed()) is Admission.UNKNOWN
    member.accounts[CLIENT.address] = Wei(6 * VCN)
    assert gate.admit(STRANGER.address, signed()) is Admission.UNKNOWN
    lane = Lane(CLIENT.address, CLIENT.address, STRANGER.address, 4 * VCN, 0, 0)
    member.lanes[lane.client, lane.signer, lane.node] = lane
    assert gate.admit(STRANGER.address, signed()) is Admission.ADMIT


def test_request_that_its_signer_has_not_signed_is_refused(member: Member) -> None:
    member.accounts[CLIENT.address] = Wei(100 * VCN)
    assert Gate(member).admit(STRANGER.address, signed(by=STRANGER)) is Admission.REFUSE


def test_only_an_active_registered_operator_weighs_in_the_lot(member: Member) -> None:
    gate = Gate(member)
    record = next(iter(member.nodes.values()))
    assert gate.stake_of(record.operator) == record.stake
    member.nodes[record.node_id] = replace(record, active=False)
    assert gate.stake_of(record.operator) == 0
    assert gate.stake_of(STRANGER.address) == 0
