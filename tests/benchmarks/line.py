"""One line of a benchmark's answer. Keys are stable: people compare them across versions."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass

_GOAL = re.compile(r"(<=|>=|<|>)\s*([\d.]+)")
_HOLDS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Line:
    """A measured figure.

    value in unit, the median unless the key says otherwise; goal such as "<= 0.10", empty where it is only reported;
    anchor: a figure of the same run that says how fast this machine was; n: how many samples stand behind it.
    """

    key: str
    value: float
    unit: str
    goal: str = ""
    anchor: str = ""
    n: int = 1

    def verdict(self) -> str:
        """ "met", "missed", or nothing where there is no goal."""
        found = _GOAL.fullmatch(self.goal.strip())
        if not found:
            return ""
        return "met" if _HOLDS[found[1]](self.value, float(found[2])) else "missed"
