"""Gossip admission: this node's view of the chain decides whose frames it passes on, not what an author claims."""

from protocol.network.budgets import Budgets
from protocol.network.gossip import REQUESTS, Admission
from protocol.roles.machine import Machine
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import Request, SignedRequest
from protocol.wire.envelope import require_signer
from protocol.wire.ids import Address, PeerId

MAX_CLIENTS = 65_536
"""Clients whose budgets are kept. An attacker would have to lock as many deposits to push one out."""


class GossipAdmission:
    """Lets in the beats of registered operators, and the requests of clients who can pay.

    A request is bound to one author: its signer names the requester's peer in it, and only that peer may gossip it.
    Therefore an observed request cannot be gossiped again under other keys. Deposits bound the relayed requests of a
    client, because deposits cost money and authors' keys cost nothing.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._spent = Budgets[Address](REQUESTS, MAX_CLIENTS)

    def admit(self, author: PeerId, content: Heartbeat | SignedRequest, now_ms: int) -> Admission:
        """Whether the holder of this key may say this now. No signature is checked yet."""
        if isinstance(content, Heartbeat):
            return self._admit_beat(author, content)
        return self._admit_request(author, content.request, now_ms)

    def charge(self, content: Heartbeat | SignedRequest, now_ms: int) -> None:
        """Take an admitted request from its client's budget.

        Raises: BadSignature if its signer has not signed it.
        """
        if isinstance(content, SignedRequest):
            request = content.request
            require_signer(request, content.signature, self._machine.member.identity.domain, request.signer)
            self._spent.take(request.client, now_ms, self._cost(request))

    def stake_of(self, peer_id: PeerId) -> int:
        """The stake of the node that this peer operates, in wei; 0 if it is not registered or not active."""
        record = self._machine.member.node_of_peer(peer_id)
        return record.stake if record is not None and record.active else 0

    def _admit_beat(self, author: PeerId, beat: Heartbeat) -> Admission:
        record = self._machine.member.node_of_peer(author)
        if record is None:
            return Admission.UNKNOWN
        return Admission.ADMIT if record.node_id == beat.node_id else Admission.REFUSE

    def _admit_request(self, author: PeerId, request: Request, now_ms: int) -> Admission:
        if not request.requester_peer.endswith(f"/p2p/{author}"):
            return Admission.REFUSE
        member = self._machine.member
        if not member.money.is_client(request.client) or not member.money.may_spend(request.client, request.signer):
            return Admission.UNKNOWN
        return Admission.ADMIT if self._spent.has(request.client, now_ms, self._cost(request)) else Admission.EXCESS

    def _cost(self, request: Request) -> float:
        """The part of a budget that one request takes: a client with ten smallest deposits has ten budgets."""
        return 1 / max(self._machine.member.money.deposits_of(request.client), 1)
