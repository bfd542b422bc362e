"""One job, told from request to receipt by fixed keys, with real signatures and real seals."""

import dataclasses
import hashlib
import json
import struct
from functools import cache
from typing import Any

from coincurve import PrivateKey

from node.wallet.sealing import public_key_of as hpke_public
from node.wallet.sealing import seal
from protocol.params import VCN
from protocol.stages import assignment as assigning
from protocol.stages import commitment, lane_notice, stop_order, verification
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.stages.execution import validate_fingerprint, validate_result
from protocol.stages.offer import Offer, SignedOffer
from protocol.stages.request import Request, SignedRequest
from protocol.wire.envelope import digest, sign_digest, struct_hash
from protocol.wire.ids import Address, JobId, address_of, cid_of, peer_id_of
from protocol.wire.merkle import path
from scripts.vectors.frame import DOMAIN, word

NOW_S = 1_800_000_000
TOKENS = 100
ASKED = 128
EXPECTED_MS = 10_000
ACTUAL_MS = 7_000
# The HPKE sealing of CONTENT_KEY for NODE_HPKE and INPUT_CID: it takes chance, so it cannot be made again.
SEALED_KEY = bytes.fromhex(
    "82882edc4aab3f13eba23c9f9f9630f525cd5c5ec431de9416da8b232c0fda22211fee2db74c8564"
    "09e154e9360e3e04c5dfa1b662ce8f2de0fd1fe7eaff0d462e8798dff997ecce7aea659e6287ec22"
)


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
INPUT = (
    b'{"messages":[{"content":"Why is the sky blue?","role":"user"}],"salt":"00112233445566778899aabbccddeeff","v":1}'
)
SEALED_INPUT = seal(CONTENT_KEY, b"input", INPUT)
INPUT_CID = cid_of(SEALED_INPUT)


def address_of_key(key: PrivateKey) -> Address:
    return address_of(key.public_key.format())


def signature_of(message: Any, key: PrivateKey) -> bytes:
    return sign_digest(digest(message, DOMAIN), key.secret)


@dataclasses.dataclass(frozen=True)
class ToldJob:
    """One job: its order, what came of it, its leaf, and the messages that were sent for it, by type."""

    order: assigning.AssignmentOrder
    job_id: JobId
    entry: commitment.LeafEntry
    result_json: bytes
    fingerprint: bytes
    messages: dict[type, Any]


