"""`python -m scripts.states [--write]`: docs/states.md, drawn from the transition tables of the core."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from protocol import job
from protocol.court import phases
from scripts.setup.cache import REPOSITORY

PAGE = REPOSITORY / "docs" / "states.md"
_TOP = """# States

`python -m scripts.states --write` draws this page from the transition tables of the core; a test compares them.
The label of an arrow names the events that cause it, or the messages sent or received.
An event without an arrow leaves the state as it is.
"""


@dataclass(frozen=True, slots=True)
class LifeCycle:
    """A life cycle: the first state of the table is where it begins, a state that nothing leaves is its end."""

    name: str
    source: str
    table: Mapping[Any, Mapping[Any, Any]]


MACHINES = (
    LifeCycle("Job", "protocol/job.py", job.TRANSITIONS),
    LifeCycle("Batch", "protocol/court/phases.py", phases.BATCH_TRANSITIONS),
    LifeCycle("Case", "protocol/court/phases.py", phases.CASE_TRANSITIONS),
    LifeCycle("Seat", "protocol/court/phases.py", phases.SEAT_TRANSITIONS),
)
"""Every table that is drawn, in the order of the page."""


def page() -> str:
    return "\n".join((_TOP, *(_section(each) for each in MACHINES)))


def _section(machine: LifeCycle) -> str:
    return "\n".join(
        (
            f"## {machine.name}\n\nTable: `{machine.source}`.\n",
            "```mermaid",
            "stateDiagram-v2",
            *_lines(machine),
            "```\n",
        )
    )


def _lines(machine: LifeCycle) -> Iterator[str]:
    yield from (f'    state "{_label(state)}" as {_id(state)}' for state in machine.table)
    yield f"    [*] --> {_id(next(iter(machine.table)))}"
    for state, moves in machine.table.items():
        causes: dict[Any, list[str]] = {}
        for event, targets in moves.items():
            for target in _all(targets):
                causes.setdefault(target, []).append(_label(event))
        ordered = (target for target in machine.table if target in causes)
        yield from (f"    {_id(state)} --> {_id(target)}: {', '.join(causes[target])}" for target in ordered)
        if set(causes) <= {state}:
            yield f"    {_id(state)} --> [*]"


def _all(targets: Any) -> Iterable[Any]:
    """A table names one target of a move, or a set of them."""
    return targets if isinstance(targets, frozenset | set | tuple | list) else (targets,)


def _id(state: Any) -> str:
    return state.name if isinstance(state, Enum) else str(state)


def _label(each: Any) -> str:
    if isinstance(each, type):
        return each.__name__
    return (
        str(each.value if isinstance(each.value, str) else each.name.lower()) if isinstance(each, Enum) else str(each)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/states.md")
    if parser.parse_args().write:
        PAGE.write_text(page(), "utf-8")
    else:
        print(page())


if __name__ == "__main__":
    main()
