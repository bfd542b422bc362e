"""Verification: a seat's re-check of one result, as one score in basis points.

A node publishes a fingerprint of the hidden states that chose its tokens (proof.bin). A seat runs one teacher-forced
pass over the same prompt and tokens and gets its own projections, and for every token the margin by which another one
was the choice (check.bin). Four terms compare them, and the worst one counts: the fingerprint as a whole (act), its
worst chunk (chunk), the mean margin (tok), the largest margin (worst). All of it is integer arithmetic over the bytes,
so that every machine gets the same score.

Layout of proof.bin, per chunk of 32 tokens (the last one shorter): fp16 scale, then 8 int8 a token.
Layout of check.bin, per chunk: float32 scale, 8 int16 a token, float64 mean square of a whitened component; then for
every token and for the stop one int32, the margin in millionths of a nat; below zero it was the choice, by so much. All
little-endian.
"""

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from itertools import pairwise
from math import isqrt
from typing import Annotated

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocol.params import MAX_FINGERPRINT_BYTES, MAX_INLINE_BYTES, PASS_ABOVE_BPS, REVIEW_ABOVE_BPS
from protocol.stages.commitment import LeafEntry
from protocol.stages.execution import CHUNK_TOKENS
from protocol.wire.codec import U24, Bytes32, Size
from protocol.wire.ids import BatchId
from protocol.wire.merkle import SumNode
from protocol.wire.names import wire_class

DIMENSIONS = 8
MARGIN_CLIP_PPM = 1_000_000
SHORT_ANSWER = 16
CALIBRATED_TOKENS = 64
MAX_CHECK_BYTES = 1 << 20
MAX_MARGIN_SCORES, MAX_MARGIN_SCORE = 64, 20_000
"""How many steps a table of margin scores may have, and how much one token may say, in thousandths of a nat."""
MAX_SHOWN_CHECK_BYTES = 120 * 1024
"""The most that fits a message: of an answer of some 6,000 tokens. Seats of longer ones are not audited."""
NOTHING_SHOWN_BPS = 0xFFFF
"""The score of an auditor to whom no seat has shown a leaf."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Distances in ppm: up to d0 a result passes, from d1 on it fails."""

    d0: int
    d1: int


@dataclass(frozen=True, slots=True)
class MarginScores:
    """The log-likelihood ratio of one token's margin, in thousandths of a nat.

    A margin of `margin` ppm scores `scores[bisect_right(edges, margin)]`: edges rise, and there is one score more.
    """

    edges: tuple[int, ...]
    scores: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raises: ValueError if this is no step function over margins."""
        if len(self.edges) >= MAX_MARGIN_SCORES or len(self.scores) != len(self.edges) + 1:
            raise ValueError(f"{len(self.scores)} scores for {len(self.edges)} edges")
        if any(abs(edge) >= 2**31 for edge in self.edges):
            raise ValueError("an edge is no margin")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("edges do not rise")
        if any(abs(score) > MAX_MARGIN_SCORE for score in self.scores):
            raise ValueError(f"a score is over {MAX_MARGIN_SCORE}")

    @property
    def hash(self) -> bytes:
        """As it stands in Params: sha256 over the name, then edges and scores as big-endian 32-bit numbers."""
        counts = struct.pack(f">I{len(self.edges)}i{len(self.scores)}i", len(self.edges), *self.edges, *self.scores)
        return hashlib.sha256(b"vcoin/margin-scores/1" + counts).digest()


@dataclass(frozen=True, slots=True)
class Calibration:
    """The noise constants of a model on a device class, from Params. `calibrated` is false where there are none.

    embed and classify are None for a kind of output that was not measured, margins where they were not weighed.
    """

    act: Tolerance
    chunk: Tolerance
    tok: Tolerance
    worst: Tolerance
    calibrated: bool = True
    embed: Tolerance | None = None
    classify: Tolerance | None = None
    margins: MarginScores | None = None


UNCALIBRATED = Calibration(
    Tolerance(48_000, 54_000),
    Tolerance(54_000, 66_000),
    Tolerance(22_500, 45_000),
    Tolerance(1_500_000, 3_000_000),
    calibrated=False,
)
"""The constants of a class without a row: wide, always drawn, and never slashed."""


NOT_FOR_US = "the content key is not sealed to this node"
"""The finding of a seat that was given another one's key: the only problem that a node could deny."""


