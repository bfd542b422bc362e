"""The screen: scenes, lines, tables. Everything on stdout; the same words where it is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic

VCN = 10**18
_started = monotonic()


def scene(title: str) -> None:
    """A new part begins."""
    say(f"\n== {title}  [{timedelta(seconds=int(monotonic() - _started))}]")


def say(line: str) -> None:
    """One line."""
    print(line, flush=True)


def write(text: str) -> None:
    """A piece of a line, as it comes."""
    print(text, end="", flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need; all but the first to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, tuple("-" * width for width in widths), *rows):
        first, *rest = (
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        say("  " + "  ".join((first, *rest)))


def vcn(wei: int, *, sign: bool = False) -> str:
    """An amount, with all of its digits that are not zero."""
    whole, rest = divmod(abs(wei), VCN)
    text = f"{whole:,}" + (f".{rest:018d}".rstrip("0") if rest else "")
    return ("-" if wei < 0 else "+" if sign and wei else "") + text


class Broken(Exception):
    """The story did not go as it must; the text says where."""


def must(condition: bool, what: str) -> None:
    """A turn that the story depends on: said when it happened, Broken when it did not."""
    if not condition:
        raise Broken(what)
    say(f"  ok: {what}")


def fail(error: Exception) -> int:
    """The last words."""
    print(f"\nerror: {error}", file=sys.stderr, flush=True)
    return 1
