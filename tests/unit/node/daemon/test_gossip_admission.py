"""Whose frames are passed on, by this node's own view of the chain."""

from dataclasses import replace

import pytest
from coincurve import PrivateKey

from chain.tx.wallet import Key
from node.daemon.gossip_admission import GossipAdmission
from protocol.errors import BadSignature
from protocol.events import AccountSeen, LaneSeen
from protocol.network.gossip import REQUESTS, Admission
from protocol.params import VCN
from protocol.roles.machine import Machine
from protocol.roles.member import Member
from protocol.stages.assignment import Account, Lane
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import Request, SignedRequest
from protocol.wire.ids import PeerId, TimestampMs, Wei, peer_id_of
from tests.simulation.scene import DOMAIN
from tests.unit.node.daemon.worlds import ended_job

NOW = TimestampMs(1_700_000_000_000)
CLIENT = Key(b"\7" * 32)
STRANGER = Key(b"\x08" * 32)


def peer_of(key: Key) -> PeerId:
    return peer_id_of(PrivateKey(key.secret).public_key.format())


PEER = peer_of(Key(b"\x09" * 32))
"""The client's node: its operator key stands on no chain."""


@pytest.fixture
def machine() -> Machine:
    return ended_job().node("verifier-0").machine


@pytest.fixture
def member(machine: Machine) -> Member:
    return machine.member


def beat_of(member: Member, name: int = 0) -> tuple[PeerId, Heartbeat]:
    peer = sorted(member.peers.values(), key=lambda peer: peer.peer_id)[name]
    return peer.peer_id, peer.heartbeat


def signed(client: Key = CLIENT, signer: Key = CLIENT, by: Key | None = None, nonce: int = 1) -> SignedRequest:
    request = Request(
        client=client.address,
        signer=signer.address,
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
        requester_peer=f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}",
        nonce=nonce,
    )
    return SignedRequest(request, (by or signer).sign(request, DOMAIN))


def deposit(member: Member, amount: int, client: Key = CLIENT) -> None:
    member.handle(AccountSeen(Account(client.address, Wei(amount * VCN))), NOW)


def lock(member: Member, left: int, signer: Key = CLIENT) -> None:
    member.handle(LaneSeen(Lane(CLIENT.address, signer.address, STRANGER.address, left * VCN, 0, 0)), NOW)


def passed_on(gate: GossipAdmission, count: int, now_ms: int = NOW, key: Key = CLIENT) -> int:
    """How many of so many new requests of one client are let in at one moment."""
    admitted = 0
    for nonce in range(count):
        request = signed(key, key, nonce=nonce)
        if gate.admit(PEER, request, now_ms) is Admission.ADMIT:
            gate.charge(request, now_ms)
            admitted += 1
    return admitted


def test_registered_operator_may_beat_for_its_own_node(machine: Machine, member: Member) -> None:
    author, beat = beat_of(member)
    gate = GossipAdmission(machine)
    assert gate.admit(author, beat, NOW) is Admission.ADMIT
    other = replace(beat, node_id=beat_of(member, 1)[1].node_id)
    assert gate.admit(author, other, NOW) is Admission.REFUSE
    # Its registration may be in a block that has not come yet.
    assert gate.admit(PEER, replace(beat, node_id=STRANGER.address), NOW) is Admission.UNKNOWN


def test_client_needs_the_least_deposit_free_or_in_lanes(machine: Machine, member: Member) -> None:
    gate = GossipAdmission(machine)
    assert gate.admit(PEER, signed(), NOW) is Admission.UNKNOWN
    deposit(member, 6)
    assert gate.admit(PEER, signed(), NOW) is Admission.UNKNOWN
    lock(member, 4)
    assert gate.admit(PEER, signed(), NOW) is Admission.ADMIT
    lock(member, 3)
    assert gate.admit(PEER, signed(), NOW) is Admission.UNKNOWN


def test_request_that_its_signer_has_not_signed_is_a_fault(machine: Machine, member: Member) -> None:
    deposit(member, 100)
    with pytest.raises(BadSignature):
        GossipAdmission(machine).charge(signed(by=STRANGER), NOW)


def test_request_is_gossiped_by_the_peer_that_its_signer_names_and_by_no_other(
    machine: Machine, member: Member
) -> None:
    deposit(member, 100)
    gate = GossipAdmission(machine)
    assert gate.admit(PEER, signed(), NOW) is Admission.ADMIT
    registered, _ = beat_of(member)
    for other in (peer_of(STRANGER), peer_of(CLIENT), registered):
        assert gate.admit(other, signed(), NOW) is Admission.REFUSE
        # No third party calls for another round of it.
        assert gate.admit(other, replace(signed(), wide=True), NOW) is Admission.REFUSE


def test_signer_that_may_not_spend_for_the_client_is_not_passed_on(machine: Machine, member: Member) -> None:
    deposit(member, 100)
    gate, invented = GossipAdmission(machine), signed(signer=STRANGER)
    assert gate.admit(PEER, invented, NOW) is Admission.UNKNOWN
    lock(member, 1, signer=STRANGER)
    assert gate.admit(PEER, invented, NOW) is Admission.ADMIT
    # The client has taken its money back from that key.
    lock(member, 0, signer=STRANGER)
    assert gate.admit(PEER, invented, NOW) is Admission.UNKNOWN


def test_what_is_passed_on_of_a_client_grows_with_its_deposit(machine: Machine, member: Member) -> None:
    gate, burst = GossipAdmission(machine), int(REQUESTS.burst)
    deposit(member, 10)
    assert passed_on(gate, burst + 5) == burst
    assert gate.admit(PEER, signed(), NOW) is Admission.EXCESS
    assert passed_on(gate, burst, NOW + REQUESTS.period_ms) == REQUESTS.amount
    deposit(member, 39, STRANGER)
    assert passed_on(gate, 4 * burst, key=STRANGER) == 3 * burst


def test_forged_requests_do_not_use_up_the_budget_of_the_client_they_name(machine: Machine, member: Member) -> None:
    gate, burst = GossipAdmission(machine), int(REQUESTS.burst)
    deposit(member, 10)
    for nonce in range(3 * burst):
        forged = signed(by=STRANGER, nonce=nonce)
        assert gate.admit(PEER, forged, NOW) is Admission.ADMIT
        with pytest.raises(BadSignature):
            gate.charge(forged, NOW)
    assert passed_on(gate, burst) == burst


def test_only_an_active_registered_operator_weighs_in_the_lot(machine: Machine, member: Member) -> None:
    gate = GossipAdmission(machine)
    author, _ = beat_of(member)
    record = member.node_of_peer(author)
    assert record is not None
    assert gate.stake_of(author) == record.stake
    member.nodes[record.node_id] = replace(record, active=False)
    assert gate.stake_of(author) == 0
    assert gate.stake_of(peer_of(STRANGER)) == 0


def test_gate_asks_the_machine_that_was_folded_anew(machine: Machine, member: Member) -> None:
    gate = GossipAdmission(machine)
    author, beat = beat_of(member)
    machine.become(machine.fresh(), keep_heard=False)
    assert gate.admit(author, beat, NOW) is Admission.UNKNOWN
