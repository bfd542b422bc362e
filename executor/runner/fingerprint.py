"""The fingerprint of a generation: what a worker writes, what a checker writes, and how both are laid out.

Everything is little endian. `n` is the number of `output_token_ids` in result.json, the end-of-sequence token not
among them. Tokens come in chunks of 32, the last one shorter; `k` is the size of a chunk. Token t's hidden state is the
one after the final norm whose logits chose token t. `x = act_w * h` is that state, whitened; `p = R x` are its eight
projections, and `R` is keyed by the job, so that nobody can prepare a state that projects well.

proof.bin, written by the worker; 258 bytes a full chunk, empty when n = 0. For each chunk in order:
    2       scale s, float16
    8 * k   q, int8, row = token: p is about q * s

check.bin, written by the checker from its own pass, before it has seen proof.bin. For each chunk in order:
    4       scale s', float32
    16 * k  q', int16, row = token: p' is about q' * s'
    8       den, float64: mean over the chunk's tokens of |x'|^2 / hidden
and after the last chunk n + 1 margins, int32, in ppm of a logit unit ("nat"), saturating at 2^31 - 1. A token's score
is what gumbel.py chooses by, its logit plus T g, and at temperature 0 its logit:
    4 * n   for each output token: the largest score of any other token less its own; below zero, though never below
            -10^6, if the token has the largest score itself
    4       finish "eos": the largest score less that of the best stop token, at the place after the last token;
            any other finish: how far a stop token ever beat the token that was put in its place; 0 if it never did

The distances follow from the two files alone, in integers (floats are exact rationals):
    err_c = mean over the chunk of (p - p')^2
    act   = 10^6 * sqrt(sum_c err_c / sum_c den_c)     the relative error of the whitened hidden states
    chunk = 10^6 * the largest sqrt(err_c / den_c)
    tok   = sum over the first n margins of max(0, min(margin, 10^6)), over max(n, 16)
    worst = the largest of all n + 1 margins, the last of which is not below zero
Golden pairs: tests/vectors/fingerprint/.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

CHUNK_TOKENS = 32
PROJECTIONS = 8
MARGIN_MAX = 2**31 - 1
# A mean over fewer tokens would be the word of one of them.
SHORT_ANSWER = 16

# Numpy arrays. They are no types to a checker on a machine that does not have numpy, and the node's does not.
Floats: TypeAlias = Any  # float32
Doubles: TypeAlias = Any  # float64
Integers: TypeAlias = Any  # int64
Words: TypeAlias = Any  # uint64


class NotFinite(ArithmeticError):
    """A hidden state or a logit is NaN or infinite: the model or its weights are broken."""


def projection(job_id: bytes, hidden: int) -> Floats:
    """R of a job, float32 [8, hidden], entries +-1/sqrt(hidden).

    Its signs are the bits of SHA256("p" || job_id || BE32(i)), i = 0, 1, ..., most significant bit first, row by row;
    a set bit is +1.
    """
    needed = PROJECTIONS * hidden
    blocks = (hashlib.sha256(b"p" + job_id + i.to_bytes(4, "big")).digest() for i in range(-(-needed // 256)))
    bits = np.unpackbits(np.frombuffer(b"".join(blocks), dtype=np.uint8))[:needed]
    signs = bits.astype(np.float32) * 2 - 1
    return (signs / np.float32(np.sqrt(hidden))).reshape(PROJECTIONS, hidden)


def whiten(states: Floats, act_w: Floats) -> Floats:
    """x = act_w * h for every row. Raises NotFinite."""
    whitened = states.astype(np.float32) * act_w
    if not np.isfinite(whitened).all():
        raise NotFinite("a hidden state is not finite")
    return whitened


def chunks(rows: Floats) -> Iterator[Floats]:
    for start in range(0, len(rows), CHUNK_TOKENS):
        yield rows[start : start + CHUNK_TOKENS]


def encode_proof(whitened: Floats, r: Floats) -> bytes:
    """proof.bin of whitened states [n, hidden] in the order of the tokens. Raises NotFinite."""
    out = bytearray()
    for part in chunks(whitened):
        p = part @ r.T
        # A little above max/127, so that rounding to float16 cannot push the largest value over the end.
        scale = np.float16(max(float(np.abs(p).max()) / 127 * 1.0005, 2.0**-24))
        if not np.isfinite(scale):
            raise NotFinite("the projections do not fit a float16 scale")
        q = np.clip(np.rint(p / np.float32(scale)), -127, 127).astype(np.int8)
        out += scale.astype("<f2").tobytes() + q.tobytes()
    return bytes(out)


def encode_check(whitened: Floats, r: Floats, margins: Doubles) -> bytes:
    """check.bin of whitened states [n, hidden] and n + 1 margins in logit units. Raises NotFinite."""
    if not np.isfinite(margins).all():
        raise NotFinite("a logit is not finite")
    return encode_states(whitened, r) + bytes(in_ppm(margins).tobytes())


def in_ppm(margins: Doubles) -> Integers:
    """Margins in logit units as check.bin holds them."""
    return np.clip(np.rint(margins * 1e6), -MARGIN_MAX, MARGIN_MAX).astype("<i4")


def encode_states(whitened: Floats, r: Floats) -> bytes:
    """The chunks of a check.bin, of whitened states [n, hidden]."""
    out = bytearray()
    for part in chunks(whitened):
        p = part @ r.T
        scale = np.float32(max(float(np.abs(p).max()) / 32767 * 1.0005, 2.0**-100))
        q = np.clip(np.rint(p / scale), -32767, 32767).astype("<i2")
        den = np.square(part.astype(np.float64)).sum(axis=1).mean() / part.shape[1]
        out += np.array(scale, "<f4").tobytes() + q.tobytes() + np.array(den, "<f8").tobytes()
    return bytes(out)


def distances(proof: bytes, check: bytes, tokens: int) -> tuple[float, float, float, float]:
    """act, chunk, tok and worst of a pair of files, in ppm and as floats: for calibration, never for a verdict."""
    errors, dens, p_at, c_at = [], [], 0, 0
    for start in range(0, tokens, CHUNK_TOKENS):
        k = min(CHUNK_TOKENS, tokens - start)
        p = np.frombuffer(proof, np.int8, PROJECTIONS * k, p_at + 2) * float(np.frombuffer(proof, "<f2", 1, p_at)[0])
        c = np.frombuffer(check, "<i2", PROJECTIONS * k, c_at + 4) * float(np.frombuffer(check, "<f4", 1, c_at)[0])
        errors.append(float(np.square(p - c).mean()))
        dens.append(float(np.frombuffer(check, "<f8", 1, c_at + 4 + 2 * PROJECTIONS * k)[0]))
        p_at, c_at = p_at + 2 + PROJECTIONS * k, c_at + 12 + 2 * PROJECTIONS * k
    margins = np.maximum(np.frombuffer(check, "<i4", tokens + 1, c_at).astype(np.float64), 0)
    if not tokens:
        return 0.0, 0.0, 0.0, float(margins.max())
    act = 1e6 * float(np.sqrt(sum(errors) / sum(dens)))
    chunk = 1e6 * max(float(np.sqrt(e / d)) for e, d in zip(errors, dens, strict=True))
    tok = float(np.minimum(margins[:tokens], 1e6).sum()) / max(tokens, SHORT_ANSWER)
    return act, chunk, tok, float(margins.max())
