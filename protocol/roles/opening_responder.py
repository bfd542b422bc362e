"""The opening responder: shows drawn seats what they have to check, in the order that keeps them honest.

A seat gets papers, input and result first; the fingerprint only once its own commitment is final on chain, so that
no seat can echo it.
"""

from dataclasses import dataclass, field, replace

from protocol.court.docket import Docket, DocketSeat
from protocol.court.phases import CasePhase
from protocol.effects import Effect, Send
from protocol.errors import OutOfTurn
from protocol.events import CaseConvened, DataDemanded, Event, KeySealed, MessageReceived, SeatAdded, SeatCommitted
from protocol.messages import Message
from protocol.params import MAX_ANSWER_BYTES, MAX_INLINE_BYTES
from protocol.roles.key_sealing import seal_for
from protocol.roles.member import Member
from protocol.roles.provider.provided import ProvidedJob
from protocol.roles.provider.provider import Provider
from protocol.roles.settler.batches import OwnBatch
from protocol.roles.settler.settler import Settler
from protocol.stages.verification import FingerprintOpening, FingerprintQuery, SampleOpening, SampleQuery
from protocol.wire.bounded import keep_newest
from protocol.wire.codec import encode_named
from protocol.wire.ids import BatchId, Cid, JobId, PeerId, TimestampMs
from protocol.wire.merkle import path
from protocol.wire.x25519 import can_be_sealed_to

PENDING_KEPT = 256
NO_SUCH_LEAF = b"no such leaf"
TOO_LARGE = b"larger than an answer on chain: ask us"


@dataclass(frozen=True, slots=True)
class Opening:
    """A leaf that waits for its content key to be sealed to a seat: for that peer, or with none for the chain."""

    peer_id: PeerId | None
    batch_id: BatchId
    leaf_index: int


