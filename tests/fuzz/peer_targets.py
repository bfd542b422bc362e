"""Bytes from peers: messages, gossip, streams, sealed content, addresses, signatures."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from typing import Any, get_args

import trio
from coincurve import PrivateKey

from executor.runner.job import BadInput
from executor.runner.rules import read_rules
from node.daemon.readings import lines_of
from node.wallet.sealing import Unopened, open_key, public_key_of, seal, seal_key, unseal
from p2p.adapter import _read_body
from p2p.blobs import BlobHeader, BlobRequest, BlobStatus
from p2p.calls import Reply, _read_reply
from p2p.streams import FramedStream
from p2p.transport import split_address
from protocol.errors import BadSignature, Malformed, P2PError, RemoteProtocolError
from protocol.judging.kinds import rows_of, score_of, validate
from protocol.judging.reading import read_texts
from protocol.messages import Message
from protocol.network.frames import (
    Content,
    Digest,
    Frames,
    Signed,
    Topic,
    Want,
    decode_batch,
    encode_batch,
    frame_id,
    read_content,
    require_signed,
    sign_content,
    split_ids,
)
from protocol.network.gossip import Admission, Gossip
from protocol.network.peer_exchange import PeerExchange
from protocol.stages.assignment import Accept
from protocol.stages.blob import ModelFile, ModelManifest, read_manifest
from protocol.stages.execution import InvalidResult, validate_fingerprint
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import CLASSIFY, EMBED, GENERATE, SignedRequest
from protocol.stages.token_rules import draw_seed, rules_of
from protocol.stages.verification import UNCALIBRATED, score
from protocol.wire import codec
from protocol.wire.envelope import Domain, digest, recover, sign_digest
from protocol.wire.ids import JobId, PeerId, checksum, cid_of, peer_id_of
from protocol.wire.names import by_name
from scripts.vectors.samples import sample
from tests.fuzz.mutation import Shape
from tests.fuzz.target import Target

MESSAGES = by_name(get_args(Message))
SECRET = PrivateKey(b"\x07" * 32)
AUTHOR = SECRET.public_key.format()
PEER = peer_id_of(AUTHOR)
NETWORK = (31_337, b"\x11" * 20)
DOMAIN = Domain(31_337, checksum("0x" + "11" * 20))
NOW_MS = 1_800_000_000_000
KEY = b"\x2a" * 32
LABEL = b"result" + bytes(32)
JOB = JobId(bytes(range(32)))
MANIFEST = ModelManifest(
    "tiny",
    (ModelFile("model.safetensors", cid_of(b"m"), 9),),
    "tokenizer.json",
    (2,),
    0,
    "fp32",
    64,
    300,
    2,
    512,
    2**20,
)


# --- messages -------------------------------------------------------------------------------------------------------
def _message(data: bytes) -> None:
    message = codec.decode_named(MESSAGES, data, 1 << 17)
    assert codec.encode_named(message) == data, "one message, one form"


def _messages() -> list[bytes]:
    return [codec.encode_named(sample(kind, f"fuzz {number}")) for kind in MESSAGES.values() for number in range(3)]


def _blob(data: bytes) -> None:
    kind = BlobHeader if data[:1] == b"h" else BlobRequest
    codec.decode(kind, data[1:], 1 << 16)


def _blobs() -> list[bytes]:
    return [b"r" + codec.encode(BlobRequest(cid_of(b"x"), 7)), b"h" + codec.encode(BlobHeader(BlobStatus.FOUND, 2**40))]


def _signature(data: bytes) -> None:
    recover(Accept(bytes(32), 1), data, DOMAIN)


def _signatures() -> list[bytes]:
    return [sign_digest(digest(Accept(bytes(32), 1), DOMAIN), SECRET.secret)]


# --- gossip ---------------------------------------------------------------------------------------------------------
def _content(topic: Topic, body: bytes, seq: int = 1) -> Signed:
    return sign_content(Content(*NETWORK, topic, AUTHOR, seq, NOW_MS, body), SECRET.sign)


def _signed() -> list[Signed]:
    beat, request = sample(Heartbeat, "fuzz"), sample(SignedRequest, "fuzz")
    return [
        _content(Topic.HEARTBEAT, codec.encode(beat)),
        _content(Topic.REQUEST, codec.encode(request), 2),
        _content(Topic.NOTICE, b"draw", 3),
    ]


def _batch(data: bytes) -> None:
    batch = decode_batch(data)
    if isinstance(batch, Frames):
        for signed in batch.frames:
            frame_id(signed.content)
            require_signed(signed, AUTHOR)
    else:
        split_ids(batch.ids)


def _batches() -> list[bytes]:
    frames = tuple(_signed())
    ids = b"".join(frame_id(signed.content) for signed in frames)
    return [
        encode_batch(Frames(frames)),
        encode_batch(Frames(frames[:1])),
        encode_batch(Digest(ids)),
        encode_batch(Want(ids)),
    ]


def _frame(data: bytes) -> None:
    content = read_content(Signed(data, b""))
    _read_body(content)


def _machine(data: bytes) -> None:
    """The whole machine: it tells a peer's faults and raises none of them."""
    gossip = Gossip(
        chain_id=NETWORK[0],
        settlement=NETWORK[1],
        author=b"\x02" * 33,
        admit=_admit,
        charge=lambda content, now_ms: None,
        heartbeat_ms=30_000,
    )
    gossip.join(PEER, NOW_MS)
    gossip.receive(PEER, data, NOW_MS)
    gossip.tick(NOW_MS + 2_000)
    for batch in gossip.take(PEER, NOW_MS + 40_000):
        decode_batch(batch)