@cache
def job_story() -> ToldJob:
    """The job from request to the opening of its fingerprint."""
    request = Request(
        client=address_of_key(CLIENT),
        signer=address_of_key(CLIENT),
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
        node_id=address_of_key(NODE),
        price=128 * VCN // 100,
        eta_ms=EXPECTED_MS,
        class_id=1,
        cached=True,
        hpke_key=hpke_public(NODE_HPKE),
        valid_until=NOW_S + 30,
    )
    total = assigning.order_total(offer.price, with_bonus=True)
    details = assigning.JobDetails(
        request_id=offer.request_id,
        offer_hash=digest(offer, DOMAIN),
        price=offer.price,
        bonus_cap=assigning.bonus_cap(offer.price),
        verify_fee=assigning.verify_fee(offer.price),
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
    assignment = assigning.Assignment(request.client, request.signer, offer.node_id, 1, total, struct_hash(details))
    order = assigning.AssignmentOrder(
        request=SignedRequest(request, signature_of(request, CLIENT)),
        offer=SignedOffer(offer, signature_of(offer, NODE)),
        assignment=assignment,
        details=details,
        signature=signature_of(assignment, CLIENT),
        sealed_key=SEALED_KEY,
        sealed_input=SEALED_INPUT,
    )
    assigning.require_consistent(order, DOMAIN)
    return _told(order, JobId(digest(assignment, DOMAIN)))


def _told(order: assigning.AssignmentOrder, job: JobId) -> ToldJob:
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
    fingerprint = fingerprint_bin(TOKENS)
    validate_result(result_json, job, MODEL, ASKED, "00112233445566778899aabbccddeeff")
    validate_fingerprint(fingerprint, TOKENS)
    sealed_result = seal(CONTENT_KEY, b"result" + job, result_json)
    result_hash, fingerprint_hash, salt = (
        hashlib.sha256(result_json).digest(),
        hashlib.sha256(fingerprint).digest(),
        word("salt"),
    )
    node, blob_cid = order.assignment.node, cid_of(sealed_result)
    commit = commitment.output_commit(node, job, 1, result_hash, fingerprint_hash, blob_cid, salt)
    result = commitment.Result(job, result_hash, commit, blob_cid)
    receipt = commitment.Receipt(job, result_hash, assigning.charge_of(order.details.price, TOKENS, ASKED), ACTUAL_MS)
    signed_receipt = commitment.SignedReceipt(receipt, signature_of(receipt, CLIENT))
    papers = commitment.SettledJob(job, order.assignment, order.details, order.signature, signed_receipt, result, salt)
    entry = commitment.LeafEntry(commitment.leaf_of(order, result, TOKENS, receipt), papers)
    commitment.require_papers(entry)
    accept, refuse = assigning.Accept(job, NOW_S * 1000 + 250), assigning.Refuse(job, assigning.RefuseCode.BUSY, 4_000)
    frame = seal(CONTENT_KEY, b"frame" + job + (0).to_bytes(4, "big"), struct.pack(">4I", *ids[:4]))
    batch = commitment.batch_id(node, 0, 1_000)
    nodes = [entry.leaf.node, entry.leaf.node]
    lane = assigning.LaneOpen(order.assignment.client, order.assignment.signer, node, 20 * VCN, 0, NOW_S + 600)
    stop = stop_order.StopOrder(job)
    said: list[Any] = [
        order.request,
        order.offer,
        lane_notice.SignedLaneOpen(lane, signature_of(lane, CLIENT), order.details.max_total),
        lane_notice.LaneCounted(lane_notice.lane_open_id(lane), lane_notice.total_after(lane)),
        order,
        assigning.SignedAccept(accept, signature_of(accept, NODE)),
        assigning.SignedRefuse(refuse, signature_of(refuse, NODE)),
        commitment.TokenFrame(job, 0, frame),
        stop_order.SignedStopOrder(stop, signature_of(stop, CLIENT)),
        commitment.ResultDelivery(result, signature_of(result, NODE), sealed_result),
        signed_receipt,
        commitment.ResultQuery(job),
        verification.SampleQuery(batch, hpke_public(word("hpke secret of the seat"))),
        verification.SampleOpening(batch, 0, entry, path(nodes, 0), SEALED_KEY, SEALED_INPUT, sealed_result),
        verification.FingerprintQuery(batch),
        verification.FingerprintOpening(batch, 0, fingerprint),
        verification.AuditQuery(batch, hpke_public(word("hpke secret of the auditor"))),
        verification.CheckOpening(batch, 0, check_bin(TOKENS, 0)),
    ]
    return ToldJob(order, job, entry, result_json, fingerprint, {type(message): message for message in said})


def fingerprint_bin(tokens: int) -> bytes:
    """proof.bin of a scale of 1/16 and numbers from -127 to 127."""
    numbers = [(7 * number) % 255 - 127 for number in range(8 * tokens)]
    return b"".join(
        struct.pack("<e", 1 / 16) + struct.pack(f"<{len(part)}b", *part)
        for part in (numbers[start : start + 256] for start in range(0, len(numbers), 256))
    )


def check_bin(tokens: int, off: int) -> bytes:
    """check.bin of a scale of 1/4000 over the same numbers, each `off` steps away; margins of -4,000 to 5,000
    ppm, the last one 0."""
    numbers = [250 * ((7 * number) % 255 - 127) + off for number in range(8 * tokens)]
    out = b""
    for start in range(0, len(numbers), 256):
        part = numbers[start : start + 256]
        out += struct.pack("<f", 1 / 4000) + struct.pack(f"<{len(part)}h", *part) + struct.pack("<d", 21.25)
    return out + struct.pack(f"<{tokens + 1}i", *((1_000 * number) % 10_000 - 4_000 for number in range(tokens)), 0)
