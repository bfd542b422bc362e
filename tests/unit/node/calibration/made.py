"""Answers as a container would have measured them, made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from node.calibration.answers import MeasuredAnswer, read
from node.calibration.plan import HONEST, Part, PlanSegment

CLASS = 2
Row = dict[str, object]


def part(variant: str = HONEST, *, checker: int = CLASS) -> Part:
    return Part("part", CLASS, checker, 64, (16, 64), (PlanSegment(variant, 800, ()),))


def row(
    number: int, act: int = 20_000, worst: int = 0, *, true: int = 7_000, margins: Iterable[int] = (0,) * 65
) -> Row:
    """An answer of 64 tokens with the same fingerprint at each length."""
    terms = [act, act + 1_000, 0, worst, true, true]
    cuts = dict.fromkeys(("16", "64", "whole"), terms)
    return {"number": number, "stopped": False, "margins": margins, "cuts": cuts}


def answers(whose: Part, rows: Iterable[Row]) -> list[MeasuredAnswer]:
    (segment,), told = whose.segments, list(rows)
    numbers = tuple(int(str(each["number"])) for each in told)
    asked = replace(whose, segments=(replace(segment, numbers=numbers),))
    return read(asked, json.dumps({"segments": [told]}))
