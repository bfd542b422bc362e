"""Kind `embed`: an embedding of each text of input.json, the mean of the last hidden states over its tokens.

The states are those after the final norm. The vector is brought to length one and its components are written as whole
millionths, which change it by less than a hundredth of the noise between two ways to compute it.
"""

from typing import TYPE_CHECKING

import numpy as np

from .fingerprint import Doubles, Floats, NotFinite
from .job import Job, Read, Work, canonical
from .texts import (
    BATCH_TEXTS,
    SCALE,
    claims,
    encode_check,
    fingerprint,
    read_asked,
    read_numbers,
    read_result,
    require_paid,
)

if TYPE_CHECKING:
    from .model import Model


def work(job: Job, model: "Model") -> Work:
    """Raises Refused."""
    asked = read_asked(job, 0)
    prompts = [model.prompts.text_ids(text) for text in asked.texts]
    require_paid(job, prompts, model.hidden)
    model.require_memory(max(map(len, prompts)), job.memory_bytes)
    said = claims(job, model, asked, prompts)
    yield Read(sum(map(len, prompts)))
    pooled, last = yield from model.reading(prompts, BATCH_TEXTS)
    proof = fingerprint(job, model, last)
    job.write("result.json", canonical({**said, "embeddings": in_millionths(pooled).tolist()}))
    job.write("proof.bin", proof)


def check(job: Job, model: "Model") -> Work:
    """One pass a text over an answer; leaves check.bin. Raises BadInput as `check.work`."""
    asked = read_asked(job, 0)
    prompts = [model.prompts.text_ids(text) for text in asked.texts]
    require_paid(job, prompts, model.hidden)
    result = read_result(job, claims(job, model, asked, prompts))
    theirs = read_numbers(result, "embeddings", len(prompts), model.hidden, SCALE)
    yield Read(sum(map(len, prompts)))
    pooled, last = yield from model.reading(prompts, 1)
    job.write("check.bin", encode_check(job, model, last, distances(in_millionths(pooled), theirs)))


def in_millionths(pooled: Floats) -> Doubles:
    """Vectors [n, hidden] of length one, in whole millionths, int64. Raises NotFinite."""
    vectors = pooled.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise NotFinite("an embedding has no direction")
    return np.rint(vectors / lengths * SCALE).astype(np.int64)


def distances(ours: Doubles, theirs: Doubles) -> Doubles:
    """|u/|u| - v/|v|| of every pair of rows; a vector without a direction is as far as any can be."""
    left, right = (each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-9) for each in (ours, theirs))
    found = np.linalg.norm(left - right, axis=1)
    return np.where(np.any(theirs, axis=1), found, 2.0)
