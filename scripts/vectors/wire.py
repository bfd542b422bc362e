"""The vectors behind docs/wire.md: names, messages, gossip, streams and sealed content in bytes.

One job (scripts/vectors/job.py) has real signatures and real seals, so that a peer in another language can check not
only how a message looks but that its signature, its hashes and its sums are right.
"""

import dataclasses
import hashlib
import struct
from collections.abc import Iterator
from typing import Any, get_args

from coincurve import PrivateKey

from node.wallet.sealing import open_key, seal
from node.wallet.sealing import public_key_of as hpke_public
from p2p.blobs import BlobHeader, BlobRequest, BlobStatus
from p2p.calls import Reply
from protocol.messages import Message
from protocol.network import frames
from protocol.network.peer_exchange import MAX_EXCHANGE_BYTES, MAX_RECORD_BYTES, PeerExchange, PeerRecord, PeerRecords
from protocol.network.peer_exchange import SIGNING_PREFIX as RECORD_PREFIX
from protocol.stages.assignment import SignedAccept, SignedRefuse
from protocol.stages.commitment import ResultDelivery, ResultQuery, SignedReceipt
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import SignedRequest
from protocol.stages.stop_order import SignedStopOrder
from protocol.wire import codec
from protocol.wire.envelope import compact, digest, struct_hash
from protocol.wire.ids import cid_of, peer_id_of, public_key_of
from scripts.vectors import job
from scripts.vectors.frame import DOMAIN, Case, case
from scripts.vectors.samples import sample

SETTLEMENT = bytes.fromhex(DOMAIN.contract[2:])


def names() -> Iterator[Case]:
    """The values that follow from one key."""
    for key in (job.CLIENT, job.NODE, job.SEAT):
        public = key.public_key.format()
        peer_id = peer_id_of(public)
        assert public_key_of(peer_id) == public
        yield case(
            secret=key.secret,
            public_key=public,
            address=job.address_of_key(key),
            peer_id=peer_id,
            multiaddr=f"/ip4/192.0.2.1/tcp/4701/p2p/{peer_id}",
        )


def codec_cases() -> Iterator[Case]:
    """Every message between peers and every body of gossip as canonical CBOR: the story's, else a sample."""
    named = get_args(Message)
    for kind in (*named, SignedRequest, Heartbeat):
        value = job.job_story().messages.get(kind) or sample(kind, "wire")
        raw = codec.encode_named(value) if kind in named else codec.encode(value)
        yield case(name=kind.__name__, named=kind in named, fields=value, bytes=raw)


def signing() -> Iterator[Case]:
    """The signed messages of the story: struct hash, digest, signature."""
    told = job.job_story()
    order = told.order
    signings: list[tuple[str, Any, PrivateKey]] = [
        ("client", order.request.request, job.CLIENT),
        ("node", order.offer.offer, job.NODE),
        ("client", order.assignment, job.CLIENT),
        ("node", told.messages[SignedAccept].accept, job.NODE),
        ("node", told.messages[SignedRefuse].refuse, job.NODE),
        ("node", told.messages[ResultDelivery].result, job.NODE),
        ("client", told.messages[SignedReceipt].receipt, job.CLIENT),
        ("client", told.messages[SignedStopOrder].order, job.CLIENT),
    ]
    yield case(name="domain", chain_id=DOMAIN.chain_id, separator=DOMAIN.separator)
    yield case(name="JobDetails", struct_hash=struct_hash(order.details))
    for by, message, key in signings:
        signature = job.signature_of(message, key)
        yield case(
            name=type(message).__name__,
            by=by,
            signer=job.address_of_key(key),
            struct_hash=struct_hash(message),
            digest=digest(message, DOMAIN),
            signature=signature,
            compact=compact(signature),
        )


