"""The plan of a measurement: families, prompts and classes, in parts that are one container each. Pure."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, islice

from node.calibration.prompts import PROMPTS, Family, prompt_of

HONEST = "honest"
WEIGHTS = ("int8_channel", "int8_block", "int4_block", "noise", "merged_adapter", "dropped_layer")
"""Cheap models: each is also an adaptive cheat, which has its tokens and the fingerprint of one true pass."""
CHEAT = "int8_channel"
"""Whom the running margin is made to find."""
ALTERED = ("cut_prompt", "kv_8bit", "copied", "random_tokens", "shuffled", "forced_eos", "replaced_token")
DRAWN = ("other_seed", "greedy")
"""Cheats that choose other tokens; without a draw, as at temperature 0, they are honest."""
OFTEN = {"int4_block": 3}
"""Whose promise is 99 in a hundred even under a true fingerprint: a hundred answers cannot tell that from 98."""
PADDED = "padded"
"""Is asked for what ends by itself."""

DRAWING = 800
HOTTEST = 2_000
SHAPES = ((32, 1, 60), (8, 1, 30), (16, 2, 5), (1, 1, 5))
"""Ways in which honest nodes differ: answers at once, threads, and how many in a hundred are made so."""
PART_TOKENS = 16_000
"""A part is what an interruption costs: minutes for a small model on a processor."""
HOT_PER_RUN = 24
LONG_PER_RUN, LONG_PER_SUBSTITUTE = 12, 4
"""Longer answers are dear, and a longer one is never harder to tell."""
MAIN_LENGTH = 64


@dataclass(frozen=True, slots=True)
class PlanSegment:
    """Answers of one kind to the prompts of `numbers`: `batch` at once, with so many threads."""

    variant: str
    temperature_milli: int
    numbers: tuple[int, ...]
    batch: int = 32
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """One container: a node of class `worker` gives the answers of its segments, and class `checker` checks them.

    `writer` is the engine that gives honest answers, empty for that of the check.
    """

    name: str
    worker: int
    checker: int
    max_new_tokens: int
    lengths: tuple[int, ...]
    segments: tuple[PlanSegment, ...]
    writer: str = ""

    @property
    def answers(self) -> int:
        return sum(len(each.numbers) for each in self.segments)

    @property
    def numbers(self) -> list[int]:
        """Of every prompt that is needed."""
        return sorted({number for each in self.segments for number in each.numbers})

    def key(self, *context: str) -> str:
        """The marks that a result of this part must bear; `context`: runtime, model, whitening weights."""
        return hashlib.sha256(json.dumps([asdict(self), *context], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured: so many honest answers of a class at the main length, and of each substitute, and at which
    lengths, in tokens. The main length is 64, or the longest where 64 is not among them."""

    runs: int
    substitutes: int
    lengths: tuple[int, ...]

    @property
    def main(self) -> int:
        return MAIN_LENGTH if MAIN_LENGTH in self.lengths else max(self.lengths)


def plan(classes: Sequence[int], extent: Extent) -> list[Part]:
    """Everything, what counts most first: each class by itself, the highest first, then across classes."""
    runs, lengths, main = extent.runs, extent.lengths, extent.main
    parts: list[Part] = []
    ordered = sorted(classes, reverse=True)
    for class_id in ordered:
        parts += _packed(class_id, class_id, main, lengths, [*honest(runs), *_substitutes(extent.substitutes)])
        for length in sorted(each for each in lengths if each > main):
            parts += _packed(class_id, class_id, length, lengths, _long(extent))
    for worker in ordered:
        for checker in ordered:
            if worker != checker:
                parts += _packed(worker, checker, main, lengths, honest(runs))
    return parts