class Verdict(IntEnum):
    """Outcomes of a case, as the Court numbers them."""

    NONE = 0
    PASS = 1
    REVIEW = 2
    SEVERE = 3
    SHORT = 4
    """Something was found, but too few verifiers were left to confirm it."""
    STARVED = 5
    WITHHELD = 6
    """The node did not show on chain what a seat had asked for."""


@wire_class("SampleQuery")
class SampleQuery:
    """A drawn seat asks for the leaves it has to check; the answer is sealed to `hpke_key`."""

    batch_id: Bytes32
    hpke_key: Bytes32


@wire_class("SampleOpening")
class SampleOpening:
    """One drawn leaf for one seat: proof that it is in the batch, and its content sealed to the seat."""

    batch_id: Bytes32
    leaf_index: U24
    entry: LeafEntry
    siblings: tuple[SumNode, ...]
    sealed_key: Annotated[bytes, Size(128)]
    sealed_input: Annotated[bytes, Size(MAX_INLINE_BYTES)]
    sealed_result: Annotated[bytes, Size(MAX_INLINE_BYTES)]


@wire_class("FingerprintQuery")
class FingerprintQuery:
    """A seat whose commitment is on chain asks for the fingerprints."""

    batch_id: Bytes32


@wire_class("FingerprintOpening")
class FingerprintOpening:
    """The fingerprint of one drawn leaf; with the salt of the opening it must give the output commitment."""

    batch_id: Bytes32
    leaf_index: U24
    fingerprint: Annotated[bytes, Size(MAX_FINGERPRINT_BYTES)]


@wire_class("AuditQuery")
class AuditQuery:
    """An auditor asks a seat what it was shown and what it has computed; content keys are to be sealed to `hpke_key`.

    Answered by a SampleOpening, a FingerprintOpening and a CheckOpening for each drawn leaf.
    """

    batch_id: Bytes32
    hpke_key: Bytes32


@wire_class("CheckOpening")
class CheckOpening:
    """A seat's own pass of one drawn leaf: its check.bin, empty where there was nothing to compute."""

    batch_id: Bytes32
    leaf_index: U24
    check: Annotated[bytes, Size(MAX_SHOWN_CHECK_BYTES)]


Chunk = tuple[Fraction, tuple[int, ...], Fraction]
"""Of a check.bin: scale, projections, and the mean square of a whitened component."""


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a score: its distance in ppm, up to where it passes and from where it fails, its score in bp."""

    name: str
    distance: int
    tolerance: Tolerance
    score: int


@dataclass(frozen=True, slots=True)
class Distances:
    """The four terms of one check, in ppm."""

    act: int
    chunk: int
    tok: int
    worst: int


def seat_commitment(
    batch: BatchId, round_number: int, seat: int, digest: bytes, salt: bytes, llr_millinats: int = 0
) -> bytes:
    """The commitment that a seat posts before it may see the fingerprint; twin of Court."""
    kinds = ["bytes32", "uint8", "uint8", "bytes32", "int32", "bytes32"]
    return keccak(encode(kinds, [batch, round_number, seat, digest, llr_millinats, salt]))


def audit_commitment(batch: BatchId, auditor: int, off: Sequence[int], score_bps: int, salt: bytes) -> bytes:
    """An auditor's commitment, posted before others reveal; twin of Audits. `off`: the seats that did not compute."""
    flags = sum(1 << seat for seat in off)
    return keccak(
        encode(["bytes32", "uint8", "uint256", "uint16", "bytes32"], [batch, auditor, flags, score_bps, salt])
    )


def checks_digest(checks: list[bytes]) -> bytes:
    """The digest that a seat commits to: over its check.bin of every drawn leaf, in order."""
    return hashlib.sha256(b"vcoin/checks/1" + b"".join(hashlib.sha256(check).digest() for check in checks)).digest()


def score(fingerprint: bytes, check: bytes, token_count: int, calibration: Calibration) -> int:
    """The score of one leaf in basis points: above 9500 it passes, at 8500 or below it fails.

    Args: fingerprint, already validated by `validate_fingerprint`; check, made by this seat's own runner.
    Raises: ValueError if check.bin has not the length that `token_count` gives.
    """
    return points(distances(fingerprint, check, token_count), token_count, calibration)


