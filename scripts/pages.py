"""Tables of the pages in docs that are computed: each stands below a comment that names it."""

import re
from collections.abc import Callable, Iterable, Sequence

_TABLE = re.compile(r"<!-- table: (\w+) -->\n(?:\|.*\n)*")


def refreshed(page: str, table: Callable[[str], str]) -> str:
    """The page with every table as `table` makes it of its name. Raises: KeyError for one that is nowhere."""
    return _TABLE.sub(lambda found: f"<!-- table: {found[1]} -->\n{table(found[1])}", page)


def markdown(rows: Iterable[Sequence[str]]) -> str:
    """A table whose first row is its head."""
    head, *body = rows
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *body))
