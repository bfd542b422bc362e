"""docs/adversaries.md against the rows that play: each has its line there, and nothing else has."""

from __future__ import annotations

import re

from scripts.setup.cache import REPOSITORY
from tests.adversaries.table import ROWS

PAGE = (REPOSITORY / "docs" / "adversaries.md").read_text("utf-8")
LINE = re.compile(r"^\| `([\w-]+)` \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
LEAST = 20


def test_the_page_has_every_row_in_its_words() -> None:
    assert LINE.findall(PAGE) == [(row.name, row.does, row.end, row.loses) for row in ROWS]


def test_there_are_as_many_dishonest_parties_as_were_promised() -> None:
    assert len({row.name for row in ROWS}) >= LEAST
    assert all(any(not part.honest for part in row.cast.values()) for row in ROWS)


def test_each_plays_for_jobs_of_its_own() -> None:
    # A length is the name by which nodes know the jobs of their row.
    assert len({row.length for row in ROWS}) == len(ROWS)
