"""Dishonest parties among whole nodes on a real chain, each with its end; none gains, and no honest party loses.

All rows play on one market, side by side; a row's failure is its own. `docs/adversaries.md` is the same table in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from tests.adversaries.arena import CLIENT, HONEST, HONEST_CAST, SEATS, Arena, open_arena
from tests.adversaries.books import Worth
from tests.adversaries.row import Row, Stage
from tests.adversaries.table import ROWS

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.docker, pytest.mark.slow]


@dataclass
class Played:
    """The outcome of the rows: how much richer each row's crooks are, in wei, honest work left out; and the honest."""

    gains: dict[str, int] = field(default_factory=dict)
    broken: dict[str, BaseException] = field(default_factory=dict)
    before: dict[str, Worth] = field(default_factory=dict)
    after: dict[str, Worth] = field(default_factory=dict)
    bills: int = 0


async def _play(root: Path, rows: Sequence[Row]) -> Played:
    played = Played()
    cast = {name: part for row in rows for name, part in row.cast.items()}
    taken = {row.length for row in rows if not row.rival}
    async with open_arena(root, cast, taken) as arena:
        async with trio.open_nursery() as nursery:
            for row in rows:
                nursery.start_soon(_play_row, arena, row, played)
        jobs = await arena.client.backend.jobs()
        played.bills = sum(job.cost_wei for job in jobs if job.state == "spendable")
        honest = [*HONEST_CAST, *(name for name, part in cast.items() if part.honest)]
        played.before = {name: arena.before[name] for name in honest}
        played.after = {name: await arena.worth(name) for name in honest}
    return played


async def _play_row(arena: Arena, row: Row, played: Played) -> None:
    crooks = [name for name, part in row.cast.items() if not part.honest]
    stage = Stage(arena, row)
    await arena.at_work.acquire()
    try:
        async with arena.playing(row.cast):
            wage = await row.play(stage)
            played.gains[row.name] = await arena.gain(*crooks) - wage
    except Exception as error:
        played.broken[row.name] = error
    finally:
        stage.rest()


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The rows that were chosen, on one market."""
    chosen = {item.callspec.params["row"] for item in request.session.items if "row" in _params(item)}
    return trio.run(_play, tmp_path_factory.mktemp("arena"), [row for row in ROWS if row in chosen])


def _params(item: pytest.Item) -> dict[str, object]:
    return item.callspec.params if hasattr(item, "callspec") else {}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_dishonest_party_ends_as_the_table_says_and_gains_nothing(played: Played, row: Row) -> None:
    if row.name in played.broken:
        raise played.broken[row.name]
    assert played.gains[row.name] <= 0


def test_no_honest_node_loses_money_or_score(played: Played) -> None:
    assert {HONEST, *SEATS} <= played.after.keys()
    lost = {
        name: (played.before[name], now) for name, now in played.after.items() if name != CLIENT and _lost(played, name)
    }
    assert lost == {}


def _lost(played: Played, name: str) -> bool:
    before, after = played.before[name], played.after[name]
    return after.total < before.total or after.stake < before.stake or after.score < before.score


def test_the_honest_client_has_paid_for_the_answers_that_it_got(played: Played) -> None:
    assert played.before[CLIENT].total - played.after[CLIENT].total == played.bills
