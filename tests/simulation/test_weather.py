"""Whole networks in bad weather: every job ends, every wei is where it belongs, and chance is all in the seed."""

from __future__ import annotations

import pytest

from protocol.job import Stage
from tests.simulation.run import Broken, simulate
from tests.simulation.weather import FAIR, HURRICANE, STORM
from tests.simulation.world import World


@pytest.mark.parametrize("seed", range(20))
def test_every_job_ends_in_a_storm(seed: int) -> None:
    summary = simulate(nodes=10, jobs=12, seed=seed, weather=STORM)
    assert sum(summary.ends.values()) == 12
    assert summary.done >= 11


@pytest.mark.parametrize("seed", range(4))
def test_a_hurricane_loses_answers_and_no_money(seed: int) -> None:
    summary = simulate(nodes=12, jobs=12, seed=seed, weather=HURRICANE)
    assert set(summary.ends) <= {Stage.SPENDABLE, Stage.REFUNDED, Stage.UNSERVED}
    assert summary.kills > 0
    assert summary.reorgs > 0


def test_nothing_is_lost_in_fair_weather() -> None:
    summary = simulate(nodes=15, jobs=20, seed=1, weather=FAIR)
    assert summary.ends == {Stage.SPENDABLE: 20}
    assert (summary.moved, summary.kills, summary.reorgs) == (0, 0, 0)


def test_the_same_seed_gives_the_same_history_and_another_one_another() -> None:
    first, same, other = (simulate(10, 8, seed, STORM) for seed in (7, 7, 8))
    assert first == same
    assert first.digest != other.digest


def test_a_wei_from_nowhere_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    start = World.start

    def start_with_a_leak(world: World) -> None:
        start(world)
        world.soon(lambda: world.chain.change(lambda contracts: contracts.reward("thief", 1)), 20_000)  # type: ignore[arg-type]

    monkeypatch.setattr(World, "start", start_with_a_leak)
    with pytest.raises(Broken, match="1 wei from nowhere"):
        simulate(5, 5, 0, FAIR)
