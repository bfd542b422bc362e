"""The audit responder: shows the auditors of a case the leaves that a seat of this node saw, and its checks of them.

The seat shows them, not the node whose batch it is: a node that hid them from auditors would save its seats.
"""

from dataclasses import dataclass, field, replace

from protocol.effects import Effect, Send
from protocol.events import AuditConvened, Event, KeySealed, MessageReceived
from protocol.messages import Message
from protocol.roles.key_sealing import seal_for
from protocol.roles.member import Member
from protocol.roles.verifier.verifier import Verifier
from protocol.stages.verification import MAX_SHOWN_CHECK_BYTES, AuditQuery, CheckOpening, FingerprintOpening
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import BatchId, Cid, PeerId, TimestampMs
from protocol.wire.x25519 import can_be_sealed_to

QUERIES_KEPT = 256


@dataclass(frozen=True, slots=True)
class PendingOpening:
    """A leaf that waits for its content key to be sealed to an auditor."""

    peer_id: PeerId
    batch_id: BatchId
    leaf_index: int


@dataclass(slots=True)
class AuditResponder:
    """Answers auditors for the seats of this node."""

    member: Member
    verifier: Verifier
    _sealing: dict[tuple[Cid, bytes], list[PendingOpening]] = field(default_factory=dict)
    _early: dict[tuple[PeerId, bytes], AuditQuery] = field(default_factory=dict)

    def expects(self, peer_id: PeerId, message: Message) -> bool:
        """Whether a message is a registered node's question about a seat that this node had."""
        if not isinstance(message, AuditQuery) or self.member.node_of_peer(peer_id) is None:
            return False
        if not can_be_sealed_to(message.hpke_key):
            return False
        sitting = self.verifier.sitting(message.batch_id)
        return sitting is not None and bool(sitting.own.shown)

    def handle(self, event: Event, _now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Return the answers that an event calls for."""
        match event:
            case AuditConvened(batch_id=batch_id):
                early = [key for key in self._early if key[1] == batch_id]
                return tuple(effect for key in early for effect in self._answer(key[0], self._early.pop(key)))
            case MessageReceived(peer_id, AuditQuery() as query):
                return self._answer(peer_id, query)
            case KeySealed(input_cid, hpke_key, sealed_key):
                openings = self._sealing.pop((Cid(input_cid), hpke_key), [])
                return tuple(effect for opening in openings for effect in self._show(opening, sealed_key))
            case _:
                return ()

    def _answer(self, peer_id: PeerId, query: AuditQuery) -> tuple[Effect, ...]:
        sitting = self.verifier.sitting(query.batch_id)
        if sitting is None:
            return ()
        if sitting.batch.audit is None:
            # The auditor may have seen the block before this node did.
            keep_newest(self._early, (peer_id, query.batch_id), query, QUERIES_KEPT)
            return ()
        if not any(self.member.operates(peer_id, auditor) for auditor in sitting.batch.audit.auditors):
            return ()
        effects: list[Effect] = []
        for index, leaf in sitting.own.shown.items():
            opening = PendingOpening(peer_id, sitting.batch_id, index)
            if leaf.job is None or not leaf.check:
                effects += self._show(opening, b"")
                continue
            effects += seal_for(self._sealing, opening, leaf.job.details.input_cid, query.hpke_key)
        return tuple(effects)

    def _show(self, opening: PendingOpening, sealed_key: bytes) -> tuple[Effect, ...]:
        sitting = self.verifier.sitting(opening.batch_id)
        leaf = sitting.own.shown.get(opening.leaf_index) if sitting else None
        if leaf is None or leaf.opening is None or leaf.check is None:
            return ()
        batch_id, index = opening.batch_id, opening.leaf_index
        shown: list[Message] = [
            replace(leaf.opening, sealed_key=sealed_key),
            FingerprintOpening(batch_id, index, leaf.fingerprint),
        ]
        if len(leaf.check) <= MAX_SHOWN_CHECK_BYTES:
            shown.append(CheckOpening(batch_id, index, leaf.check))
        return tuple(Send(opening.peer_id, message) for message in shown)
