"""Whole networks in bad weather: every job ends, every wei is where it belongs, and chance is all in the seed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, get_args

import pytest

from protocol import events as ev
from protocol.effects import ChainEffect, ChallengeLeaf, ConfirmLane, TryLane
from protocol.job import Stage
from protocol.stages.verification import SampleOpening
from tests.simulation.chain import Chain
from tests.simulation.histories import (
    asked_on_chain,
    audited,
    claimed,
    doubted,
    one_job,
    requested,
    shown_nothing,
    starved,
    stepped_down,
    told,
    unconfirmed,
)
from tests.simulation.node import Node
from tests.simulation.run import Broken, simulate
from tests.simulation.scene import Work
from tests.simulation.weather import FAIR, HURRICANE, STORM, Weather
from tests.simulation.world import World

MOST_BLOCKS = 40
"""How far back a cursor lies that was not moved."""


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


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_before_the_cursor_moved_loses_no_money(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance, kill, behind = random.Random(seed), Node.kill, []

    def kill_early(node: Node) -> None:
        kill(node)
        behind.append(min(node.cursor, chance.randint(0, MOST_BLOCKS)))
        node.cursor -= behind[-1]

    monkeypatch.setattr(Node, "kill", kill_early)
    summary = simulate(nodes=10, jobs=12, seed=seed, weather=replace(STORM, crash=0.02))
    assert summary.done >= 11
    assert len(behind) == summary.kills
    assert sum(behind) > MOST_BLOCKS


@pytest.mark.parametrize("kind", sorted(set(get_args(ChainEffect)) - {TryLane, ConfirmLane}, key=str))
def test_what_fell_out_and_is_refused_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, kind: type[Any]) -> None:
    """A transaction that comes too early on the new branch is used up there, and no log says so."""
    mine, refused = Chain.mine, set()

    def mine_and_refuse(chain: Chain, now_s: int) -> None:
        mine(chain, now_s)
        block = chain.blocks[-1]
        if chain not in refused and any(type(sent.effect) is kind for sent in block.sent):
            refused.add(chain)
            chain.blocks[-1] = replace(block, sent=tuple(sent for sent in block.sent if type(sent.effect) is not kind))
            chain.reorg(1, now_s)

    monkeypatch.setattr(Chain, "mine", mine_and_refuse)
    honest, dishonest, unheard, landed = one_job(), one_job(Work.DISHONEST), starved(), unconfirmed()
    stalls = (asked_on_chain(), shown_nothing(SampleOpening), stepped_down())
    proved, checked, doubtful = claimed(), audited(), doubted()
    assert refused
    assert told(checked, ev.AuditEnded)[0].caught == ()
    assert [job.stage for world in (honest, checked, landed, *stalls) for job in requested(world)] == [
        Stage.SPENDABLE
    ] * 6
    assert [job.stage for job in (*requested(dishonest), *requested(unheard), *requested(proved))] == [
        Stage.REFUNDED
    ] * 3
    # A challenge that falls out may come too late; a bond that is up comes back.
    assert kind is ChallengeLeaf or told(doubtful, ev.BatchRefunded)
    assert doubtful.chain.contracts.bonds == 0
    # No seat paid for it.
    assert told(honest, ev.SeatSilenced) == told(dishonest, ev.SeatSilenced) == []


@pytest.mark.parametrize("seed", range(8))
def test_every_job_is_paid_where_all_that_falls_out_is_refused(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    reorg, refused = Chain.reorg, []

    def reorg_and_refuse(chain: Chain, depth: int, now_s: int) -> None:
        first = len(chain.blocks) - min(depth, chain.head - 1)
        refused.extend(type(sent.effect) for block in chain.blocks[first:] for sent in block.sent)
        chain.blocks[first:] = [replace(block, sent=()) for block in chain.blocks[first:]]
        reorg(chain, depth, now_s)

    monkeypatch.setattr(Chain, "reorg", reorg_and_refuse)
    summary = simulate(nodes=10, jobs=12, seed=seed, weather=Weather(reorg=0.2))
    assert summary.ends == {Stage.SPENDABLE: 12}
    assert summary.slashed == 0
    assert len(set(refused)) >= 4


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
