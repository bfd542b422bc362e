"""Hashes that bind a result, and what judges make of it."""

import hashlib
import json
import struct
from collections.abc import Iterator
from typing import Any

from protocol.judging.kinds import score_of, validate
from protocol.judging.margins import margin_llr
from protocol.stages import verification as verifying
from protocol.stages.commitment import ResultDelivery
from protocol.stages.execution import sampling_seed
from protocol.stages.request import CLASSIFY, EMBED, KINDS
from protocol.wire.ids import JobId
from protocol.wire.merkle import root
from scripts.vectors.frame import Case, case, word
from scripts.vectors.job import MODEL, TOKENS, check_bin, fingerprint_bin, job_story

MARGIN_SCORES = verifying.MarginScores((-2_000, 1, 2_000, 4_000), (0, -900, 40, 20, 150))


def verification() -> Iterator[Case]:
    """Hashes that bind a result, and scores of fingerprints against checks."""
    told = job_story()
    batch = told.messages[verifying.FingerprintQuery].batch_id
    result, entry = told.messages[ResultDelivery].result, told.entry
    assert entry.job is not None
    yield case(
        name="commitments",
        job_id=told.job_id,
        seed=sampling_seed(told.job_id, told.order.details.seed_nonce),
        result_json=told.result_json.decode(),
        result_hash=result.result_hash,
        fingerprint_hash=hashlib.sha256(told.fingerprint).digest(),
        salt=entry.job.salt,
        output_commit=result.output_commit,
        leaf_hash=entry.leaf.node.hash,
        root=root([entry.leaf.node, entry.leaf.node]).hash,
        batch_id=batch,
        projection_bits=hashlib.sha256(b"p" + told.job_id + bytes(4)).digest(),
    )
    checks = [check_bin(TOKENS, 0), b""]
    digest_ = verifying.checks_digest(checks)
    llr_millinats = margin_llr(verifying.token_margins(checks[0], TOKENS), MARGIN_SCORES)
    yield case(
        name="seat",
        check_hashes=[hashlib.sha256(check).digest() for check in checks],
        digest=digest_,
        llr_millinats=llr_millinats,
        salt=word("seat salt"),
        commitment=verifying.seat_commitment(batch, 0, 2, digest_, word("seat salt"), llr_millinats),
    )
    yield case(name="manifest", json=MODEL.encode().decode(), cid=MODEL.cid)
    for tokens, off in ((1, 0), (1, 40), (33, 0), (33, 400), (33, 900), (64, 1_000)):
        fingerprint, check = fingerprint_bin(tokens), check_bin(tokens, off)
        found = verifying.distances(fingerprint, check, tokens)
        shown = case(name="score", tokens=tokens, fingerprint=fingerprint, check=check)
        yield shown | case(found, score=verifying.score(fingerprint, check, tokens, verifying.UNCALIBRATED))
    yield case(
        name="auditor",
        auditor=1,
        off=[0, 2],
        score=9_800,
        salt=word("auditor salt"),
        commitment=verifying.audit_commitment(batch, 1, (0, 2), 9_800, word("auditor salt")),
    )
    yield case(name="margins") | case(MARGIN_SCORES, hash=MARGIN_SCORES.hash, llr_millinats=llr_millinats)
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
        yield case(
            name=KINDS[kind],
            input_json=input_json.decode(),
            result_json=result_json.decode(),
            units=facts.delivered,
            rows=facts.rows,
        )
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
        fingerprint, states = fingerprint_bin(texts), check_bin(texts, off)[: -4 * (texts + 1)]
        check = states + struct.pack(f"<{len(words)}I", *words)
        yield case(
            name=f"{KINDS[kind]} score",
            texts=texts,
            fingerprint=fingerprint,
            check=check,
            score=score_of(kind, fingerprint, check, texts, verifying.UNCALIBRATED),
        )


def _canonical(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
