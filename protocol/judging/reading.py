"""Readings: what a model makes of texts that it only reads, an embedding of each, or a logit for each label.

A result holds whole numbers, so that everybody reads the same: an embedding as millionths of a vector of length one, a
logit in millionths. A client pays for units of 32 tokens read, each text at least one. The fingerprint is of the
hidden state after the last token of each text: who knows that one has done all the work, and no result gives it away,
so a seat that only copied what it was shown is found by auditors.

proof.bin is laid out as for generated text (see `verification`), with a row for each text; so are the projections of
check.bin. After them come for every text as uint32 millionths, little-endian: of an embedding its distance; of a
classification the root mean square difference of the centred logits, and by how much the check's own best label leads
the one that the result puts first.
"""

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import isqrt
from typing import Any

from protocol.params import REVIEW_ABOVE_BPS
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import CHUNK_TOKENS, InvalidResult, read_result
from protocol.stages.request import CLASSIFY, EMBED
from protocol.stages.verification import Calibration, Chunk, Tolerance, read_states, score_bps, state_distances
from protocol.wire.ids import JobId

UNIT_TOKENS = 32
"""Tokens read for the price of one written: reading is some forty times as fast, so this leaves a node its profit."""
SCALE = 10**6
MAX_TEXTS = 1_024
MAX_LABELS = 64
MAX_LABEL_CHARS = 128
MAX_NUMBERS = 1 << 18
"""Numbers in one result: it then fits what a node keeps of a container's."""
MAX_LOGIT = 10**12
LENGTH_WITHIN = 1_000
"""How far an embedding's length may be from one, in ppm; rounding takes a tenth of that from one of 40,000 numbers."""
SETTLED_TEXTS = 32
"""So many texts are judged by the constants as they are; fewer by wider ones."""
CLEARLY = 2
"""A text is clearly wrong at so many times what would make a job of one text fail."""

WIDE = {EMBED: Tolerance(20_000, 30_000), CLASSIFY: Tolerance(120_000, 225_000)}
"""Constants of a model that was not measured for a kind: always drawn, and never slashed."""
NUMBERS_A_TEXT = {EMBED: 1, CLASSIFY: 2}


@dataclass(frozen=True, slots=True)
class Texts:
    """The demands of an input on a result: the number of its texts, and the labels to classify them by, if any."""

    salt: str | None
    count: int
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadingFacts:
    """A result.json of a reading that passed local validation. `tokens`: of each text, as it was read."""

    tokens: tuple[int, ...]
    result_hash: bytes
    finish: str = ""

    @property
    def delivered(self) -> int:
        """The units of all texts."""
        return units_of(self.tokens)

    @property
    def rows(self) -> int:
        """Hidden states in a check of it: one a text."""
        return len(self.tokens)


