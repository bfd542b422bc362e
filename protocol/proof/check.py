"""A check of a proof: what was looked at, what came of it, and the reason in words."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from protocol.errors import BadSignature, Malformed


class CheckOutcome(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    FAILED = "failed"
    ABSENT = "not in the file"
    UNKNOWN = "not checked here"
    """The file says more than this version knows, or something that only the chain can confirm."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check; `words` say what was compared, or why it failed, or what is missing."""

    name: str
    outcome: CheckOutcome
    words: str


def compared(name: str, holds: bool, good: str, bad: str) -> Check:
    """A check that holds or fails."""
    return Check(name, CheckOutcome.OK, good) if holds else Check(name, CheckOutcome.FAILED, bad)


def absent(name: str, words: str) -> Check:
    """A check that has nothing to look at."""
    return Check(name, CheckOutcome.ABSENT, words)


def tried(name: str, require: Callable[[], object], good: str) -> Check:
    """A check by a rule that raises for what breaks it."""
    try:
        require()
    except (Malformed, BadSignature) as error:
        return Check(name, CheckOutcome.FAILED, str(error))
    return Check(name, CheckOutcome.OK, good)