def points(found: Distances, token_count: int, calibration: Calibration) -> int:
    """The score that distances give, in basis points: that of the worst term."""
    return min(term.score for term in terms(found, token_count, calibration))


def terms(found: Distances, token_count: int, calibration: Calibration) -> tuple[Term, ...]:
    """Each term with what it is measured by; see the head of this module."""
    held = (
        ("act", found.act, calibration.act),
        ("chunk", found.chunk, calibration.chunk),
        ("tok", found.tok, _for_length(calibration.tok, token_count)),
        ("worst", found.worst, calibration.worst),
    )
    return tuple(Term(name, distance, within, score_bps(distance, within)) for name, distance, within in held)


def distances(fingerprint: bytes, check: bytes, token_count: int) -> Distances:
    """The four terms in ppm.

    Raises: ValueError if check.bin has not the right length or holds a number that is not finite.
    """
    chunks, standings = _split(check, token_count)
    margins = _behind(standings)
    act, worst_chunk = state_distances(fingerprint, chunks)
    return Distances(act, worst_chunk, _mean_margin(margins, token_count), max(margins))


def state_distances(fingerprint: bytes, chunks: list[Chunk]) -> tuple[int, int]:
    """How far a fingerprint lies from the states of a check in ppm: as a whole, and in its worst chunk."""
    claimed: list[tuple[Fraction, tuple[int, ...]]] = []
    offset = 0
    for _, rows, _ in chunks:
        (scale,) = struct.unpack_from("<e", fingerprint, offset)
        claimed.append((Fraction(scale), struct.unpack_from(f"<{len(rows)}b", fingerprint, offset + 2)))
        offset += 2 + len(rows)
    return _apart(claimed, chunks)


def margins_of(check: bytes, token_count: int) -> tuple[int, ...]:
    """By how much each token, and the stop, was not a seat's own choice: ppm of a nat. Raises: as `distances`."""
    return _behind(_split(check, token_count)[1])


def margin_distances(check: bytes, token_count: int) -> Distances:
    """The judgement of a seat's pass on an answer without its fingerprint: the margins of its tokens, in ppm.

    Raises: as `distances`.
    """
    margins = margins_of(check, token_count)
    return Distances(0, 0, _mean_margin(margins, token_count), max(margins))


def token_margins(check: bytes, token_count: int) -> tuple[int, ...]:
    """The margin of every token in ppm, without that of the stop; below zero it was a seat's own choice, by so much.

    Raises: ValueError if check.bin has not the right length or holds a number that is not finite.
    """
    return _split(check, token_count)[1][:token_count]