def units_of(tokens: Iterable[int]) -> int:
    """The units that texts of so many tokens cost."""
    return sum(max(1, -(-count // UNIT_TOKENS)) for count in tokens)


def read_texts(kind: int, input_json: bytes) -> Texts:
    """The demands of an input, as far as a result can be held against it; the runner judges the rest.

    Raises: InvalidResult: no honest node has a result for it.
    """
    try:
        plain = json.loads(input_json)
        texts, labels, salt = plain["texts"], plain.get("labels", []), plain.get("salt")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidResult("the input holds no texts") from error
    _require(isinstance(texts, list) and 1 <= len(texts) <= MAX_TEXTS, "the input's texts: count")
    _require(isinstance(labels, list) and all(isinstance(label, str) for label in labels), "the input's labels")
    _require(2 <= len(labels) <= MAX_LABELS if kind == CLASSIFY else not labels, "the input's labels: count")
    return Texts(salt if isinstance(salt, str) else None, len(texts), tuple(labels))


def validate_reading(
    kind: int, raw: bytes, job_id: JobId, manifest: ModelManifest, paid_units: int, texts: Texts
) -> ReadingFacts:
    """Local validation of an embedding or a classification; every seat applies the same one.

    Args: raw, the bytes of result.json; texts, what the input asks for.
    Raises: InvalidResult.
    """
    plain = read_result(raw, job_id, manifest, texts.salt)
    tokens = plain.get("tokens")
    if not isinstance(tokens, list):
        raise InvalidResult("tokens")
    _require(len(tokens) == texts.count, "tokens: count")
    _require(all(type(count) is int and 1 <= count <= manifest.context for count in tokens), "tokens: range")
    _require(units_of(tokens) <= paid_units, "more was read than was paid for")
    if kind == EMBED:
        _require_unit_vectors(plain.get("embeddings"), len(tokens), manifest.hidden)
    else:
        _require(plain.get("labels") == list(texts.labels), "labels: not those that were asked for")
        _require_numbers(plain.get("logits"), "logits", len(tokens), len(texts.labels), MAX_LOGIT)
    return ReadingFacts(tuple(tokens), hashlib.sha256(raw).digest())


def tolerance_of(kind: int, calibration: Calibration) -> Tolerance:
    """The noise constants of a kind; wide ones where the model was not measured for it."""
    return (calibration.embed if kind == EMBED else calibration.classify) or WIDE[kind]


def reading_score(kind: int, fingerprint: bytes, check: bytes, texts: int, calibration: Calibration) -> int:
    """The score of one leaf in basis points: above 9500 it passes, at 8500 or below it fails.

    The states behind the result count as well as the result, and the worse of both is the score.
    Args: fingerprint, already validated; check, made by this seat's own runner over so many texts.
    Raises: ValueError if check.bin has not the length that `texts` gives, or a number in it is not finite.
    """
    chunks, found = split_check(kind, check, texts)
    act, chunk = state_distances(fingerprint, chunks)
    differences, leads = (found, found) if kind == EMBED else (found[::2], found[1::2])
    tolerance = tolerance_of(kind, calibration)
    if max(leads) > CLEARLY * _for_texts(tolerance, 1).d1:
        return 0
    # One that is noisy by chance does no harm, and half of them done well buy the other half nothing.
    mean = isqrt(sum(each * each for each in differences) // texts)
    numbers = score_bps(mean, _for_texts(tolerance, texts))
    if kind == CLASSIFY and texts == 1:
        # The few logits of one text prove no cheat.
        numbers = max(numbers, REVIEW_ABOVE_BPS + 1)
    return min(
        score_bps(act, _for_states(calibration.act, texts)),
        score_bps(chunk, _for_states(calibration.chunk, texts % CHUNK_TOKENS or CHUNK_TOKENS)),
        numbers,
    )


def _for_texts(tolerance: Tolerance, count: int) -> Tolerance:
    """The tolerance grows as the fourth root of n below the texts at which it was calibrated.

    A mean of squares varies as one over the root of how many there are, and its root with the root of that.
    """
    if count >= SETTLED_TEXTS:
        return tolerance
    room = isqrt(isqrt(SETTLED_TEXTS * SCALE**4 // count))
    return Tolerance(tolerance.d0 * room // SCALE, tolerance.d1 * room // SCALE)


def _for_states(tolerance: Tolerance, count: int) -> Tolerance:
    """The tolerance of so many states: projections tell their distance to one in 4 sqrt(n), and twice that is added."""
    root = isqrt(4 * count * SCALE)
    return Tolerance(*(bound + bound * isqrt(SCALE) // root for bound in (tolerance.d0, tolerance.d1)))


def split_check(kind: int, check: bytes, texts: int) -> tuple[list[Chunk], tuple[int, ...]]:
    """The projections of a check.bin of so many texts, and the numbers behind them.

    Raises: ValueError if it has not the right length, or a number is not finite.
    """
    chunks, rest = read_states(check, texts)
    if not texts or len(rest) != 4 * NUMBERS_A_TEXT[kind] * texts:
        raise ValueError("check.bin has the wrong length")
    return chunks, struct.unpack(f"<{len(rest) // 4}I", rest)


def _require_unit_vectors(vectors: Any, texts: int, hidden: int) -> None:
    _require_numbers(vectors, "embeddings", texts, hidden, SCALE)
    low, high = (SCALE - LENGTH_WITHIN) ** 2, (SCALE + LENGTH_WITHIN) ** 2
    lengths = (sum(number * number for number in vector) for vector in vectors)
    _require(all(low <= length <= high for length in lengths), "embeddings: length")


def _require_numbers(rows: Any, name: str, texts: int, width: int, largest: int) -> None:
    _require(isinstance(rows, list) and len(rows) == texts, f"{name}: count")
    _require(texts * width <= MAX_NUMBERS, f"{name}: too many numbers")
    for row in rows:
        _require(isinstance(row, list) and len(row) == width, f"{name}: width")
        _require(all(type(number) is int and -largest <= number <= largest for number in row), f"{name}: range")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise InvalidResult(what)
