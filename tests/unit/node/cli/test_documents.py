"""Each `vcoin` command that a document names exists, and so does each of its flags."""

import re

import pytest
from cyclopts import App

from node.cli import application
from scripts.setup.cache import REPOSITORY

PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
COMMAND = re.compile(r"(?:`|^\s*|/bin/)vcoin ([a-z][^`\n]*)", re.MULTILINE)
EVERYWHERE = {"--help", "-h"}


def named() -> list[tuple[str, str]]:
    """Page and command, without its comment."""
    found = {
        (page.relative_to(REPOSITORY).as_posix(), command.partition(" #")[0].strip())
        for page in PAGES
        for command in COMMAND.findall(page.read_text("utf-8"))
    }
    return sorted(found)


def missing(command: str) -> list[str]:
    """Words of a command that are neither a command, nor a flag, nor an argument."""
    app: App = application()
    words = command.split()
    while words and app.default_command is None:
        if words[0] not in app:
            return [words[0]]
        app = app[words.pop(0)]
    if app.default_command is None:
        return []
    flags = {name for argument in app.assemble_argument_collection() for name in argument.names} | EVERYWHERE
    return [flag for flag in re.findall(r"(?<!\S)--?[a-z][a-z-]*", " ".join(words)) if flag not in flags]


@pytest.mark.parametrize(("page", "command"), named())
def test_a_command_that_a_page_names_exists(page: str, command: str) -> None:
    assert missing(command) == [], f"{page} names `vcoin {command}`"


def test_a_command_or_flag_that_is_gone_is_found() -> None:
    assert missing("node dance") == ["dance"]
    assert missing("node score --loudly --json") == ["--loudly"]