def honest(runs: int) -> Iterator[PlanSegment]:
    """Honest answers, at first where nothing is drawn, then in every shape, then at the highest temperature."""
    start = min(len(PROMPTS), max(1, runs // 6))
    yield PlanSegment(HONEST, 0, tuple(range(start)))
    drawn = runs - start
    for batch, threads, percent in SHAPES:
        end = start + max(1, -(-drawn * percent // 100))
        yield PlanSegment(HONEST, DRAWING, tuple(range(start, end)), batch, threads)
        start = end
    yield PlanSegment(HONEST, HOTTEST, tuple(range(start, start + max(1, runs // HOT_PER_RUN))))


def founding(class_id: int, extent: Extent) -> list[Part]:
    """The answers that a release's constants are made from: honest answers, and the cheat that margins are to find.

    Of every family there are enough to say what it does to an honest node. None is at temperature 0, where all seeds
    give one answer: so what `plan` measures, with other seeds, judges constants that have seen nothing of it.
    """
    drawn = [each for each in honest(extent.runs) if each.temperature_milli]
    numbers = [number for each in drawn for number in each.numbers]
    seen = Counter(prompt_of(number).family for number in numbers)
    least, following, more = -(-extent.runs // len(Family)), count(max(numbers) + 1), []
    while min(seen[family] for family in Family) < least:
        family = prompt_of(number := next(following)).family
        if seen[family] < least:
            seen[family] += 1
            more.append(number)
    cheat = PlanSegment(CHEAT, DRAWING, _numbers(2 * extent.substitutes, short=False))
    rare = PlanSegment(HONEST, DRAWING, tuple(more))
    return _packed(class_id, class_id, extent.main, extent.lengths, [*drawn, cheat, *([rare] if more else [])])


def confirmation(class_id: int, runs: int, writers: Sequence[str] = ("",)) -> list[Part]:
    """Honest answers of one class alone, of each of these engines."""
    parts = _packed(class_id, class_id, MAIN_LENGTH, (MAIN_LENGTH,), honest(runs))
    return [
        replace(part, name=f"{part.name}-{writer}", writer=writer) if writer else part
        for writer in writers
        for part in parts
    ]


def _substitutes(wanted: int) -> Iterator[PlanSegment]:
    long, short = (_numbers(wanted, short=is_short) for is_short in (False, True))
    more = {variant: _numbers(times * wanted, short=False) for variant, times in OFTEN.items()}
    for variant in (*WEIGHTS, *ALTERED, *DRAWN):
        yield PlanSegment(variant, DRAWING, more.get(variant, long))
    yield PlanSegment(PADDED, DRAWING, short)
    for variant in (*WEIGHTS, *ALTERED):
        # Without a draw, the second answer to a prompt is the first one again.
        yield PlanSegment(variant, 0, tuple(number for number in more.get(variant, long) if number < len(PROMPTS)))


def _long(extent: Extent) -> Iterator[PlanSegment]:
    yield PlanSegment(HONEST, DRAWING, _numbers(max(2, extent.runs // LONG_PER_RUN), short=False))
    for variant in WEIGHTS:
        yield PlanSegment(variant, DRAWING, _numbers(max(2, extent.substitutes // LONG_PER_SUBSTITUTE), short=False))


def _packed(
    worker: int, checker: int, max_new: int, lengths: Sequence[int], segments: Iterable[PlanSegment]
) -> list[Part]:
    """Segments in containers, in their order; one that is too large for a container goes on in the next."""
    most = max(1, PART_TOKENS // max_new)
    packs: list[list[PlanSegment]] = [[]]
    room = most
    for segment in segments:
        left = segment.numbers
        while left:
            if room == 0:
                packs.append([])
                room = most
            packs[-1].append(replace(segment, numbers=left[:room]))
            left, room = left[room:], room - len(left[:room])
    cuts = tuple(sorted(each for each in lengths if each <= max_new))
    return [
        Part(f"{worker}-{checker}-{max_new}-{place}", worker, checker, max_new, cuts, tuple(pack))
        for place, pack in enumerate(packs)
    ]


def _numbers(wanted: int, *, short: bool) -> tuple[int, ...]:
    """The first so many numbers whose answers end by themselves, or do not."""
    return tuple(islice((n for n in count() if (prompt_of(n).family is Family.SHORT) is short), wanted))
