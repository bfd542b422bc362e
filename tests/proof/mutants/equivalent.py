"""Mutants that no test can kill, each with its reason: equivalent.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from tests.proof.mutants.mutation import Mutant

FILE = Path(__file__).with_name("equivalent.toml")


def known() -> dict[tuple[str, str, str, str], str]:
    """The reason of each, by the mutant's key. Raises: ValueError for an entry without a reason or told twice."""
    found: dict[tuple[str, str, str, str], str] = {}
    for each in tomllib.loads(FILE.read_text("utf-8")).get("mutant", ()):
        key = (each["file"], each["function"], each["before"], each["after"])
        if not each["reason"].strip() or key in found:
            raise ValueError(f"{FILE.name}: no reason, or twice: {key}")
        found[key] = each["reason"]
    return found


def stale(made: Iterable[Mutant]) -> list[tuple[str, str, str, str]]:
    """Entries that no mutant of the present sources answers to."""
    keys = {each.key for each in made}
    return [key for key in known() if key not in keys]


def entry(mutant: Mutant) -> str:
    """The line for a mutant, without the reason."""
    lines = [
        "[[mutant]]",
        f'file = "{mutant.file}"',
        f'function = "{mutant.function}"',
        f"before = '{mutant.before}'",
        f"after = '{mutant.after}'",
        'reason = ""',
    ]
    return "\n".join(lines)
