"""Who may gossip: this node's own view of the chain decides, never what the author says of itself."""

from protocol.errors import BadSignature
from protocol.network.gossip import Admission
from protocol.roles.member import Member
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import SignedRequest
from protocol.wire.envelope import require_signer
from protocol.wire.ids import Address


class Gate:
    """Lets in the beats of registered operators and the requests of clients who can pay."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def admit(self, operator: Address, content: Heartbeat | SignedRequest) -> Admission:
        """Whether the holder of this operator key may say this now."""
        if isinstance(content, Heartbeat):
            return self._admit_beat(operator, content)
        return self._admit_request(content)

    def stake_of(self, operator: Address) -> int:
        """What the node of this operator has at stake, in wei; 0 if it is not registered."""
        record = self._member.node_of_operator(operator)
        return record.stake if record is not None and record.active else 0

    def _admit_beat(self, operator: Address, beat: Heartbeat) -> Admission:
        record = self._member.node_of_operator(operator)
        if record is None:
            return Admission.UNKNOWN
        return Admission.ADMIT if record.node_id == beat.node_id else Admission.REFUSE

    def _admit_request(self, signed: SignedRequest) -> Admission:
        if not self._member.is_client(signed.request.client):
            return Admission.UNKNOWN
        try:
            require_signer(signed.request, signed.signature, self._member.identity.domain, signed.request.signer)
        except BadSignature:
            return Admission.REFUSE
        return Admission.ADMIT
