"""Measured answers: what distances.json of a container says, read. Pure."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from node.calibration.plan import HONEST, Part, PlanSegment
from node.calibration.prompts import Family, place_of, prompt_of
from protocol.stages.verification import Distances

WHOLE = "whole"
FORCED_EOS, EARLY = "forced_eos", 8
"""A cheat that claims the end of the answer after one token in so many, so that its answers are shorter."""


@dataclass(frozen=True, slots=True)
class Cut:
    """An answer as if its job had allowed so many tokens: by its own fingerprint, and by that of one true pass."""

    tokens: int
    own: Distances
    true: Distances


@dataclass(frozen=True, slots=True)
class MeasuredAnswer:
    """One answer of `variant`; `margins` are those of check.bin, `cuts` by the length that was allowed."""

    worker: int
    checker: int
    variant: str
    temperature_milli: int
    number: int
    stopped: bool
    margins: tuple[int, ...]
    cuts: dict[str, Cut]

    @property
    def family(self) -> Family:
        return prompt_of(self.number).family

    @property
    def is_held_out(self) -> bool:
        """Of every second prompt: no constant is made from its answers, whatever their seeds."""
        return place_of(self.number) % 2 == 1


def read(part: Part, text: str) -> list[MeasuredAnswer]:
    """Raises: ValueError, KeyError or TypeError if this is not what a container leaves."""
    found = json.loads(text)["segments"]
    return [
        _answer(part, segment, number, row)
        for segment, rows in zip(part.segments, found, strict=True)
        for number, row in zip(segment.numbers, rows, strict=True)
    ]


def honest(answers: Iterable[MeasuredAnswer], worker: int, checker: int) -> Iterator[MeasuredAnswer]:
    """Those of honest nodes of one class as seen by another, at every temperature."""
    for each in answers:
        if each.variant == HONEST and (each.worker, each.checker) == (worker, checker):
            yield each


def _answer(part: Part, segment: PlanSegment, number: int, row: dict[str, Any]) -> MeasuredAnswer:
    margins, tokens = tuple(row["margins"]), len(row["margins"]) - 1
    if row["number"] != number or not all(type(each) is int for each in margins):
        raise ValueError(f"answer {number} of {part.name}")
    cuts = {
        length: _cut(segment.variant, tokens if length == WHOLE else int(length), terms)
        for length, terms in row["cuts"].items()
    }
    return MeasuredAnswer(
        part.worker,
        part.checker,
        segment.variant,
        segment.temperature_milli,
        number,
        bool(row["stopped"]),
        margins,
        cuts,
    )


def _cut(variant: str, length: int, terms: list[int]) -> Cut:
    act, chunk, tok, worst, true_act, true_chunk = terms
    tokens = length // EARLY if variant == FORCED_EOS else length
    return Cut(tokens, Distances(act, chunk, tok, worst), Distances(true_act, true_chunk, tok, worst))
