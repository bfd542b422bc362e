"""Commands against a daemon's control API."""

from __future__ import annotations

from collections.abc import Iterator

from cyclopts import App


def commands(app: App, name: str = "vcoin") -> Iterator[tuple[str, App]]:
    """Every command that does something, with its full name."""
    nouns = [(verb, app[verb]) for verb in app if not verb.startswith("-")]
    if not nouns:
        yield name, app
    for verb, below in nouns:
        yield from commands(below, f"{name} {verb}")
