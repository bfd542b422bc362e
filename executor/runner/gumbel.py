"""Which token comes next: the one whose logit, plus temperature times a number that follows from the seed, is largest.

With T = temperature_milli / 1000 and the logits z of place t, counted from 0, the token is argmax over v of
    z_v + T * g_tv          in float64; of equal ones the lowest id
    g_tv = -ln(-ln((x_tv + 1/2) * 2^-53)),  x_tv = mix64((K_t + v * 0x9E3779B97F4A7C15) mod 2^64) >> 11
    K_t  = the first 8 bytes of SHA256("gm1" || seed || BE32(t)), most significant first
mix64 is splitmix64's output function, so g_tv comes from output v of that generator, begun at K_t. Gumbel numbers make
this a draw from softmax(z / T); whoever knows the seed can repeat every draw. Stop tokens have their numbers like all
others. At T = 0 the numbers count nothing, and the likeliest token is taken.
Golden numbers, from another implementation: tests/vectors/gumbel.json.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from .fingerprint import Doubles, Floats, Integers, Words

MAX_TEMPERATURE_MILLI = 2_000
STRIDE = 0x9E3779B97F4A7C15
# Vocabularies are gone through in blocks that stay in a core's cache: six times as fast as in one piece.
BLOCK = 1 << 14
STRIDES = np.arange(BLOCK, dtype=np.uint64) * np.uint64(STRIDE)
# Three numbers in ten thousand are above HIGH; all of their words are at least RARE.
HIGH = 8.0
RARE = np.uint64((int(2.0**53 * math.exp(-math.exp(-HIGH))) - 2**20) << 11)


def gumbel(x: Words) -> Doubles:
    """g of x, each 53 bits: uint64 to float64. Both ends keep their digits, for no half is lost to rounding."""
    late = x >= np.uint64(1 << 52)
    # The share below x + 1/2 or, in the upper half, the share above it: exact, and at most one half.
    share = (np.where(late, np.uint64(2**53 - 1) - x, x).astype(np.float64) + 0.5) * 2.0**-53
    return -np.log(-np.where(late, np.log1p(-share), np.log(share)))


def mix64(z: Words) -> Words:
    """splitmix64's output function; overwrites its argument."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return z


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses the tokens of one answer, and says how far others were from being chosen. `seed`: 32 bytes if T > 0."""

    temperature_milli: int
    seed: bytes

    def choose(self, logits: Floats, place: int) -> int:
        """The token at `place`, counted from 0; logits float32 [vocab]."""
        if not self.temperature_milli:
            # numpy takes the lowest id of equal logits on every machine; torch promises no order.
            return int(logits.argmax())
        ids = self._contenders(logits, place)
        return int(ids[self.scores(logits, place, ids).argmax()])

    def best(self, logits: Floats, place: int) -> Doubles:
        """The largest score at `place`: that of the token which is chosen there."""
        if not self.temperature_milli:
            return logits.max()
        return self.scores(logits, place, self._contenders(logits, place)).max()

    def scores(self, logits: Floats, place: int, ids: Integers) -> Doubles:
        """z + T g of these tokens at `place`, in logit units; at T = 0 the logits as they are."""
        if not self.temperature_milli:
            return logits[ids]
        words = mix64(np.asarray(ids).astype(np.uint64) * np.uint64(STRIDE) + np.uint64(self._key(place)))
        return logits[ids].astype(np.float64) + self.temperature_milli / 1000 * gumbel(words >> np.uint64(11))

    def _key(self, place: int) -> int:
        return int.from_bytes(hashlib.sha256(b"gm1" + self.seed + place.to_bytes(4, "big")).digest()[:8], "big")

    def _contenders(self, logits: Floats, place: int) -> Integers:
        """Ids, ascending, of all tokens that may have the largest score: tens or hundreds of many thousands.

        The best score of the tokens with a number above HIGH, and of the likeliest one, is to beat. Nobody else can
        whose logit is more than T * HIGH below it, so logarithms are computed for few.
        """
        rare, key = [np.array([logits.argmax()])], self._key(place)
        for start in range(0, len(logits), BLOCK):
            words = STRIDES[: len(logits) - start] + np.uint64((key + start * STRIDE) % 2**64)
            rare.append(start + np.flatnonzero(mix64(words) >= RARE))
        ids = np.concatenate(rare)
        to_beat = self.scores(logits, place, ids).max()
        close = np.nextafter(np.float32(to_beat - self.temperature_milli / 1000 * HIGH), np.float32("-inf"))
        # Asked so that what is not a number stays, and is found.
        return np.union1d(ids, np.flatnonzero(~(logits < close)))
