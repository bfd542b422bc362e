"""Everything that a person or a script gets to read: data to stdout, words to stderr. Only this file prints."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from node.api.faults import Exit, Fault

MAX_LINE = 2_000


def data(lines: Iterable[str]) -> None:
    """Lines that were asked for."""
    for line in lines:
        print(_harmless(line))


def as_json(content: Any, *, one_line: bool = False) -> None:
    """JSON that was asked for; one object a line in a stream."""
    text = json.dumps(content, indent=None if one_line else 2, ensure_ascii=False)
    # JSON leaves bytes as they are that a terminal obeys, or that cannot be written at all.
    shown = (char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
    print("".join(shown), flush=one_line)


def show(as_json_: bool, content: Any, lines: Callable[[], Iterable[str]]) -> int:
    """One answer, for a script or for a person. Returns: Exit.OK."""
    if as_json_:
        as_json(content)
    else:
        data(lines())
    return Exit.OK


def text(part: str) -> None:
    """A part of an answer as it comes, at once and as it is, but for what a terminal would obey."""
    sys.stdout.write(_harmless(part) if sys.stdout.isatty() else part.encode(errors="replace").decode())
    sys.stdout.flush()


def words(line: str) -> None:
    """A line for a person, not part of the data."""
    print(_harmless(line), file=sys.stderr, flush=True)


class ProgressLine:
    """One line that a terminal shows anew with every step; elsewhere a line for each step of a tenth."""

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty()
        self._shown = -1

    def step(self, line: str, tenths: int) -> None:
        """The work has come so far."""
        if self._is_live:
            print("\r" + _one_line(line) + "\x1b[K", end="", file=sys.stderr, flush=True)
        elif tenths > self._shown:
            words(_one_line(line))
        self._shown = max(tenths, self._shown)

    def end(self) -> None:
        """Nothing more comes: what follows begins on a line of its own."""
        if self._is_live and self._shown >= 0:
            print(file=sys.stderr, flush=True)


def error(message: str, hint: str = "") -> None:
    """The fault and its remedy: one line each."""
    words("error: " + _one_line(message))
    if hint:
        words("hint: " + _one_line(hint))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns under their names, numbers to the right."""
    body = [[_one_line(str(cell)) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(head, *body, strict=True)]
    right = [bool(body) and all(_is_number(row[i]) for row in body) for i in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in ([name.upper() for name in head], *body)
    ]


def section(title: str, lines: Iterable[str]) -> list[str]:
    """Lines under a title, after an empty one."""
    return ["", title, "=" * len(title), *lines]


def pairs(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Names and values below each other; a name left empty goes on with the one above."""
    kept = [(name, value) for name, value in rows if value]
    width = max((len(name) for name, _ in kept), default=0)
    return [f"{name.ljust(width)}  {_harmless(value.replace(chr(10), ' '))}" for name, value in kept]


def confirm(question: str) -> bool:
    """Ask a person; anything but yes is no.

    Raises: Fault bad_request without a terminal.
    """
    if not sys.stdin.isatty():
        raise Fault("bad_request", "this needs a yes, and there is no terminal to ask", "add --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def ask(question: str, default: str) -> str:
    """Ask a person for a value; Enter takes the default in brackets."""
    shown = f" [{default}]" if default else ""
    print(f"{question}{shown}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or default


def next_line(prompt: str) -> str | None:
    """The next line that is typed or read, None at the end; the prompt is for a person only. Raises: Fault."""
    if is_interactive():
        print(prompt, end="", file=sys.stderr, flush=True)
    try:
        line = sys.stdin.readline()
        # In some locales Python reads other bytes as halves of signs, which are no text either.
        line.encode()
    except UnicodeError as error:
        raise Fault("bad_request", "what is on stdin is not text in UTF-8", "convert it: iconv -t UTF-8") from error
    return line.strip() if line else None


def ask_secret(question: str) -> str:
    """Ask a person for a password, without showing it."""
    from getpass import getpass

    return getpass(f"{question}: ")


def is_interactive() -> bool:
    """Whether a person sits at the other end."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _one_line(text: str) -> str:
    """On one line that a person can read to its end."""
    line = " ".join(text.split())
    return _harmless(line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]} ...")


def _harmless(line: str) -> str:
    """Without control characters: what comes from models and peers must not move the cursor."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in line)


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).replace(",", "").replace("-", "", 1).isdigit() or cell == ""