def gossip() -> Iterator[Case]:
    """A frame from its content to its id, and the three batches."""
    beat = dataclasses.replace(sample(Heartbeat, "wire"), node_id=job.address_of_key(job.NODE))
    request = job.job_story().order.request
    told: list[frames.Signed] = []
    for topic, key, body in (
        (frames.Topic.HEARTBEAT, job.NODE, codec.encode(beat)),
        (frames.Topic.REQUEST, job.CLIENT, codec.encode(request)),
    ):
        content = frames.Content(
            DOMAIN.chain_id, SETTLEMENT, topic, key.public_key.format(), job.NOW_S * 1000, job.NOW_S * 1000, body
        )
        signed = frames.sign_content(content, key.sign)
        told.append(signed)
        yield case(
            name=f"frame {topic.value}",
            author=content.author,
            body=body,
            content=signed.content,
            signed=frames.SIGNING_PREFIX + signed.content,
            sha256=hashlib.sha256(frames.SIGNING_PREFIX + signed.content).digest(),
            signature=signed.signature,
            id=frames.frame_id(signed.content),
        )
    ids = b"".join(frames.frame_id(signed.content) for signed in told)
    for batch in (frames.Frames(tuple(told)), frames.Frames(()), frames.Digest(ids), frames.Want(ids[:16])):
        empty = isinstance(batch, frames.Frames) and not batch.frames
        yield case(name=f"batch {type(batch).__name__}{' empty' if empty else ''}", bytes=frames.encode_batch(batch))


def exchange() -> Iterator[Case]:
    """A record of where a node is, and the question that carries it."""
    author = job.NODE.public_key.format()
    address = f"/ip4/192.0.2.2/tcp/4701/p2p/{peer_id_of(author)}"
    made = PeerExchange(DOMAIN.chain_id, SETTLEMENT, author)
    question = made.ask((address,), job.NOW_S * 1000, job.NODE.sign)
    (signed,) = codec.decode(PeerRecords, question, MAX_EXCHANGE_BYTES).records
    yield case(
        name="record",
        fields=codec.decode(PeerRecord, signed.record, MAX_RECORD_BYTES),
        record=signed.record,
        signed=RECORD_PREFIX + signed.record,
        signature=signed.signature,
    )
    yield case(name="question", bytes=question)


def streams() -> Iterator[Case]:
    """The messages of a stream, in order: by whom, and the bytes with their length before them."""

    content = b"sixteen bytes..."
    query = codec.encode_named(job.job_story().messages[ResultQuery])
    request = codec.encode(BlobRequest(cid_of(content), 4))
    header = codec.encode(BlobHeader(BlobStatus.FOUND, len(content)))
    missing = codec.encode(BlobHeader(BlobStatus.MISSING, 0))
    yield _talk("/vcoin/rr/1", "a message and its acknowledgement", ("a", query), ("b", b"\0"))
    yield _talk("/vcoin/rr/1", "a busy receiver", ("a", query), ("b", bytes([Reply.BUSY])))
    yield _talk("/vcoin/blob/1", "content from its fifth byte on", ("a", request), ("b", header), ("b", content[4:]))
    yield _talk("/vcoin/blob/1", "content that is not here", ("a", request), ("b", missing))
    yield _talk("/vcoin/gossip/1", "a digest", ("a", frames.encode_batch(frames.Digest(b""))))


def _talk(protocol: str, name: str, *said: tuple[str, bytes]) -> Case:
    return case(
        protocol=protocol,
        name=name,
        sent=[case(by=by, bytes=len(body).to_bytes(4, "big") + body) for by, body in said],
    )


def sealing() -> Iterator[Case]:
    """Content keys, and what is sealed with them."""
    job_id = job.job_story().job_id
    key = open_key(job.SEALED_KEY, job.INPUT_CID, job.NODE_HPKE)
    assert key == job.CONTENT_KEY, "SEALED_KEY is of another input: make it again"
    yield case(
        name="key",
        hpke_secret=job.NODE_HPKE,
        hpke_key=hpke_public(job.NODE_HPKE),
        info=b"vcoin/content-key/1" + job.INPUT_CID,
        sealed=job.SEALED_KEY,
        opened=job.CONTENT_KEY,
    )
    contents = [
        ("input", b"input", job.INPUT),
        ("frame", b"frame" + job_id + (0).to_bytes(4, "big"), struct.pack(">4I", 3, 4, 5, 6)),
        ("result", b"result" + job_id, job.job_story().result_json),
        ("empty", b"input", b""),
    ]
    for name, label, content in contents:
        sealed = seal(job.CONTENT_KEY, label, content)
        yield case(
            name=name,
            key=job.CONTENT_KEY,
            label=label,
            content=content,
            salt=sealed[:16],
            sealed=sealed,
            cid=cid_of(sealed),
        )
    # Two chunks: too long for a page, so by its hash.
    long = bytes(number % 251 for number in range((1 << 20) + 5))
    sealed = seal(job.CONTENT_KEY, b"input", long)
    yield case(name="two chunks", bytes=len(long), sealed_bytes=len(sealed), cid=cid_of(sealed))
