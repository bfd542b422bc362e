"""Events of peers: messages that came, and messages that were sent."""

from protocol.messages import Message
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import Request, SignedRequest
from protocol.wire.codec import U16, U32, U64, Bytes32, Text
from protocol.wire.ids import PeerId
from protocol.wire.names import wire_class


@wire_class("HeartbeatPublished")
class HeartbeatPublished:
    """The beat is on its way."""

    counter: U64


@wire_class("RequestPublished")
class RequestPublished:
    """The request is on its way."""

    request: Request


@wire_class("HeartbeatReceived")
class HeartbeatReceived:
    """A registered node's beat; `peer_id` is the id of its operator key, not of the peer that relayed it."""

    peer_id: PeerId
    heartbeat: Heartbeat


@wire_class("RequestReceived")
class RequestReceived:
    """A request was gossiped; its signature is not checked yet."""

    signed: SignedRequest


@wire_class("MessageReceived")
class MessageReceived:
    """A peer, known by its connection, sent a message; signatures inside are not checked yet."""

    peer_id: PeerId
    message: Message


@wire_class("MessageSent")
class MessageSent:
    """A message was acknowledged by its receiver after `round_trip_ms`."""

    peer_id: PeerId
    round_trip_ms: U32


@wire_class("MessageUnanswered")
class MessageUnanswered:
    """A connected peer did not acknowledge a message in time."""

    peer_id: PeerId


@wire_class("BlobFetched")
class BlobFetched:
    """A blob is in the content store."""

    cid: Bytes32


@wire_class("OrderRefused")
class OrderRefused:
    """An order that this node turns away as it comes, for a RefuseCode: only its sender need know of it."""

    peer_id: PeerId
    job_id: Bytes32
    offer_hash: Bytes32
    reply_to: Text
    code: U16