def is_check_shown(token_count: int) -> bool:
    """Whether the check.bin of so many tokens fits what a seat shows an auditor."""
    chunks = -(-token_count // CHUNK_TOKENS)
    return chunks * 12 + 2 * DIMENSIONS * token_count + 4 * (token_count + 1) <= MAX_SHOWN_CHECK_BYTES


def checks_differ(own: bytes, theirs: bytes, token_count: int, calibration: Calibration) -> bool:
    """Whether another seat's check.bin is not a pass over the same leaf: by what a verdict would call a failure.

    Both have made the same pass on the same class, so honest ones are as close as a machine repeats itself. Of `theirs`
    anything may be expected; an empty `own` says that there was nothing to compute.
    Raises: ValueError if `own` has not the right length.
    """
    return passes_differ(own, theirs, lambda check: _split(check, token_count)[0], calibration)


def passes_differ(
    own: bytes, theirs: bytes, states_of: Callable[[bytes], list[Chunk]], calibration: Calibration
) -> bool:
    """As `checks_differ`, of any kind of job. Args: states_of, the projections in a check.bin of that kind."""
    if not own or not theirs:
        return own != theirs
    mine = states_of(own)
    try:
        other = [(scale, rows) for scale, rows, _ in states_of(theirs)]
    except ValueError:
        return True
    act, worst_chunk = _apart(other, mine)
    return act > calibration.act.d1 or worst_chunk > calibration.chunk.d1


def score_bps(distance: int, tolerance: Tolerance) -> int:
    """One term as a score: 10000..9500 up to d0, 9500..8500 up to d1, falling as 8500 d1/d beyond."""
    if distance <= tolerance.d0:
        return 10_000 - 500 * distance // max(tolerance.d0, 1)
    if distance <= tolerance.d1:
        return PASS_ABOVE_BPS - 1_000 * (distance - tolerance.d0) // (tolerance.d1 - tolerance.d0)
    return REVIEW_ABOVE_BPS * tolerance.d1 // distance


def _behind(standings: tuple[int, ...]) -> tuple[int, ...]:
    """Clamp margins at zero: a token that the verifier would have chosen counts 0, however large its lead."""
    return tuple(max(0, each) for each in standings)


def _mean_margin(margins: tuple[int, ...], token_count: int) -> int:
    clipped = sum(min(margin, MARGIN_CLIP_PPM) for margin in margins[:token_count])
    # A mean over few tokens is dominated by one of them: count a short answer as one of 16 tokens.
    return clipped // max(token_count, SHORT_ANSWER)


def _for_length(tolerance: Tolerance, token_count: int) -> Tolerance:
    """The margin's tolerance grows as 1/sqrt(n) below the 64 tokens at which it was calibrated."""
    if token_count >= CALIBRATED_TOKENS:
        return tolerance
    root = isqrt(max(token_count, SHORT_ANSWER))
    return Tolerance(tolerance.d0 * isqrt(CALIBRATED_TOKENS) // root, tolerance.d1 * isqrt(CALIBRATED_TOKENS) // root)


def _mean_error(claimed_scale: Fraction, claimed: tuple[int, ...], scale: Fraction, rows: tuple[int, ...]) -> Fraction:
    """Mean of (s q - s' q')^2 over a chunk, exactly."""
    own = sum(q * q for q in rows)
    theirs = sum(q * q for q in claimed)
    cross = sum(a * b for a, b in zip(claimed, rows, strict=True))
    return (claimed_scale**2 * theirs - 2 * claimed_scale * scale * cross + scale**2 * own) / len(rows)


def _apart(others: Sequence[tuple[Fraction, tuple[int, ...]]], chunks: list[Chunk]) -> tuple[int, int]:
    """How far projections, each chunk with its scale, lie from a pass in ppm: as a whole, and in the worst chunk."""
    errors, norms, worst_chunk = Fraction(0), Fraction(0), 0
    for (other_scale, other_rows), (scale, rows, mean_square) in zip(others, chunks, strict=True):
        error = _mean_error(other_scale, other_rows, scale, rows)
        worst_chunk = max(worst_chunk, _relative(error, mean_square))
        errors, norms = errors + error, norms + mean_square
    return _relative(errors, norms) if chunks else 0, worst_chunk


def _relative(error: Fraction, mean_square: Fraction) -> int:
    if mean_square <= 0:
        return 10**9
    ratio = error / mean_square
    return min(10**9, isqrt(10**12 * ratio.numerator // ratio.denominator))


def read_states(check: bytes, rows: int) -> tuple[list[Chunk], bytes]:
    """The projections of so many hidden states at the beginning of a check.bin, and what follows them.

    Raises: ValueError if it is too short, or a number is not finite.
    """
    chunks: list[Chunk] = []
    offset = 0
    for first in range(0, rows, CHUNK_TOKENS):
        count = DIMENSIONS * min(CHUNK_TOKENS, rows - first)
        layout = struct.Struct(f"<f{count}hd")
        if offset + layout.size > len(check):
            raise ValueError("check.bin is too short")
        scale, *numbers, mean_square = layout.unpack_from(check, offset)
        try:
            chunks.append((Fraction(scale), tuple(numbers), Fraction(mean_square)))
        except (OverflowError, ValueError) as error:
            raise ValueError("check.bin holds a number that is not finite") from error
        offset += layout.size
    return chunks, check[offset:]


def _split(check: bytes, token_count: int) -> tuple[list[Chunk], tuple[int, ...]]:
    chunks, rest = read_states(check, token_count)
    if len(rest) != 4 * (token_count + 1):
        raise ValueError("check.bin has the wrong length")
    return chunks, struct.unpack(f"<{len(rest) // 4}i", rest)
