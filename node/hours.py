"""The owner's hours: texts such as "22:00-07:00, sat-sun", and whether they hold at a moment. Pure.

A range is days, times or both: "sat-sun" is all of these days, "22:00-07:00" is every day, "fri 22:00-07:00" begins on
Friday and ends on Saturday. The machine's local time counts, and it is open where any of the ranges holds.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60
MINUTE_MS = 60_000
AHEAD_MS = 60_000
"""So long before the end of its hours a node makes no offers: an offer is good for 30 s, and its order needs time."""
MAX_RANGES = 32
MAX_TEXT = 1_024
MAX_QUOTED = 20
"""Of a part that is quoted back, in characters."""
_EXAMPLE = 'expected ranges such as "22:00-07:00, sat-sun"'
_RANGE = re.compile(r"(?:(?P<days>[a-z]+(?:-[a-z]+)?)(?:\s+|$))?(?:(?P<begin>[0-9:]+)\s*-\s*(?P<end>[0-9:]+))?")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")

Local = Callable[[float], datetime]
"""The local time of seconds since 1970."""


@dataclass(frozen=True, slots=True)
class HourRange:
    """Times of some days, in minutes since midnight, without the last one. After DAY_MIN they are on the next day."""

    days: frozenset[int]
    begin_min: int
    end_min: int

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether a minute of a day, Monday being 0, is in it."""
        today = weekday in self.days and self.begin_min <= minute < self.end_min
        return today or ((weekday - 1) % 7 in self.days and minute + DAY_MIN < self.end_min)


@dataclass(frozen=True, slots=True)
class Hours:
    """The ranges of an owner; without one it is always open."""

    ranges: tuple[HourRange, ...] = ()

    def is_open(self, moment: datetime) -> bool:
        """Whether a local time is in the hours."""
        minute = moment.hour * 60 + moment.minute
        return not self.ranges or any(each.holds(moment.weekday(), minute) for each in self.ranges)

    def closed_from_ms(self, now_ms: int, local: Local) -> int | None:
        """From when on orders are refused, if no offers are made now: now, or a moment within AHEAD_MS.

        Returns: None while the hours last. Source: docs/operations.md, Hours.
        """
        if not self.is_open(local(now_ms / 1000)):
            return now_ms
        minute_ms = now_ms - now_ms % MINUTE_MS
        while (minute_ms := minute_ms + MINUTE_MS) <= now_ms + AHEAD_MS:
            if not self.is_open(local(minute_ms / 1000)):
                return minute_ms
        return None


def parse_hours(text: str) -> Hours:
    """The hours that a text means; an empty one means always. Raises: ValueError, with what is wrong."""
    parts = [part.strip() for part in text.lower().split(",")] if text.strip() else []
    if len(parts) > MAX_RANGES:
        raise ValueError(f"expected at most {MAX_RANGES} ranges")
    return Hours(tuple(map(_range, parts)))


def read_hours(raw: object, _base: Path) -> str:
    """A value of a configuration that `parse_hours` takes. Raises: ValueError."""
    if not isinstance(raw, str) or len(raw) > MAX_TEXT or not raw.isprintable():
        raise ValueError(_EXAMPLE)
    parse_hours(raw)
    return raw


def _range(text: str) -> HourRange:
    found = _RANGE.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"{_EXAMPLE}; {_quoted(text)} is none")
    days = _days(found["days"]) if found["days"] else frozenset(range(7))
    if found["begin"] is None:
        return HourRange(days, 0, DAY_MIN)
    begin_min, end_min = _minutes(found["begin"]), _minutes(found["end"])
    if begin_min == end_min:
        raise ValueError(f"{_quoted(text)} begins where it ends: the whole day is 00:00-24:00")
    if begin_min == DAY_MIN:
        raise ValueError(f"{_quoted(text)} begins at 24:00: write 00:00, which is of the next day")
    return HourRange(days, begin_min, end_min if begin_min < end_min else end_min + DAY_MIN)


def _days(text: str) -> frozenset[int]:
    names = text.split("-")
    for name in names:
        if name not in DAYS:
            raise ValueError(f"{_EXAMPLE}; {_quoted(name)} is no day: {', '.join(DAYS)}")
    first, last = DAYS.index(names[0]), DAYS.index(names[-1])
    return frozenset((first + day) % 7 for day in range((last - first) % 7 + 1))


def _minutes(text: str) -> int:
    found = _TIME.fullmatch(text)
    minutes = int(found[1]) * 60 + int(found[2]) if found and int(found[2]) < 60 else DAY_MIN + 1
    if minutes > DAY_MIN:
        raise ValueError(f"{_quoted(text)} is no time from 00:00 to 24:00")
    return minutes


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "...")
