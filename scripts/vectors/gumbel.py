"""How tokens are chosen at a temperature, written a second time: whole numbers and exact decimals, no numpy, no torch.

The numbers of tests/vectors/gumbel.json. The runner (executor/runner/gumbel.py) must find the same, and so must any
other implementation.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from decimal import Context, Decimal, localcontext
from typing import Any

DIGITS = 60
MASK = 2**64 - 1
VOCAB = 12
STOPS = (2, 7)
# Logits are whole numbers of this fraction, which float32 holds exactly.
UNIT = 1024
PPM = 10**6
# By more than this no token is said to lead.
NEAR = Decimal(1)


def number(seed: bytes, place: int, token: int) -> int:
    """x of a token, 53 bits."""
    key = int.from_bytes(hashlib.sha256(b"gm1" + seed + place.to_bytes(4, "big")).digest()[:8], "big")
    state = (key + token * 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ state >> 27) * 0x94D049BB133111EB) & MASK
    return (state ^ state >> 31) >> 11


def gumbel(x: int) -> Decimal:
    """-ln(-ln((x + 1/2) / 2^53)) to more digits than a float64 has."""
    with localcontext(Context(prec=DIGITS)):
        return -(-((2 * x + 1) / Decimal(2**54)).ln()).ln()


def score(seed: bytes, temperature_milli: int, logits: Sequence[int], place: int, token: int) -> Decimal:
    """z + T g of a token; logits in UNIT."""
    with localcontext(Context(prec=DIGITS)):
        z = Decimal(logits[token]) / UNIT
        return z + Decimal(temperature_milli) / 1000 * gumbel(number(seed, place, token)) if temperature_milli else z


class GumbelStory:
    """Logits of every place of an answer, whatever stands before it, and the seed and temperature to choose by."""

    def __init__(self, temperature_milli: int, places: int) -> None:
        dice = random.Random(f"story {temperature_milli}")
        self.temperature_milli, self.seed = temperature_milli, dice.randbytes(32)
        self.logits = [[round(dice.gauss(0, 1.5) * UNIT) for _ in range(VOCAB)] for _ in range(places + 1)]
        for row in self.logits:
            # Not so likely that every answer were short; and of equal ones the lower id has to win.
            for stop in STOPS:
                row[stop] -= 2 * UNIT
            row[9] = row[3]

    def scores(self, place: int) -> list[Decimal]:
        return [score(self.seed, self.temperature_milli, self.logits[place], place, v) for v in range(VOCAB)]

    def answer(self) -> tuple[list[int], bool]:
        """The ids before the stop token, and whether there was one."""
        ids: list[int] = []
        for place in range(len(self.logits) - 1):
            found = self.scores(place)
            token = found.index(max(found))
            if token in STOPS:
                return ids, True
            ids.append(token)
        return ids, False

    def margins(self, ids: Sequence[int], stopped: bool) -> list[int]:
        """In ppm, as check.bin holds them."""
        tables = [self.scores(place) for place in range(len(ids) + 1)]
        stops = [max(table[stop] for stop in STOPS) for table in tables]
        told = list(zip(ids, tables, strict=False))
        found = [max(-NEAR, _best_other(table, token) - table[token]) for token, table in told]
        ahead = [stop - table[token] for token, table, stop in zip(ids, tables, stops, strict=False)]
        last = max(tables[-1]) - stops[-1] if stopped else max([Decimal(0), *ahead])
        return [round(margin * PPM) for margin in (*found, last)]


def _best_other(table: Sequence[Decimal], token: int) -> Decimal:
    return max(score for other, score in enumerate(table) if other != token)


def _told(story: GumbelStory) -> dict[str, Any]:
    """The answer itself, and what somebody else may make of it."""
    ids, stopped = story.answer()
    middle = len(ids) // 2
    other = next(v for v in range(VOCAB) if v not in (*STOPS, ids[middle]))
    texts = {
        "honest": (ids, stopped),
        "one token replaced": ([*ids[:middle], other, *ids[middle + 1 :]], stopped),
        "stopped too early": (ids[: middle or 1], True),
    }
    if stopped:
        texts["went on"] = ([*ids, other, other], False)
    return {
        "seed": "0x" + story.seed.hex(),
        "temperatureMilli": story.temperature_milli,
        "stopIds": list(STOPS),
        "maxNewTokens": len(story.logits) - 1,
        "logits": story.logits,
        "texts": [
            {"name": name, "ids": text, "stopped": end, "margins": story.margins(text, end)}
            for name, (text, end) in texts.items()
        ],
    }


def cases() -> Iterator[dict[str, Any]]:
    """Numbers of tokens, the ends of the scale, and whole answers over small vocabularies."""
    dice = random.Random("gumbel")
    for token in (0, 1, 2, 49_151, 2**20, *(dice.randrange(2**17) for _ in range(11))):
        seed, place = dice.randbytes(32), dice.choice((0, 1, 63, 2**20 - 1, dice.randrange(4096)))
        x = number(seed, place, token)
        yield {"seed": "0x" + seed.hex(), "place": place, "token": token, "x": str(x), "g": f"{gumbel(x):.20f}"}
    for x in (0, 1, 2, 2**52 - 1, 2**52, 2**52 + 1, 2**53 - 2, 2**53 - 1):
        yield {"x": str(x), "g": f"{gumbel(x):.20f}"}
    for temperature_milli in (0, 1, 300, 800, 1000, 2000):
        yield _told(GumbelStory(temperature_milli, 24))
