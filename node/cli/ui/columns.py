"""Two texts beside each other, as wide as the terminal is."""

import shutil
import textwrap

GAP = "  |  "
NARROWEST = 30
"""Of a column: on a narrower terminal the texts stand below each other."""
UNKNOWN_WIDTH = 100
"""Width of an output without one: a pipe, a file."""


def terminal_width() -> int:
    """In characters; what COLUMNS says goes before what the terminal does."""
    return shutil.get_terminal_size((UNKNOWN_WIDTH, 24)).columns


def beside(left: tuple[str, str], right: tuple[str, str], width: int) -> list[str]:
    """Two texts under their titles, in columns, or below each other where there is no room.

    Args: left and right, title and text; width, of the terminal.
    """
    each = (width - len(GAP)) // 2
    if each < NARROWEST:
        return [
            line
            for title, text in (left, right)
            for line in (*wrapped(f"-- {title}", width), *wrapped(text, width), "")
        ]
    columns = [[*wrapped(title, each), "-" * each, *wrapped(text, each)] for title, text in (left, right)]
    heads = [len(wrapped(title, each)) for title, _ in (left, right)]
    for column, head in zip(columns, heads, strict=True):
        # Rules at one height, whichever title is longer.
        column[head:head] = [""] * (max(heads) - head)
    height = max(map(len, columns))
    padded = [column + [""] * (height - len(column)) for column in columns]
    return [f"{one.ljust(each)}{GAP}{other}".rstrip() for one, other in zip(*padded, strict=True)]


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most so many characters; an empty one stays."""
    lines = [
        part
        for line in text.splitlines() or [""]
        for part in textwrap.wrap(line, max(width, 1), replace_whitespace=False, break_on_hyphens=False) or [""]
    ]
    return [line.replace("\t", " ") for line in lines]
