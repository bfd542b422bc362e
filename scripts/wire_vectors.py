"""The vectors behind docs/wire.md: names, messages, gossip, streams, sealed content, amounts and scores in bytes.

One job is told from request to receipt by fixed keys, with real signatures and real seals, so that a peer in another
language can check not only how a message looks but that its signature, its hashes and its sums are right.
"""

import dataclasses
import hashlib
import json
import struct
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Any, get_args

from coincurve import PrivateKey
from eth_utils.crypto import keccak

from node.wallet.sealing import open_key, seal
from node.wallet.sealing import public_key_of as hpke_public
from p2p.blobs import BlobHeader, BlobRequest, BlobStatus
from p2p.calls import Reply
from protocol.judging.kinds import score_of, validate
from protocol.judging.margins import evidence_of
from protocol.messages import Message
from protocol.network.frames import (
    SIGNING_PREFIX,
    Content,
    Digest,
    Frames,
    Topic,
    Want,
    encode_batch,
    frame_id,
    sign_content,
)
from protocol.network.peer_exchange import MAX_EXCHANGE_BYTES, MAX_RECORD_BYTES, PeerExchange, PeerRecord, PeerRecords
from protocol.network.peer_exchange import SIGNING_PREFIX as RECORD_PREFIX
from protocol.params import VCN
from protocol.stages.assignment import (
    Accept,
    Assignment,
    AssignmentOrder,
    JobDetails,
    Refuse,
    RefuseCode,
    SignedAccept,
    SignedRefuse,
    bonus_cap,
    bonus_of,
    charge_of,
    order_total,
    require_consistent,
    verify_fee,
)
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.stages.commitment import (
    LeafEntry,
    Receipt,
    Result,
    ResultDelivery,
    ResultQuery,
    SettledJob,
    SignedReceipt,
    TokenFrame,
    batch_id,
    debit_of,
    leaf_of,
    output_commit,
    require_papers,
)
from protocol.stages.execution import sampling_seed, validate_proof, validate_result
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.offer import Offer, SignedOffer
from protocol.stages.request import CLASSIFY, EMBED, KINDS, Request, SignedRequest
from protocol.stages.settlement import split
from protocol.stages.verification import (
    UNCALIBRATED,
    AuditQuery,
    CheckOpening,
    MarginScores,
    ProofOpening,
    ProofQuery,
    SampleOpening,
    SampleQuery,
    audit_commitment,
    checks_digest,
    distances,
    score,
    seat_commitment,
    token_margins,
)
from protocol.wire import codec
from protocol.wire.envelope import Domain, compact, digest, sign_digest, struct_hash
from protocol.wire.ids import Address, JobId, address_of, checksum, cid_of, peer_id_of, public_key_of
from protocol.wire.merkle import path, root
from scripts.samples import sample

Case = dict[str, Any]
NOW_S = 1_800_000_000
TOKENS = 100
ASKED = 128
EXPECTED_MS = 10_000
ACTUAL_MS = 7_000
SETTLEMENT = checksum("0x" + keccak(text="settlement")[12:].hex())
DOMAIN = Domain(31_337, SETTLEMENT)
# What HPKE made of CONTENT_KEY for NODE_HPKE and INPUT_CID once: it takes chance, so it cannot be made again.
SEALED_KEY = bytes.fromhex(
    "82882edc4aab3f13eba23c9f9f9630f525cd5c5ec431de9416da8b232c0fda22211fee2db74c8564"
    "09e154e9360e3e04c5dfa1b662ce8f2de0fd1fe7eaff0d462e8798dff997ecce7aea659e6287ec22"
)


def word(name: str) -> bytes:
    """32 bytes that look random and are not."""
    return keccak(text=name)


def hexed(raw: bytes) -> str:
    """0x and lower-case hex."""
    return "0x" + raw.hex()


