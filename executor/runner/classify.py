"""Kind `classify`: for each text of input.json how well each label fits it, as the model would answer the question.

The model is asked, by its own chat template, which label fits, and a label's logit is that of its first token as the
first token of the answer: one pass gives all labels. So no two labels may begin with the same token. A sum over all
tokens of a label would need a pass for each label, and would prefer short ones.
"""

from typing import TYPE_CHECKING

import numpy as np

from .fingerprint import Doubles, Floats, NotFinite
from .job import BadInput, Job, Read, Work, canonical
from .texts import (
    BATCH_TEXTS,
    SCALE,
    AskedTexts,
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

MAX_LABELS = 64
MAX_LABEL_CHARS = 128
MAX_LOGIT = 10**12
# Nodes and seats must ask the same: to change these words is to change the protocol.
QUESTION = "Which one of these labels fits the text best: {labels}? Answer with the label alone.\n\nText: {text}"


def work(job: Job, model: "Model") -> Work:
    """Raises Refused."""
    asked = read_labelled(job)
    prompts, labels = prompts_of(asked, model), label_ids(asked, model)
    require_paid(job, prompts, len(labels))
    model.require_memory(max(map(len, prompts)), job.memory_bytes)
    said = _claims(job, model, asked, prompts)
    yield Read(sum(map(len, prompts)))
    _, last = yield from model.reading(prompts, BATCH_TEXTS)
    logits, proof = in_millionths(model.logits_of(last, labels)), fingerprint(job, model, last)
    job.write("result.json", canonical({**said, "logits": logits.tolist()}))
    job.write("proof.bin", proof)


def check(job: Job, model: "Model") -> Work:
    """One pass a text over an answer; leaves check.bin. Raises BadInput as `check.work`."""
    asked = read_labelled(job)
    prompts, labels = prompts_of(asked, model), label_ids(asked, model)
    require_paid(job, prompts, len(labels))
    result = read_result(job, _claims(job, model, asked, prompts))
    theirs = read_numbers(result, "logits", len(prompts), len(labels), MAX_LOGIT)
    yield Read(sum(map(len, prompts)))
    _, last = yield from model.reading(prompts, 1)
    measured = differences(in_millionths(model.logits_of(last, labels)), theirs)
    job.write("check.bin", encode_check(job, model, last, measured))


def read_labelled(job: Job) -> AskedTexts:
    """The input, its labels short and no two the same. Raises BadInput."""
    asked = read_asked(job, MAX_LABELS)
    if any(len(label) > MAX_LABEL_CHARS for label in asked.labels):
        raise BadInput("bad_labels", f"a label has at most {MAX_LABEL_CHARS} characters")
    return asked


def prompts_of(asked: AskedTexts, model: "Model") -> list[list[int]]:
    """The question about each text, as token ids, with room for a token of the answer. Raises BadInput."""
    labels = ", ".join(asked.labels)
    return [
        model.prompts.prompt_ids([{"role": "user", "content": QUESTION.format(labels=labels, text=text)}], 1)
        for text in asked.texts
    ]


def label_ids(asked: AskedTexts, model: "Model") -> list[int]:
    """The first token of every label. Raises BadInput where two begin alike."""
    ids = [model.prompts.text_ids(label, special=False)[0] for label in asked.labels]
    first: dict[int, str] = {}
    for label, token in zip(asked.labels, ids, strict=True):
        if token in first:
            raise BadInput("labels_alike", f"the labels {first[token]!r} and {label!r} begin with the same token")
        first[token] = label
    return ids


def in_millionths(logits: Floats) -> Doubles:
    """Logits [n, labels] as whole millionths, int64. Raises NotFinite."""
    if not np.isfinite(logits).all() or np.abs(logits).max() * SCALE > MAX_LOGIT:
        raise NotFinite("a logit is not finite")
    return np.rint(logits.astype(np.float64) * SCALE).astype(np.int64)


def differences(ours: Doubles, theirs: Doubles) -> Doubles:
    """For each text, in logit units: the root mean square difference of the centred logits, and our best label's lead.

    What all labels have in common says nothing of them, so it is taken out first. The lead is over the label that they
    put first; 0 where it is ours. [n, 2]
    """
    off = (ours - theirs) / SCALE
    off = off - off.mean(axis=1, keepdims=True)
    chosen = np.take_along_axis(ours, theirs.argmax(axis=1)[:, None], axis=1)[:, 0]
    leads = (ours.max(axis=1) - chosen) / SCALE
    return np.stack([np.sqrt(np.square(off).mean(axis=1)), leads], axis=1)


def _claims(job: Job, model: "Model", asked: AskedTexts, prompts: list[list[int]]) -> dict[str, object]:
    return {**claims(job, model, asked, prompts), "labels": asked.labels}
