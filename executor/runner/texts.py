"""Jobs whose model only reads: their input, what all their results say, and what a check of them shares.

input.json is {"v": 1, "salt": 16 bytes in hex, "texts": [...]}, for `classify` with "labels" beside. What is paid for
are units of 32 tokens read, each text at least one: `max_new_tokens` of the spec is how many.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .fingerprint import Doubles, Floats, encode_proof, encode_states, projection, whiten
from .generate import MAX_NEW_TOKENS, dtype_of, read_act_w
from .job import BadInput, Job, is_text
from .prompts import ids_sha256

if TYPE_CHECKING:
    from .model import Model

UNIT_TOKENS = 32
SCALE = 10**6
MAX_TEXTS = 1024
MAX_NUMBERS = 1 << 18
MAX_INPUT_BYTES, MAX_RESULT_BYTES = 8 << 20, 4 << 20
BATCH_TEXTS = 8
"""Texts that a worker reads in one pass; a check reads each alone, so that honest noise is what it is between nodes."""
WORD_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class AskedTexts:
    """input.json, read."""

    salt: str
    texts: list[str]
    labels: list[str]


def read_asked(job: Job, most_labels: int) -> AskedTexts:
    """Salt, texts and labels of input.json; with `most_labels` 0 there are none. Raises BadInput."""
    asked = job.read("input.json", MAX_INPUT_BYTES)
    salt, texts, labels = asked.get("salt"), asked.get("texts"), asked.get("labels", [])
    if asked.get("v") != 1 or not isinstance(salt, str) or not re.fullmatch("[0-9a-f]{32}", salt):
        raise BadInput("bad_input", "input.json must be of version 1 with a salt of 16 bytes in hex")
    if not isinstance(texts, list) or not 1 <= len(texts) <= MAX_TEXTS or not all(map(is_text, texts)):
        raise BadInput("bad_texts", f"texts must be a list of 1 to {MAX_TEXTS} texts that are not empty")
    fewest = min(most_labels, 2)
    if not isinstance(labels, list) or not fewest <= len(labels) <= most_labels or not all(map(is_text, labels)):
        raise BadInput("bad_labels", f"labels must be a list of {fewest} to {most_labels} texts that are not empty")
    return AskedTexts(salt, texts, labels)


def require_paid(job: Job, prompts: list[list[int]], width: int) -> None:
    """Raises BadInput where more is to be read than was paid for, or the result would be too large."""
    paid = job.number("max_new_tokens", 1, MAX_NEW_TOKENS)
    units = sum(-(-len(prompt) // UNIT_TOKENS) for prompt in prompts)
    if units > paid:
        raise BadInput("texts_too_long", f"the texts are {units} units, and {paid} are paid for", units=units)
    if len(prompts) * width > MAX_NUMBERS:
        raise BadInput("too_many_texts", f"{len(prompts)} texts of {width} numbers each are over {MAX_NUMBERS}")


def claims(job: Job, model: "Model", asked: AskedTexts, prompts: list[list[int]]) -> dict[str, object]:
    """What a result says beside its numbers. Raises BadSpec."""
    dtype, device_class = dtype_of(job)
    # One temperature alone makes sense where nothing is drawn.
    job.number("temperature_milli", 0, 0)
    return {
        "v": 1,
        "job_id": job.id.hex(),
        "salt": asked.salt,
        "manifest_sha256": model.manifest_sha256.hex(),
        "dtype": dtype,
        "device_class": device_class,
        # Each text's length among them, so that no two lists of texts run together to the same.
        "prompt_token_ids_sha256": ids_sha256([i for prompt in prompts for i in (len(prompt), *prompt)]),
        "tokens": [len(prompt) for prompt in prompts],
    }


def read_result(job: Job, ours: dict[str, object]) -> dict[str, Any]:
    """result.json, as far as it says what we say of the job ourselves.

    Raises BadInput, with code bad_result or prompt_mismatch: the answer is at fault, not the input.
    """
    result = job.read("result.json", MAX_RESULT_BYTES)
    for name, said in ours.items():
        if result.get(name) != said:
            code = "prompt_mismatch" if name == "prompt_token_ids_sha256" else "bad_result"
            raise BadInput(code, f"result.json misstates {name}")
    return result


def read_numbers(result: dict[str, Any], name: str, texts: int, width: int, largest: int) -> Doubles:
    """A result's whole numbers as doubles [texts, width], which hold them exactly. Raises BadInput."""
    rows = result.get(name)
    if not isinstance(rows, list) or len(rows) != texts:
        raise BadInput("bad_result", f"result.json must hold {name} of {texts} texts")
    for row in rows:
        if not isinstance(row, list) or len(row) != width or not all(_is_number(i, largest) for i in row):
            raise BadInput("bad_result", f"{name} must be {width} whole numbers a text")
    return np.array(rows, np.float64)


def fingerprint(job: Job, model: "Model", states: Floats) -> bytes:
    """proof.bin of the last hidden state of each text [n, hidden]."""
    return encode_proof(whiten(states, read_act_w(model.hidden)), projection(job.id, model.hidden))


def encode_check(job: Job, model: "Model", states: Floats, measured: Doubles) -> bytes:
    """check.bin: the projections of the last hidden state of each text [n, hidden], then what was measured.

    Args: measured, in units of one, any number a text.
    """
    whitened = whiten(states, read_act_w(model.hidden))
    millionths = np.clip(np.rint(measured * SCALE), 0, WORD_MAX).astype("<u4")
    return encode_states(whitened, projection(job.id, model.hidden)) + bytes(millionths.tobytes())


def _is_number(value: object, largest: int) -> bool:
    return type(value) is int and -largest <= value <= largest