CLIENT, NODE, SEAT = (PrivateKey(word(f"secret of the {name}")) for name in ("client", "node", "seat"))
CONTENT_KEY = word("content key")
NODE_HPKE = word("hpke secret of the node")
MODEL = ModelManifest(
    name="tiny",
    files=(
        ModelFile("config.json", cid_of(b"{}"), 2),
        ModelFile("model.safetensors", cid_of(b"weights"), 7),
        ModelFile("tokenizer.json", cid_of(b"{}"), 2),
    ),
    tokenizer="tokenizer.json",
    eos_ids=(2,),
    pad_id=0,
    dtype="fp32",
    hidden=64,
    vocab=300,
    layers=2,
    context=512,
    needs_bytes=2**20,
)
MARGIN_SCORES = MarginScores((-2_000, 1, 2_000, 4_000), (0, -900, 40, 20, 150))
INPUT = (
    b'{"messages":[{"content":"Why is the sky blue?","role":"user"}],"salt":"00112233445566778899aabbccddeeff","v":1}'
)
SEALED_INPUT = seal(CONTENT_KEY, b"input", INPUT)
INPUT_CID = cid_of(SEALED_INPUT)


def _address(key: PrivateKey) -> Address:
    return address_of(key.public_key.format())


def _signed(message: Any, key: PrivateKey) -> bytes:
    return sign_digest(digest(message, DOMAIN), key.secret)


# --- the job --------------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Story:
    """One job: its order, what came of it, its leaf, and the messages that were sent for it, by type."""

    order: AssignmentOrder
    job_id: JobId
    entry: LeafEntry
    result_json: bytes
    proof: bytes
    messages: dict[type, Any]


@cache
def story() -> Story:
    """The job from request to the opening of its proof."""
    request = Request(
        client=_address(CLIENT),
        signer=_address(CLIENT),
        manifest=MODEL.cid,
        kind=0,
        max_new_tokens=ASKED,
        input_bytes=len(SEALED_INPUT),
        max_price=2 * VCN,
        max_memory=2**20,
        classes=0b10,
        timeout_ms=120_000,
        deadline=NOW_S + 300,
        min_reputation=40,
        requester_peer=f"/ip4/192.0.2.1/tcp/4701/p2p/{peer_id_of(CLIENT.public_key.format())}",
        nonce=1,
    )
    offer = Offer(
        request_id=digest(request, DOMAIN),
        node_id=_address(NODE),
        price=128 * VCN // 100,
        eta_ms=EXPECTED_MS,
        class_id=1,
        cached=True,
        hpke_key=hpke_public(NODE_HPKE),
        valid_until=NOW_S + 30,
    )
    total = order_total(offer.price, with_bonus=True)
    details = JobDetails(
        request_id=offer.request_id,
        offer_hash=digest(offer, DOMAIN),
        price=offer.price,
        bonus_cap=bonus_cap(offer.price),
        verify_fee=verify_fee(offer.price),
        manifest=request.manifest,
        input_cid=INPUT_CID,
        content_key_hash=hashlib.sha256(CONTENT_KEY).digest(),
        temperature=700,
        seed_nonce=word("seed nonce"),
        max_new_tokens=ASKED,
        classes=request.classes,
        expected_ms=EXPECTED_MS,
        deadline=NOW_S + 150,
        attempt=0,
        max_total=total,
        flags=0,
    )
    assignment = Assignment(request.client, request.signer, offer.node_id, 1, total, struct_hash(details))
    order = AssignmentOrder(
        request=SignedRequest(request, _signed(request, CLIENT)),
        offer=SignedOffer(offer, _signed(offer, NODE)),
        assignment=assignment,
        details=details,
        signature=_signed(assignment, CLIENT),
        sealed_key=SEALED_KEY,
        sealed_input=SEALED_INPUT,
    )
    require_consistent(order, DOMAIN)
    return _told(order, JobId(digest(assignment, DOMAIN)))


