"""Hostile inputs of people, scripts and other programs: the same table for every listener."""

from __future__ import annotations

import os
from pathlib import Path

from node.api.faults import Exit
from tests.unit.node.cli.conftest import Ran

LONG = "a" * 131_071
"""The longest argument that Linux passes on."""
TEXTS: dict[str, str] = {
    "empty": "",
    "blank": " ",
    "line break": "a\nb",
    "terminal": "\x1b[2J\x1b]0;owned\x07",
    "one byte of C1": "\x9b31m",
    "bidi": "\u202eevil\u2066",
    "undecodable": "\udcff\udc80",
    "long": LONG,
    "wide": "\N{COLLISION SYMBOL}" * 1_000,
    "path": "../../../../../../etc/passwd",
    "home of no user": "~no-user-of-this-name/x",
    "option": "--json",
    "dash": "-",
    "two dashes": "--",
    "format": "%s%n{0}{self}",
    "shell": "$(reboot);`reboot`|reboot",
    "device": "/dev/null",
    "endless": "/dev/zero",
    "minus": "-1",
    "huge": "9" * 40,
    "more digits than an int has": "9" * 5_000,
    "exponent": "1e999999",
    "nan": "nan",
    "inf": "inf",
    "hex": "0x10",
    "underscore": "1_000",
    "other digits": "١٢٣",
    "JSON": '{"a": [1, null]}',
    "url": "http://[::1",
    "multiaddr": "/ip4/256.1.1.1/tcp/99999",
}
FILES: dict[str, bytes] = {
    "empty": b"",
    "binary": bytes(range(256)) * 8,
    "not UTF-8": b"\xff\xfe\x00",
    "long": b"a" * (3 << 20),
    "nested": b"[" * 50_000,
    "nested tables": b"{" + b'"a":{' * 50_000,
    "null": b"null",
    "list": b"[]",
    "a number": b"5",
    "a long number": b"9" * 5_000,
    "endless": b'{"v": 1e999, "version": NaN}',
    "escapes": b'{"v": "\\u001b[2J", "\x1b[2J": 1}',
    "TOML": b'[node]\nname = "x"\nname = "y"\n',
    "a value of TOML": b"a = " + b"9" * 5_000 + b"\n",
    "deep TOML": b"a = " + b"[" * 5_000 + b"]" * 5_000 + b"\n",
}


def require_clear_end(ran: Ran, about: str = "") -> None:
    """It ended well, or with one line that says what is wrong: no traceback, nothing that a terminal obeys."""
    said = ran.out + ran.err
    assert all(sign.isprintable() or sign in "\n\t" for sign in said), f"{about}: {said[:200]!r}"
    assert "Traceback" not in said, f"{about}: {said[-600:]}"
    assert ran.code in set(Exit), about
    if ran.code not in (Exit.OK, Exit.INTERRUPTED):
        errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
        hints = [line for line in ran.err.splitlines() if line.startswith("hint: ")]
        assert len(errors) == 1, f"{about}: {ran.err[:600]!r}"
        assert len(hints) <= 1, f"{about}: {ran.err[:600]!r}"
        assert len(errors[0]) > len("error: ."), about
        assert len(ran.err) < 6_000, f"{about}: {len(ran.err)} characters"
        assert ran.out == "", f"{about}: {ran.out[:200]!r}"


def files_under(folder: Path) -> set[str]:
    """Everything below a folder, but sockets."""
    found = set[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found |= {entry.name, *(f"{entry.name}/{name}" for name in files_under(Path(entry.path)))}
            elif entry.is_file() or entry.is_symlink():
                found.add(entry.name)
    return found
