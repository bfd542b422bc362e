"""Effects on peers: messages to send, content to fetch."""

from protocol.messages import Message
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import SignedRequest
from protocol.wire.codec import Bytes32, Text
from protocol.wire.ids import PeerId
from protocol.wire.names import wire_class


@wire_class("PublishHeartbeat")
class PublishHeartbeat:
    """> p2p/gossip > HeartbeatPublished here, HeartbeatReceived elsewhere."""

    heartbeat: Heartbeat


@wire_class("PublishRequest")
class PublishRequest:
    """> p2p/gossip > RequestPublished here, RequestReceived elsewhere."""

    signed: SignedRequest


@wire_class("Send")
class Send:
    """> p2p/calls > MessageSent here, MessageReceived there. `to` is a peer id or a multiaddr that ends in one."""

    to: Text
    message: Message


@wire_class("FetchBlob")
class FetchBlob:
    """> p2p/blobs > BlobFetched: into the content store, from any of the peers, checked against its hash."""

    cid: Bytes32
    peers: tuple[PeerId, ...]


@wire_class("FetchModel")
class FetchModel:
    """> p2p/blobs > ModelAdded: its manifest and every file of it."""

    manifest: Bytes32
    peers: tuple[PeerId, ...]