@dataclass(slots=True)
class OpeningResponder:
    """Answers the seats of cases about this node's batches."""

    member: Member
    docket: Docket
    provider: Provider
    settler: Settler
    _sealing: dict[tuple[Cid, bytes], list[Opening]] = field(default_factory=dict)
    _early: dict[tuple[PeerId, bytes, type[object]], SampleQuery | FingerprintQuery] = field(default_factory=dict)

    def expects(self, peer_id: PeerId, message: Message) -> bool:
        """Whether a message is a registered node's question about a batch of this node."""
        if not isinstance(message, SampleQuery | FingerprintQuery):
            return False
        if isinstance(message, SampleQuery) and not can_be_sealed_to(message.hpke_key):
            return False
        return self.settler.batch(message.batch_id) is not None and self.member.node_of_peer(peer_id) is not None

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Return the answers that an event calls for."""
        match event:
            case MessageReceived(peer_id, SampleQuery() as query):
                return self._sample(peer_id, query)
            case MessageReceived(peer_id, FingerprintQuery() as query):
                return self._fingerprint(peer_id, query)
            case KeySealed(input_cid, hpke_key, sealed_key):
                openings = self._sealing.pop((Cid(input_cid), hpke_key), [])
                return tuple(effect for opening in openings for effect in self._open(opening, sealed_key))
            case DataDemanded():
                return self._demanded(event)
            case CaseConvened(batch_id=batch_id) | SeatAdded(batch_id=batch_id) | SeatCommitted(batch_id=batch_id):
                return self._answer_early(batch_id)
            case _:
                return ()

    def _sample(self, peer_id: PeerId, query: SampleQuery) -> tuple[Effect, ...]:
        batch = self._batch(query.batch_id)
        if self._seat_of(query.batch_id, peer_id) is None:
            # The seat may have seen the block before this node did.
            self._keep(peer_id, query)
            return ()
        effects: list[Effect] = []
        for index in self._openable(batch):
            opening = Opening(peer_id, BatchId(query.batch_id), index)
            entry = batch.entries[index]
            if entry.job is None:
                effects += self._open(opening, b"")
                continue
            effects += seal_for(self._sealing, opening, entry.job.details.input_cid, query.hpke_key)
        return tuple(effects)

    def _open(self, opening: Opening, sealed_key: bytes) -> tuple[Effect, ...]:
        batch = self._batch(opening.batch_id)
        entry = batch.entries[opening.leaf_index]
        job = self._job(batch, opening.leaf_index)
        message = SampleOpening(
            batch_id=opening.batch_id,
            leaf_index=opening.leaf_index,
            entry=entry,
            siblings=path([other.leaf.node for other in batch.entries], opening.leaf_index),
            sealed_key=sealed_key,
            sealed_input=_inline(job.order.sealed_input if job else b""),
            sealed_result=_inline(job.sealed_result if job else b""),
        )
        if opening.peer_id is None:
            batch.answer = _answer(message)
            return ()
        return (Send(opening.peer_id, message),)

    def _demanded(self, demand: DataDemanded) -> tuple[Effect, ...]:
        """Prepare the answer to a demand on chain; the settler sends it. A seat gets the same answer from us."""
        batch = self.settler.batch(demand.batch_id)
        case = self.docket.case(demand.batch_id)
        if batch is None or case is None or case.phase is not CasePhase.STOPPED or batch.answer:
            return ()
        opening = Opening(None, BatchId(demand.batch_id), demand.leaf_index)
        if demand.leaf_index >= len(batch.entries):
            # The contract counts a leaf that a reorganisation has taken from this node.
            batch.answer = NO_SUCH_LEAF
            return ()
        seat = case.seats.get(demand.seat)
        if seat is not None and seat.is_bound:
            batch.answer = _answer(self._fingerprint_of(demand.batch_id, batch, demand.leaf_index))
            return ()
        entry = batch.entries[demand.leaf_index]
        if entry.job is None or not can_be_sealed_to(demand.hpke_key):
            # A seat that names no key has no claim to one; silence would cost this node its stake.
            return self._open(opening, b"")
        return seal_for(self._sealing, opening, entry.job.details.input_cid, demand.hpke_key)

    def _fingerprint(self, peer_id: PeerId, query: FingerprintQuery) -> tuple[Effect, ...]:
        batch = self._batch(query.batch_id)
        seat = self._seat_of(query.batch_id, peer_id)
        if seat is None or not seat.is_bound:
            self._keep(peer_id, query)
            return ()
        shown = (self._fingerprint_of(query.batch_id, batch, index) for index in self._openable(batch))
        return tuple(Send(peer_id, each) for each in shown)

    def _fingerprint_of(self, batch_id: bytes, batch: OwnBatch, index: int) -> FingerprintOpening:
        job = self._job(batch, index)
        return FingerprintOpening(batch_id, index, job.fingerprint if job else b"")

    def _answer_early(self, batch_id: bytes) -> tuple[Effect, ...]:
        ready = [key for key in self._early if key[1] == batch_id]
        effects: list[Effect] = []
        for key in ready:
            query = self._early.pop(key)
            answer = self._sample if isinstance(query, SampleQuery) else self._fingerprint
            effects += answer(key[0], query)  # type: ignore[arg-type]
        return tuple(effects)

    def _keep(self, peer_id: PeerId, query: SampleQuery | FingerprintQuery) -> None:
        keep_newest(self._early, (peer_id, query.batch_id, type(query)), query, PENDING_KEPT)

    def _batch(self, batch_id: bytes) -> OwnBatch:
        batch = self.settler.batch(batch_id)
        if batch is None:
            raise OutOfTurn("no such batch of this node")
        return batch

    def _seat_of(self, batch_id: bytes, peer_id: PeerId) -> DocketSeat | None:
        """The seat that this peer's operator key sits on."""
        case = self.docket.case(batch_id)
        seats = case.sitting.values() if case else ()
        return next((seat for seat in seats if self.member.operates(peer_id, seat.node)), None)

    def _openable(self, batch: OwnBatch) -> tuple[int, ...]:
        """The drawn leaves that this node has.

        The contract counts more where a reorganisation has refused the batch before this one of the same lane.
        """
        case = self.docket.case(batch.batch_id or b"")
        return tuple(index for index in case.drawn if index < len(batch.entries)) if case else ()

    def _job(self, batch: OwnBatch, index: int) -> ProvidedJob | None:
        job_id = batch.job_ids[index]
        return self.provider.job(JobId(job_id)) if job_id is not None else None


def _answer(message: SampleOpening | FingerprintOpening) -> bytes:
    """The bytes for an answer on chain: the whole message, or without content that seats may fetch by its id."""
    choices: list[SampleOpening | FingerprintOpening] = [message]
    if isinstance(message, SampleOpening):
        bare = replace(message, sealed_input=b"", sealed_result=b"")
        choices += [replace(message, sealed_input=b""), replace(message, sealed_result=b""), bare]
    fitting = [data for each in choices if len(data := encode_named(each)) <= MAX_ANSWER_BYTES]
    return max(fitting, key=len, default=TOO_LARGE)


def _inline(content: bytes) -> bytes:
    """Content that is too large for a message is fetched by its id."""
    return content if len(content) <= MAX_INLINE_BYTES else b""
