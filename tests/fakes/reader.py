"""The fake sandbox's jobs that only read: a model that is a hash of each text, and checks that fit its results.

A word is a token of it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from math import isqrt
from typing import Any

from protocol.judging.reading import SCALE, units_of
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import CHUNK_TOKENS, CLASS_DTYPES, Outcome, RunSpec
from protocol.stages.request import CLASSIFY, EMBED

Refusal = tuple[Outcome, str]


def refusal(spec: RunSpec, manifest: ModelManifest, asked: dict[str, Any]) -> Refusal | None:
    """Why a reading is not done."""
    labels = asked.get("labels", [])
    if not asked.get("texts") or any("\ud800" <= char <= "\udfff" for text in asked["texts"] for char in text):
        return Outcome.CLIENT, "bad_texts: there is none, or half a character"
    if (spec.kind == CLASSIFY) is not bool(labels):
        return Outcome.CLIENT, "bad_labels: too few or too many"
    if len({label[0] for label in labels}) < len(labels):
        return Outcome.CLIENT, "labels_alike: two begin alike"
    if any(count > manifest.context for count in _tokens(asked)):
        return Outcome.CLIENT, "text_too_long: over the context"
    if units_of(_tokens(asked)) > spec.max_new_tokens:
        return Outcome.CLIENT, "texts_too_long: more than was paid for"
    return None


def result(spec: RunSpec, manifest: ModelManifest, asked: dict[str, Any], model: bytes) -> bytes:
    """result.json of a model; an honest one is called b""."""
    plain = _claims(spec, asked) | _numbers(spec.kind, manifest, asked, model)
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def fingerprint(spec: RunSpec, asked: dict[str, Any], model: bytes) -> bytes:
    """proof.bin of a model."""
    out = b""
    for rows in _rows(spec, asked, model):
        scale = max(1, max(map(abs, rows)) // 127 + 1)
        (scale_read,) = struct.unpack("<e", struct.pack("<e", scale))
        out += struct.pack(f"<e{len(rows)}b", scale, *(max(-127, min(127, round(p / scale_read))) for p in rows))
    return out


def delivered(raw: bytes) -> int:
    """The units that a result has read."""
    return units_of(json.loads(raw)["tokens"])


def check(spec: RunSpec, manifest: ModelManifest, asked: dict[str, Any], raw: bytes) -> tuple[bytes, str]:
    """check.bin of an honest pass over somebody's result, or the problem that it has."""
    claim = json.loads(raw)
    for name, ours in _claims(spec, asked).items():
        if claim.get(name) != ours:
            code = "prompt_mismatch" if name == "prompt_token_ids_sha256" else "bad_result"
            return b"", f"{code}: result.json misstates {name}"
    ours = _numbers(spec.kind, manifest, asked, b"")
    if spec.kind == EMBED:
        pairs = zip(ours["embeddings"], claim["embeddings"], strict=True)
        measured = [isqrt(sum((a - b) ** 2 for a, b in zip(*pair, strict=True))) for pair in pairs]
    else:
        measured = []
        for mine, other in zip(ours["logits"], claim["logits"], strict=True):
            off = [a - b for a, b in zip(mine, other, strict=True)]
            mean = sum(off) // len(off)
            lead = max(mine) - mine[other.index(max(other))]
            measured += [isqrt(sum((each - mean) ** 2 for each in off) // len(off)), lead]
    return _states(spec, asked) + struct.pack(f"<{len(measured)}I", *measured), ""


def _claims(spec: RunSpec, asked: dict[str, Any]) -> dict[str, Any]:
    said = {
        "v": 1,
        "job_id": spec.job_id.hex(),
        "salt": asked["salt"],
        "manifest_sha256": spec.manifest.hex(),
        "dtype": CLASS_DTYPES[spec.class_id],
        "device_class": spec.class_id,
        "prompt_token_ids_sha256": hashlib.sha256(json.dumps(asked["texts"]).encode()).hexdigest(),
        "tokens": _tokens(asked),
    }
    return said | ({"labels": asked["labels"]} if spec.kind == CLASSIFY else {})


def _tokens(asked: dict[str, Any]) -> list[int]:
    return [len(text.split()) for text in asked["texts"]]


def _numbers(kind: int, manifest: ModelManifest, asked: dict[str, Any], model: bytes) -> dict[str, Any]:
    if kind == EMBED:
        return {"embeddings": [_vector(model + text.encode(), manifest.hidden) for text in asked["texts"]]}
    return {"logits": [[_logit(model + text.encode(), label) for label in asked["labels"]] for text in asked["texts"]]}


def _vector(seed: bytes, hidden: int) -> list[int]:
    raw = struct.unpack(f"<{hidden}h", hashlib.shake_256(seed).digest(2 * hidden))
    length = isqrt(sum(each * each for each in raw) * SCALE**2)
    return [each * SCALE * SCALE // length for each in raw]


def _logit(seed: bytes, label: str) -> int:
    return int.from_bytes(hashlib.sha256(seed + label.encode()).digest()[:4], "little", signed=True) // 1_000


def _states(spec: RunSpec, asked: dict[str, Any]) -> bytes:
    parts = _rows(spec, asked, b"")
    return b"".join(struct.pack(f"<f{len(rows)}hd", 1.0, *rows, sum(p * p for p in rows) / len(rows)) for rows in parts)


def _rows(spec: RunSpec, asked: dict[str, Any], model: bytes) -> list[list[int]]:
    """Eight projections of each text, whole numbers, in chunks."""
    texts = asked["texts"]
    digests = (hashlib.sha256(model + spec.job_id + text.encode()).digest() for text in texts)
    rows = [struct.unpack("<8h", digest[:16]) for digest in digests]
    parts = (rows[start : start + CHUNK_TOKENS] for start in range(0, len(rows), CHUNK_TOKENS))
    return [[number for row in part for number in row] for part in parts]