def _admit(content: Content, now_ms: int) -> Admission:
    try:
        _read_body(content)
    except RemoteProtocolError:
        return Admission.REFUSE
    return Admission.ADMIT if content.topic is Topic.HEARTBEAT else Admission.UNKNOWN


def _records(data: bytes) -> None:
    """As an answer, and as a question."""
    exchange = PeerExchange(*NETWORK, b"\x02" * 33)
    with suppress(RemoteProtocolError):
        exchange.read(PEER, data, NOW_MS)
    exchange.answer(PEER, data, (), NOW_MS, SECRET.sign)


def _record_seeds() -> list[bytes]:
    where = f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}"
    return [PeerExchange(*NETWORK, AUTHOR).ask(places, NOW_MS, SECRET.sign) for places in ((), (where,), (where, "/x"))]


# --- streams --------------------------------------------------------------------------------------------------------
class _Pieces:
    """A peer that sends some bytes in pieces of this size, and goes."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = data, size

    async def read(self, n: int | None = None) -> bytes:
        part, self._data = self._data[: self._size], self._data[self._size :]
        return part

    async def write(self, data: bytes) -> None: ...
    async def close(self) -> None: ...
    async def reset(self) -> None: ...


def _stream(data: bytes) -> None:
    if not data:
        return
    size, limit = 1 + data[0], 4_096

    async def read_all() -> None:
        stream = FramedStream(_Pieces(data[1:], size), PEER)
        while True:
            assert len(await stream.read_frame(limit, within_s=1)) <= limit

    trio.run(read_all)


def _streams() -> list[bytes]:
    frame = (5).to_bytes(4, "big") + b"hello"
    return [b"\x03" + frame * 2, b"\xff" + frame, b"\x00" + (4_097).to_bytes(4, "big"), b"\x10" + bytes(4) + frame]


def _reply(data: bytes) -> Reply:
    return _read_reply(data)


def _address(data: bytes) -> None:
    split_address(data.decode(errors="surrogateescape"))


def _addresses() -> list[bytes]:
    wheres = ("/ip4/127.0.0.1/tcp/4701", "/ip6/::1/tcp/4701", "/dns4/node.example.org/tcp/1", "/dns/a/tcp/65535")
    return [f"{where}/p2p/{PEER}".encode() for where in wheres]


def _peer_id(data: bytes) -> None:
    from protocol.wire.ids import public_key_of as key_in

    key_in(PeerId(data.decode(errors="surrogateescape")))


# --- sealed content -------------------------------------------------------------------------------------------------
def _sealed(data: bytes) -> None:
    if data[:1] == b"k":
        open_key(data[1:], cid_of(b"input"), KEY)
    elif data[:1] == b"h":
        seal_key(KEY, cid_of(b"input"), data[1:])
    else:
        unseal(KEY, LABEL, data[1:])


def _sealed_seeds() -> list[bytes]:
    public = public_key_of(KEY)
    return [b"k" + seal_key(KEY, cid_of(b"input"), public), b"h" + public, b"u" + seal(KEY, LABEL, b"an answer")]


# --- results and proofs ---------------------------------------------------------------------------------------------
def _result(data: bytes) -> None:
    facts = validate(GENERATE, data, JOB, MANIFEST, 64, b'{"salt":"pepper"}')
    assert facts.rows == rows_of(GENERATE, data)


READ = {
    EMBED: b'{"salt":"pepper","texts":["a","b"]}',
    CLASSIFY: b'{"labels":["x","y","z"],"salt":"pepper","texts":["a","b"]}',
}


def _reading(data: bytes) -> None:
    refused = []
    for kind, asked in READ.items():
        with suppress(InvalidResult):
            read_texts(kind, data)
        try:
            assert validate(kind, data, JOB, MANIFEST, 64, asked).rows == rows_of(kind, data) == 2
            assert lines_of(json.loads(data)).count("\n") == 2
        except InvalidResult as error:
            refused.append(error)
    if len(refused) == len(READ):
        raise refused[0]


def _readings() -> list[bytes]:
    plain: dict[str, Any] = {
        "v": 1,
        "job_id": JOB.hex(),
        "manifest_sha256": MANIFEST.cid.hex(),
        "prompt_token_ids_sha256": "ab" * 32,
        "tokens": [3, 40],
        "salt": "pepper",
    }
    vector = [10**6, *[0] * (MANIFEST.hidden - 1)]
    answers = ({"embeddings": [vector] * 2}, {"labels": ["x", "y", "z"], "logits": [[1, -2, 3], [4, 5, 6]]})
    return [json.dumps({**plain, **each}, sort_keys=True, separators=(",", ":")).encode() for each in answers]


def _rules(data: bytes) -> None:
    """The rules of an input that a stranger has sealed: a node and its runner read the same, or none."""
    rules = rules_of(data)
    assert len(draw_seed(rules, JOB)) == 32
    read = read_rules(rules.plain)
    assert (read.stops, read.draw_seed(JOB)) == (rules.stop, draw_seed(rules, JOB))
    plain = json.loads(data)
    if isinstance(plain, dict) and plain.get("v") == 2:
        with suppress(BadInput):
            assert read_rules(plain.get("rules", {})) == read


def _inputs() -> list[bytes]:
    rules = {
        "stop": ["a", "b"],
        "seed": 5,
        "top_p_ppm": 900_000,
        "top_k": 40,
        "presence_milli": 1,
        "frequency_milli": -1,
        "schema": '{"$defs":{"a":{"type":"array","items":{"anyOf":[{"$ref":"#"},{"enum":[1]}]}}},"$ref":"#/$defs/a"}',
    }
    return [json.dumps({"v": 2, "salt": "pepper", "prompt": "x", "rules": each}).encode() for each in (rules, {})]


def _results() -> list[bytes]:
    plain: dict[str, Any] = {
        "v": 1,
        "job_id": JOB.hex(),
        "manifest_sha256": MANIFEST.cid.hex(),
        "prompt_token_ids_sha256": "ab" * 32,
        "output_token_ids": [5, 6, 7],
        "finish": "eos",
        "salt": "pepper",
    }
    return [
        json.dumps({**plain, **change}, sort_keys=True, separators=(",", ":")).encode()
        for change in ({}, {"output_token_ids": list(range(3, 67)), "finish": "length"}, {"output_token_ids": []})
    ]


TOKENS = 40


def _proof(data: bytes) -> None:
    proof, check = data[: 2 * 2 + 8 * TOKENS], data[2 * 2 + 8 * TOKENS :]
    validate_fingerprint(proof, TOKENS)
    assert 0 <= score(proof, check, TOKENS, UNCALIBRATED) <= 10_000


def _reading_check(data: bytes) -> None:
    kind = EMBED if data[:1] == b"e" else CLASSIFY
    assert 0 <= score_of(kind, data[1:19], data[19:], 2, UNCALIBRATED) <= 10_000


def _reading_checks() -> list[bytes]:
    states = b"\x00\x2c" + bytes(16) + b"\x00\x00\x80\x3a" + bytes(32) + b"\0\0\0\0\0\0\xf0\x3f"
    return [kind + states + (7).to_bytes(4, "little") * words for kind, words in ((b"e", 2), (b"c", 4))]


@cache
def _proofs() -> list[bytes]:
    proof = b"".join(b"\x00\x2c" + bytes(range(1, 33)) * (count * 8 // 32) for count in (32, 8))
    chunks = [b"\x00\x00\x80\x3a" + bytes(range(1, 17)) * count + b"\0\0\0\0\0\0\xf0\x3f" for count in (32, 8)]
    return [proof + b"".join(chunks) + (7).to_bytes(4, "little") * (TOKENS + 1)]


TARGETS = (
    Target("message", Shape.CBOR, _message, _messages, (RemoteProtocolError,), share=3),
    Target("blob-control", Shape.BYTES, _blob, _blobs, (RemoteProtocolError,)),
    Target("signature", Shape.BYTES, _signature, _signatures, (BadSignature,), share=0.3),
    Target("gossip-batch", Shape.CBOR, _batch, _batches, (RemoteProtocolError,)),
    Target(
        "gossip-frame", Shape.CBOR, _frame, lambda: [signed.content for signed in _signed()], (RemoteProtocolError,), 2
    ),
    Target("gossip-machine", Shape.CBOR, _machine, _batches),
    Target("peer-records", Shape.CBOR, _records, _record_seeds, (RemoteProtocolError,), share=0.5),
    Target("stream", Shape.BYTES, _stream, _streams, (RemoteProtocolError, P2PError), share=0.2),
    Target("acknowledgement", Shape.BYTES, _reply, lambda: [b"\0", b"\1"], (Malformed,), share=0.2),
    Target("multiaddr", Shape.BYTES, _address, _addresses, (P2PError,), share=0.3),
    Target("peer-id", Shape.BYTES, _peer_id, lambda: [PEER.encode()], (ValueError,), share=0.5),
    Target("sealed", Shape.BYTES, _sealed, _sealed_seeds, (Unopened, Malformed), share=0.3),
    Target("result", Shape.JSON, _result, _results, (InvalidResult, Unopened)),
    Target("token-rules", Shape.JSON, _rules, _inputs, (ValueError, RecursionError)),
    Target("reading", Shape.JSON, _reading, _readings, (InvalidResult,)),
    Target("reading-check", Shape.BYTES, _reading_check, _reading_checks, (ValueError,), share=0.3),
    Target("proof", Shape.BYTES, _proof, _proofs, (ValueError,), share=0.3),
    Target("model-manifest", Shape.JSON, read_manifest, lambda: [MANIFEST.encode()], (Malformed,)),
)