def _told(order: AssignmentOrder, job: JobId) -> Story:
    ids = [3 + number % 297 for number in range(TOKENS)]
    result_json = json.dumps(
        {
            "v": 1,
            "job_id": job.hex(),
            "manifest_sha256": MODEL.cid.hex(),
            "salt": "00112233445566778899aabbccddeeff",
            "prompt_token_ids_sha256": hashlib.sha256(b"prompt").hexdigest(),
            "output_token_ids": ids,
            "finish": "eos",
        },
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
    proof = _proof(TOKENS)
    validate_result(result_json, job, MODEL, ASKED, "00112233445566778899aabbccddeeff")
    validate_proof(proof, TOKENS)
    sealed_result = seal(CONTENT_KEY, b"result" + job, result_json)
    result_hash, proof_hash, salt = hashlib.sha256(result_json).digest(), hashlib.sha256(proof).digest(), word("salt")
    node, blob_cid = order.assignment.node, cid_of(sealed_result)
    commit = output_commit(node, job, 1, result_hash, proof_hash, blob_cid, salt)
    result = Result(job, result_hash, commit, blob_cid)
    receipt = Receipt(job, result_hash, charge_of(order.details.price, TOKENS, ASKED), ACTUAL_MS)
    signed_receipt = SignedReceipt(receipt, _signed(receipt, CLIENT))
    papers = SettledJob(job, order.assignment, order.details, order.signature, signed_receipt, result, salt)
    entry = LeafEntry(leaf_of(order, result, TOKENS, receipt), papers)
    require_papers(entry)
    accept, refuse = Accept(job, NOW_S * 1000 + 250), Refuse(job, RefuseCode.BUSY, 4_000)
    frame = seal(CONTENT_KEY, b"frame" + job + (0).to_bytes(4, "big"), struct.pack(">4I", *ids[:4]))
    batch = batch_id(node, 0, 1_000)
    nodes = [entry.leaf.node, entry.leaf.node]
    said: list[Any] = [
        order.request,
        order.offer,
        order,
        SignedAccept(accept, _signed(accept, NODE)),
        SignedRefuse(refuse, _signed(refuse, NODE)),
        TokenFrame(job, 0, frame),
        ResultDelivery(result, _signed(result, NODE), sealed_result),
        signed_receipt,
        ResultQuery(job),
        SampleQuery(batch, hpke_public(word("hpke secret of the seat"))),
        SampleOpening(batch, 0, entry, path(nodes, 0), SEALED_KEY, SEALED_INPUT, sealed_result),
        ProofQuery(batch),
        ProofOpening(batch, 0, proof),
        AuditQuery(batch, hpke_public(word("hpke secret of the auditor"))),
        CheckOpening(batch, 0, _check(TOKENS, 0)),
    ]
    return Story(order, job, entry, result_json, proof, {type(message): message for message in said})


def _proof(tokens: int) -> bytes:
    """proof.bin of a scale of 1/16 and numbers from -127 to 127."""
    numbers = [(7 * number) % 255 - 127 for number in range(8 * tokens)]
    return b"".join(
        struct.pack("<e", 1 / 16) + struct.pack(f"<{len(part)}b", *part)
        for part in (numbers[start : start + 256] for start in range(0, len(numbers), 256))
    )


def _check(tokens: int, off: int) -> bytes:
    """check.bin of a scale of 1/4000 over the same numbers, each `off` steps away; margins of -4,000 to 5,000
    ppm, the last one 0."""
    numbers = [250 * ((7 * number) % 255 - 127) + off for number in range(8 * tokens)]
    out = b""
    for start in range(0, len(numbers), 256):
        part = numbers[start : start + 256]
        out += struct.pack("<f", 1 / 4000) + struct.pack(f"<{len(part)}h", *part) + struct.pack("<d", 21.25)
    return out + struct.pack(f"<{tokens + 1}i", *((1_000 * number) % 10_000 - 4_000 for number in range(tokens)), 0)


# --- the files ------------------------------------------------------------------------------------------------------
def names() -> Iterator[Case]:
    """What follows from one key."""
    for key in (CLIENT, NODE, SEAT):
        public = key.public_key.format()
        peer_id = peer_id_of(public)
        assert public_key_of(peer_id) == public
        yield {
            "secret": hexed(key.secret),
            "publicKey": hexed(public),
            "address": _address(key),
            "peerId": peer_id,
            "multiaddr": f"/ip4/192.0.2.1/tcp/4701/p2p/{peer_id}",
        }


def codec_cases() -> Iterator[Case]:
    """Every message between peers and every body of gossip as canonical CBOR: the story's, else a sample."""
    named = get_args(Message)
    for kind in (*named, SignedRequest, Heartbeat):
        value = story().messages.get(kind) or sample(kind, "wire")
        raw = codec.encode_named(value) if kind in named else codec.encode(value)
        yield {"name": kind.__name__, "named": kind in named, "fields": plain(value), "bytes": hexed(raw)}


def plain(value: Any) -> Any:
    """A message for people: bytes in hex, amounts as texts, enumerations as numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return hexed(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**53:
        return str(value)
    return value


def signing() -> Iterator[Case]:
    """The signed messages of the story: struct hash, digest, signature."""
    told = story()
    order = told.order
    signed: list[tuple[str, Any, PrivateKey]] = [
        ("client", order.request.request, CLIENT),
        ("node", order.offer.offer, NODE),
        ("client", order.assignment, CLIENT),
        ("node", told.messages[SignedAccept].accept, NODE),
        ("node", told.messages[SignedRefuse].refuse, NODE),
        ("node", told.messages[ResultDelivery].result, NODE),
        ("client", told.messages[SignedReceipt].receipt, CLIENT),
    ]
    yield {"name": "domain", "chainId": DOMAIN.chain_id, "separator": hexed(DOMAIN.separator)}
    yield {"name": "JobDetails", "structHash": hexed(struct_hash(order.details))}
    for by, message, key in signed:
        signature = _signed(message, key)
        yield {
            "name": type(message).__name__,
            "by": by,
            "signer": _address(key),
            "structHash": hexed(struct_hash(message)),
            "digest": hexed(digest(message, DOMAIN)),
            "signature": hexed(signature),
            "compact": [hexed(part) for part in compact(signature)],
        }


def gossip() -> Iterator[Case]:
    """A frame from its content to its id, and the three batches."""
    beat = dataclasses.replace(sample(Heartbeat, "wire"), node_id=_address(NODE))
    request = story().order.request
    settlement = bytes.fromhex(SETTLEMENT[2:])
    frames = []
    for topic, key, body in (
        (Topic.HEARTBEAT, NODE, codec.encode(beat)),
        (Topic.REQUEST, CLIENT, codec.encode(request)),
    ):
        content = Content(DOMAIN.chain_id, settlement, topic, key.public_key.format(), NOW_S * 1000, NOW_S * 1000, body)
        signed = sign_content(content, key.sign)
        frames.append(signed)
        yield {
            "name": f"frame {topic.value}",
            "author": hexed(content.author),
            "body": hexed(body),
            "content": hexed(signed.content),
            "signed": hexed(SIGNING_PREFIX + signed.content),
            "sha256": hexed(hashlib.sha256(SIGNING_PREFIX + signed.content).digest()),
            "signature": hexed(signed.signature),
            "id": hexed(frame_id(signed.content)),
        }
    ids = b"".join(frame_id(signed.content) for signed in frames)
    for batch in (Frames(tuple(frames)), Frames(()), Digest(ids), Want(ids[:16])):
        empty = isinstance(batch, Frames) and not batch.frames
        yield {"name": f"batch {type(batch).__name__}{' empty' if empty else ''}", "bytes": hexed(encode_batch(batch))}


def exchange() -> Iterator[Case]:
    """A record of where a node is, and the question that carries it."""
    author = NODE.public_key.format()
    address = f"/ip4/192.0.2.2/tcp/4701/p2p/{peer_id_of(author)}"
    made = PeerExchange(DOMAIN.chain_id, bytes.fromhex(SETTLEMENT[2:]), author)
    question = made.ask((address,), NOW_S * 1000, NODE.sign)
    (signed,) = codec.decode(PeerRecords, question, MAX_EXCHANGE_BYTES).records
    yield {
        "name": "record",
        "fields": plain(codec.decode(PeerRecord, signed.record, MAX_RECORD_BYTES)),
        "record": hexed(signed.record),
        "signed": hexed(RECORD_PREFIX + signed.record),
        "signature": hexed(signed.signature),
    }
    yield {"name": "question", "bytes": hexed(question)}


def streams() -> Iterator[Case]:
    """What goes over a stream, in order: by whom, and the bytes with their length before them."""

    def framed(body: bytes) -> str:
        return hexed(len(body).to_bytes(4, "big") + body)

    content = b"sixteen bytes..."
    query = codec.encode_named(story().messages[ResultQuery])
    request = codec.encode(BlobRequest(cid_of(content), 4))
    header = codec.encode(BlobHeader(BlobStatus.FOUND, len(content)))
    missing = codec.encode(BlobHeader(BlobStatus.MISSING, 0))
    yield _talk("/vcoin/rr/1", "a message and its acknowledgement", [("a", framed(query)), ("b", framed(b"\0"))])
    yield _talk("/vcoin/rr/1", "a busy receiver", [("a", framed(query)), ("b", framed(bytes([Reply.BUSY])))])
    yield _talk(
        "/vcoin/blob/1",
        "content from its fifth byte on",
        [("a", framed(request)), ("b", framed(header)), ("b", framed(content[4:]))],
    )
    yield _talk("/vcoin/blob/1", "content that is not here", [("a", framed(request)), ("b", framed(missing))])
    yield _talk("/vcoin/gossip/1", "a digest", [("a", framed(encode_batch(Digest(b""))))])


def _talk(protocol: str, what: str, said: list[tuple[str, str]]) -> Case:
    return {"protocol": protocol, "name": what, "sent": [{"by": by, "bytes": raw} for by, raw in said]}


def sealing() -> Iterator[Case]:
    """Content keys, and what is sealed with them."""
    job = story().job_id
    key = open_key(SEALED_KEY, INPUT_CID, NODE_HPKE)
    assert key == CONTENT_KEY, "SEALED_KEY is of another input: make it again"
    yield {
        "name": "key",
        "hpkeSecret": hexed(NODE_HPKE),
        "hpkeKey": hexed(hpke_public(NODE_HPKE)),
        "info": hexed(b"vcoin/content-key/1" + INPUT_CID),
        "sealed": hexed(SEALED_KEY),
        "opened": hexed(CONTENT_KEY),
    }
    contents = [
        ("input", b"input", INPUT),
        ("frame", b"frame" + job + (0).to_bytes(4, "big"), struct.pack(">4I", 3, 4, 5, 6)),
        ("result", b"result" + job, story().result_json),
        ("empty", b"input", b""),
    ]
    for name, label, content in contents:
        sealed = seal(CONTENT_KEY, label, content)
        yield {
            "name": name,
            "key": hexed(CONTENT_KEY),
            "label": hexed(label),
            "content": hexed(content),
            "salt": hexed(sealed[:16]),
            "sealed": hexed(sealed),
            "cid": hexed(cid_of(sealed)),
        }
    # Two chunks: too long for a page, so by its hash.
    long = bytes(number % 251 for number in range((1 << 20) + 5))
    sealed = seal(CONTENT_KEY, b"input", long)
    yield {"name": "two chunks", "bytes": len(long), "sealedBytes": len(sealed), "cid": hexed(cid_of(sealed))}


def amounts() -> Iterator[Case]:
    """Prices, charges, bonuses and debits; the first is the worked example."""
    for price, delivered, most, actual_ms, expected_ms, reputation in (
        (128 * VCN // 100, 100, 128, ACTUAL_MS, EXPECTED_MS, 4_500),
        (128 * VCN // 100, 100, 128, 8_000, EXPECTED_MS, 4_500),
        (128 * VCN // 100, 0, 128, 1, EXPECTED_MS, 4_500),
        (1, 1, 8_192, 1, 2, 0),
        (VCN + 1, 7, 9, 1, 2, 10_000),
        (2**90, 8_192, 8_192, 1, 1_000, 9_999),
    ):
        charge, cap = charge_of(price, delivered, most), bonus_cap(price)
        bonus = bonus_of(charge, cap, actual_ms, expected_ms)
        parts = split(charge, verify_fee(charge), bonus, reputation)
        yield {
            "price": str(price),
            "delivered": delivered,
            "maxNewTokens": most,
            "actualMs": actual_ms,
            "expectedMs": expected_ms,
            "scoreHundredths": reputation,
            "verifyFee": str(verify_fee(price)),
            "bonusCap": str(cap),
            "orderTotal": str(order_total(price, with_bonus=True)),
            "charge": str(charge),
            "bonus": str(bonus),
            "debit": str(debit_of(charge, bonus)),
            "burned": str(parts.burned),
            "reward": str(parts.reward),
            "pooled": str(parts.pooled),
        }


def verification() -> Iterator[Case]:
    """Hashes that bind a result, and scores of fingerprints against checks."""
    told = story()
    batch = told.messages[ProofQuery].batch_id
    result, entry = told.messages[ResultDelivery].result, told.entry
    assert entry.job is not None
    yield {
        "name": "commitments",
        "jobId": hexed(told.job_id),
        "seed": hexed(sampling_seed(told.job_id, told.order.details.seed_nonce)),
        "resultJson": told.result_json.decode(),
        "resultHash": hexed(result.result_hash),
        "proofHash": hexed(hashlib.sha256(told.proof).digest()),
        "salt": hexed(entry.job.salt),
        "outputCommit": hexed(result.output_commit),
        "leafHash": hexed(entry.leaf.node.hash),
        "root": hexed(root([entry.leaf.node, entry.leaf.node]).hash),
        "batchId": hexed(batch),
        "projectionBits": hexed(hashlib.sha256(b"p" + told.job_id + bytes(4)).digest()),
    }
    checks = [_check(TOKENS, 0), b""]
    digest_ = checks_digest(checks)
    evidence = evidence_of(token_margins(checks[0], TOKENS), MARGIN_SCORES)
    yield {
        "name": "seat",
        "checkHashes": [hexed(hashlib.sha256(check).digest()) for check in checks],
        "digest": hexed(digest_),
        "evidence": evidence,
        "salt": hexed(word("seat salt")),
        "commitment": hexed(seat_commitment(batch, 0, 2, digest_, word("seat salt"), evidence)),
    }
    yield {"name": "manifest", "json": MODEL.encode().decode(), "cid": hexed(MODEL.cid)}
    for tokens, off in ((1, 0), (1, 40), (33, 0), (33, 400), (33, 900), (64, 1_000)):
        proof, check = _proof(tokens), _check(tokens, off)
        found = distances(proof, check, tokens)
        yield {
            "name": "score",
            "tokens": tokens,
            "proof": hexed(proof),
            "check": hexed(check),
            "act": found.act,
            "chunk": found.chunk,
            "tok": found.tok,
            "worst": found.worst,
            "score": score(proof, check, tokens, UNCALIBRATED),
        }
    yield {
        "name": "auditor",
        "auditor": 1,
        "off": [0, 2],
        "score": 9_800,
        "salt": hexed(word("auditor salt")),
        "commitment": hexed(audit_commitment(batch, 1, (0, 2), 9_800, word("auditor salt"))),
    }
    yield {
        "name": "margins",
        "edges": list(MARGIN_SCORES.edges),
        "scores": list(MARGIN_SCORES.scores),
        "hash": hexed(MARGIN_SCORES.hash),
        "evidence": evidence,
    }
    yield from _readings(told.job_id)


def _readings(job: JobId) -> Iterator[Case]:
    """Embeddings and classifications: what is asked, an honest result, checks of it and of others, their scores."""
    salt = "00112233445566778899aabbccddeeff"
    said: dict[str, Any] = {"v": 1, "job_id": job.hex(), "manifest_sha256": MODEL.cid.hex(), "salt": salt}
    said |= {"prompt_token_ids_sha256": hashlib.sha256(b"texts").hexdigest(), "tokens": [3, 40]}
    vectors = [[15_625 * (-1) ** number for number in range(64)], [1_000_000, *[0] * 63]]
    numbers: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {
        EMBED: ({"texts": ["first", "second"]}, {"embeddings": [[8 * each for each in vectors[0]], vectors[1]]}),
        CLASSIFY: (
            {"texts": ["first", "second"], "labels": ["news", "sports"]},
            {"labels": ["news", "sports"], "logits": [[12_500_000, -250_000], [0, 1]]},
        ),
    }
    for kind, (asked, answer) in numbers.items():
        input_json = _canonical({"v": 1, "salt": salt, **asked})
        result_json = _canonical(said | answer)
        facts = validate(kind, result_json, job, MODEL, 3, input_json)
        yield {
            "name": KINDS[kind],
            "inputJson": input_json.decode(),
            "resultJson": result_json.decode(),
            "units": facts.delivered,
            "rows": facts.rows,
        }
    measured: list[tuple[int, list[int], int]] = [
        (EMBED, [3_000, 22_500], 0),
        (EMBED, [0, 120_000], 0),
        (EMBED, [0, 0], 1_000),
        (CLASSIFY, [120_000, 0] * 32, 0),
        (CLASSIFY, [300_000, 0] * 2, 0),
        (CLASSIFY, [4_000_000, 0], 0),
        (CLASSIFY, [0, 2_000_000], 0),
        (CLASSIFY, [0, 0] * 33, 1_000),
    ]
    for kind, words, off in measured:
        texts = len(words) // (1 if kind == EMBED else 2)
        proof, states = _proof(texts), _check(texts, off)[: -4 * (texts + 1)]
        check = states + struct.pack(f"<{len(words)}I", *words)
        yield {
            "name": f"{KINDS[kind]} score",
            "texts": texts,
            "proof": hexed(proof),
            "check": hexed(check),
            "score": score_of(kind, proof, check, texts, UNCALIBRATED),
        }


def _canonical(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
