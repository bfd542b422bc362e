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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .contenders import finder
from .fingerprint import Doubles, Integers, Words
from .logits import Logits

MAX_TEMPERATURE_MILLI = 2_000
STRIDE = 0x9E3779B97F4A7C15
# Vocabularies are gone through in blocks that stay in a core's cache: six times as fast as in one piece.
BLOCK = 1 << 14
STRIDES = np.arange(BLOCK, dtype=np.uint64) * np.uint64(STRIDE)
# Always the same memory: to get new one for every block takes a third of the time.
SCRATCH = np.empty((2, BLOCK), np.uint64)
# Three numbers in ten thousand are above HIGH; all of their words are at least RARE.
HIGH = 8.0
NEAR = 1.0
"""In logit units: of a token that leads by more it does not matter how much more."""
RARE = int(2.0**53 * math.exp(-math.exp(-HIGH)) - 2**20) << 11
# The last step of mix64 leaves the upper 31 bits as they are, so that without it none of these is missed.
NEARLY_RARE = np.uint64(RARE >> 33 << 33)
MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def gumbel(x: Words) -> Doubles:
    """g of x, each 53 bits: uint64 to float64. Both ends keep their digits, for no half is lost to rounding."""
    late = x >= np.uint64(1 << 52)
    # The share below x + 1/2 or, in the upper half, the share above it: exact, and at most one half.
    share = (np.where(late, np.uint64(2**53 - 1) - x, x).astype(np.float64) + 0.5) * 2.0**-53
    return -np.log(-np.where(late, np.log1p(-share), np.log(share)))


def mix64(z: Words) -> Words:
    """splitmix64's output function; overwrites its argument."""
    half_mixed(z, np.empty_like(z))
    z ^= z >> np.uint64(31)
    return z


def half_mixed(z: Words, room: Words) -> Words:
    """All of mix64 but its last step; overwrites both arguments, which are of one size."""
    for shift, factor in MIXING:
        z ^= np.right_shift(z, np.uint64(shift), out=room)
        z *= np.uint64(factor)
    return z


class Standing(NamedTuple):
    """A choice as another pass sees it, in logit units: how far the token lay behind the best other one, the best stop
    token behind the best one, and a stop token before the token."""

    margin: float
    stop_margin: float
    stop_lead: float


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses the tokens of one answer, and says how far others were from being chosen. `seed`: 32 bytes if T > 0."""

    temperature_milli: int
    seed: bytes

    @property
    def is_stuck(self) -> bool:
        """Whether no token could follow at the last place: only under rules."""
        return False

    def choose(self, logits: Logits, place: int) -> int:
        """The token at `place`, counted from 0."""
        found = self._contenders(logits, place, 0.0)
        if found is None:
            ids, scores = self._race(logits, place)
        elif len(found) == 1:
            return int(found[0])
        else:
            ids, scores = found, self.scores(logits, place, found)
        return int(ids[~(scores < scores.max())].min())

    def leading(self, logits: Logits, place: int, asked: Sequence[int] = ()) -> tuple[Integers, Doubles]:
        """The tokens asked for, then all whose score at `place` is at most `NEAR` below the largest; and their scores.

        Among the latter some may come twice, and others lie a little lower.
        """
        return self._race(logits, place, asked, NEAR)

    def standing(self, logits: Logits, place: int, stops: Sequence[int], chosen: int | None) -> Standing:
        """What stands between this choice at `place` and ours. Args: chosen, None after the last token."""
        asked = [*stops] if chosen is None else [*stops, chosen]
        ids, scores = self.leading(logits, place, asked)
        stop, best = float(scores[: len(stops)].max()), float(scores.max())
        if chosen is None:
            return Standing(0.0, best - stop, 0.0)
        own = float(scores[len(stops)])
        return Standing(float(scores[ids != chosen].max()) - own, best - stop, stop - own)

    def scores(self, logits: Logits, place: int, ids: Integers) -> Doubles:
        """z + T g of these tokens at `place`, in logit units; at T = 0 the logits as they are."""
        return logits.exactly(ids) + self._numbers(place, ids)

    def _numbers(self, place: int, ids: Integers) -> Doubles:
        """T g of these tokens."""
        if not self.temperature_milli:
            return np.zeros(len(ids))
        if compiled := finder():
            return self.temperature_milli / 1000 * compiled.numbers(self._key(place), ids)
        words = mix64(np.asarray(ids).astype(np.uint64) * np.uint64(STRIDE) + np.uint64(self._key(place)))
        return self.temperature_milli / 1000 * gumbel(words >> np.uint64(11))

    def _key(self, place: int) -> int:
        return int.from_bytes(hashlib.sha256(b"gm1" + self.seed + place.to_bytes(4, "big")).digest()[:8], "big")

    def _race(
        self, logits: Logits, place: int, asked: Sequence[int] = (), within: float = 0.0
    ) -> tuple[Integers, Doubles]:
        """The tokens asked for, then all whose score may be the largest or so near to it, and the scores of all.

        To be looked at at all it takes a number above HIGH, or a logit with which less is enough to beat those who have
        one. Of two tokens whose rough scores lie further apart than both may be off, the lower one cannot win.
        """
        rough, apart = logits.rough, 2 * logits.off + within
        found = self._contenders(logits, place, within)
        if found is not None:
            ids = np.concatenate([np.array(asked, np.int64), found])
            return ids, self.scores(logits, place, ids)
        likeliest = rough.argmax()
        first = np.array([*asked, likeliest], np.int64)
        if not (np.isfinite(rough[likeliest]) and np.isfinite(apart)):
            # What is no number is the largest, and so it is found.
            return first, self.scores(logits, place, first)
        reach = self.temperature_milli / 1000 * HIGH
        if reach:
            first = np.concatenate([first, self._rare(place, len(rough))])
        numbers = self._numbers(place, first)
        to_beat = (rough[first] + numbers)[len(asked) :].max()
        likely = np.flatnonzero(rough >= np.nextafter(np.float32(to_beat - reach - apart), np.float32("-inf")))
        ids, numbers = np.concatenate([first, likely]), np.concatenate([numbers, self._numbers(place, likely)])
        scores = rough[ids] + numbers
        matters = scores >= scores[len(asked) :].max() - apart
        matters[: len(asked)] = True
        ids = ids[matters]
        return ids, logits.exactly(ids) + numbers[matters]

    def _contenders(self, logits: Logits, place: int, within: float) -> Integers | None:
        """The tokens that `_race` looks for, but those asked for; None if this machine has no code that finds them."""
        compiled = finder()
        if compiled is None:
            return None
        apart, temperature = 2 * logits.off + within, self.temperature_milli / 1000
        return compiled.find(logits.rough, self._key(place), temperature, apart, RARE >> 33 << 33, HIGH)

    def _rare(self, place: int, vocab: int) -> Integers:
        """All tokens whose number is above HIGH, and hardly any other."""
        found, key = [], self._key(place)
        words, room = SCRATCH
        for start in range(0, vocab, BLOCK):
            size = min(BLOCK, vocab - start)
            np.add(STRIDES[:size], np.uint64((key + start * STRIDE) % 2**64), out=words[:size])
            found.append(start + np.flatnonzero(half_mixed(words[:size], room[:size]) >= NEARLY_RARE))
        return np.concatenate(found)
