"""Holds of a node in a network: what it has promised it does, what is new goes elsewhere, and a restart keeps them."""

from collections.abc import Callable

import pytest

from protocol import effects as fx
from protocol import events as ev
from protocol.job import TERMINAL, JobState, Stage
from protocol.params import VCN
from protocol.roles.holds import HELD_RUN_WAITS_MS
from protocol.stages.assignment import RefuseCode, SignedRefuse
from protocol.stages.offer import SignedOffer
from tests.simulation.histories import later, requested, settled, told
from tests.simulation.scene import ask
from tests.simulation.world import RUN_MS, World
from tests.support.scenes.simulated_jobs import money
from tests.support.scenes.stalled_cases import asked_for

DRAIN, PAUSE, HOURS = ev.Hold.DRAIN, ev.Hold.PAUSE, ev.Hold.HOURS
BEAT_S = 2
"""Within which peers hear of a hold."""


class Town:
    """A client, its provider, one to move to, and seats."""

    def __init__(self) -> None:
        self.world = world = World()
        self.client = world.add("requester", {"requester"})
        world.chain.deposit(self.client.address, 100 * VCN)
        self.provider = world.add("provider", {"provider", "verifier"}, 20_000)
        # It comes first whatever the spare one earns here.
        world.earn("provider", 40)
        world.add("spare", {"provider"}, 10_000)
        for number in range(3):
            world.add(f"seat-{number}", {"verifier"}, 5_000)
        world.start()
        self.sent = asked_for(self.provider, fx.Send)
        self.asked = 0
        self.ask()

    def ask(self) -> None:
        self.asked += 1
        number = self.asked
        self.world.soon(lambda: self.client.take(ask(number, now_ms=self.world.now_ms)), 3_000)

    @property
    def job(self) -> JobState:
        return requested(self.world)[-1]

    def until(self, holds: Callable[[], bool], limit_s: int = 300) -> None:
        self.world.run(lambda: len(requested(self.world)) == self.asked and holds(), limit_s)

    def hold(self, hold: ev.Hold, ahead_ms: int = 0) -> None:
        self.provider.take(ev.HoldBegun(hold, self.world.now_ms + ahead_ms))

    def end(self, hold: ev.Hold) -> None:
        self.provider.take(ev.HoldEnded(hold))

    def restart(self) -> None:
        """Kill the provider, and wait until it is up again."""
        self.world.kill(self.provider, 500)
        later(self.world, 1_000)
        assert self.provider.up

    def said(self, kind: type) -> list:
        return [each.message for each in self.sent if isinstance(each.message, kind)]

    def heard_of(self) -> tuple[bool, bool]:
        """Whether the client hears that the provider drains, and that it is paused."""
        beat = self.client.machine.member.peers[self.provider.address].heartbeat
        return beat.draining, beat.paused

    def is_done_by(self, node: str) -> None:
        """The newest job comes to its end, done by a node and paid once."""
        done = settled(self.world, self.asked) and self.job
        assert (done.stage, done.node) == (Stage.SPENDABLE, self.world.node(node).address)
        billed = sum(job.debit for job in requested(self.world))
        assert money(self.world, done) == 100 * VCN - billed


@pytest.mark.parametrize("hold", [DRAIN, HOURS])
@pytest.mark.parametrize("stage", [Stage.ASSIGNED, Stage.RUNNING, Stage.DELIVERED])
@pytest.mark.parametrize("is_killed", [False, True])
def test_what_a_node_has_taken_it_does_and_the_next_job_goes_elsewhere(
    hold: ev.Hold, stage: Stage, is_killed: bool
) -> None:
    town = Town()
    town.until(lambda: bool(town.provider.machine.provider.jobs) and town.job.stage is stage)
    town.hold(hold)
    if is_killed:
        town.restart()
    town.is_done_by("provider")
    town.sent.clear()
    town.ask()
    town.is_done_by("spare")
    assert town.said(SignedOffer) == town.said(SignedRefuse) == []
    town.end(hold)
    town.ask()
    town.is_done_by("provider")


@pytest.mark.parametrize("hold", ev.Hold)
def test_peers_hear_of_a_hold_and_of_its_end_at_once(hold: ev.Hold) -> None:
    town = Town()
    town.is_done_by("provider")
    assert town.heard_of() == (False, False)
    town.hold(hold)
    later(town.world, 1_000 * BEAT_S)
    assert town.heard_of() == (True, hold is PAUSE)
    town.restart()
    later(town.world, 10_000)
    assert town.heard_of() == (True, hold is PAUSE)
    town.end(hold)
    later(town.world, 1_000 * BEAT_S)
    assert town.heard_of() == (False, False)


@pytest.mark.parametrize(("hold", "code"), [(DRAIN, RefuseCode.DRAINING), (PAUSE, RefuseCode.PAUSED)])
def test_an_order_that_crosses_a_hold_is_refused_and_costs_the_node_no_miss(hold: ev.Hold, code: RefuseCode) -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.OFFERED)
    town.hold(hold)
    town.is_done_by("spare")
    assert [said.refuse.code for said in town.said(SignedRefuse)] == [code]
    town.end(hold)
    town.ask()
    town.is_done_by("provider")


def test_an_order_before_the_end_of_hours_is_taken_and_done_after_it() -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.OFFERED)
    town.hold(HOURS, ahead_ms=5_000)
    town.is_done_by("provider")
    assert town.provider.machine.member.holds.objection(town.world.now_ms) is RefuseCode.DRAINING


def test_a_short_pause_delays_a_job_and_moves_it_nowhere() -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.RUNNING)
    began_ms = town.world.now_ms
    town.hold(PAUSE)
    later(town.world, HELD_RUN_WAITS_MS - 1_000)
    assert town.job.stage is Stage.RUNNING
    assert not told(town.world, ev.ContainerExited)
    town.end(PAUSE)
    town.until(lambda: town.job.stage is Stage.DELIVERED)
    assert town.world.now_ms - began_ms >= HELD_RUN_WAITS_MS - 1_000 > RUN_MS
    town.is_done_by("provider")
    # The moment at which jobs would have moved comes, and changes nothing.
    assert town.job.attempt == 0


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_job_moves_when_a_pause_lasts_longer_than_it_can_wait(is_killed: bool) -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.RUNNING)
    began_ms, stopped = town.world.now_ms, asked_for(town.provider, fx.StopContainer)
    town.hold(PAUSE)
    if is_killed:
        later(town.world, 1_000)
        town.restart()
    town.until(lambda: town.job.attempt == 1)
    assert town.world.now_ms - began_ms <= HELD_RUN_WAITS_MS + 2_000
    # It no longer takes the memory of the machine.
    assert [effect.job_id for effect in stopped] == [view.job_id for view in town.provider.machine.provider.jobs]
    town.is_done_by("spare")
    assert town.job.reason == f"{town.provider.address} refused: failed"
    assert [view.stage for view in town.provider.machine.provider.jobs] == [Stage.UNPAID]
    town.end(PAUSE)
    later(town.world, 5_000)
    assert town.provider.machine.member.holds.is_standing is False
    # It has failed this client, which takes another one for an hour.
    town.ask()
    town.is_done_by("spare")


def test_a_job_whose_input_comes_in_a_pause_is_not_promised() -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.ASSIGNED and bool(town.provider.machine.provider.jobs))
    town.hold(PAUSE)
    town.is_done_by("spare")
    assert [said.refuse.code for said in town.said(SignedRefuse)] == [RefuseCode.PAUSED]


def test_a_job_that_was_promised_before_a_pause_starts_after_it() -> None:
    town = Town()
    node = town.provider.machine.provider
    town.until(lambda: any(held.accepted for view in node.jobs if (held := node.job(view.job_id)) is not None))
    town.hold(PAUSE)
    later(town.world, 5_000)
    assert (town.job.stage, town.world.specs) == (Stage.RUNNING, [])
    town.end(PAUSE)
    town.until(lambda: town.job.stage is Stage.DELIVERED, 10)
    town.is_done_by("provider")


def test_a_restart_has_containers_stand_still_again() -> None:
    town = Town()
    town.hold(PAUSE)
    later(town.world, 2_000)
    asked = asked_for(town.provider, fx.HoldContainers)
    town.restart()
    assert asked == [fx.HoldContainers(is_held=True)]


def test_a_second_pause_gives_the_next_job_its_whole_time() -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.RUNNING)
    town.hold(PAUSE)
    later(town.world, 2_000)
    town.end(PAUSE)
    later(town.world, 500)
    town.hold(PAUSE)
    later(town.world, HELD_RUN_WAITS_MS - 2_000)
    assert town.job.attempt == 0
    town.end(PAUSE)
    town.is_done_by("provider")


def test_drain_in_place_of_a_pause_lets_the_job_end() -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.RUNNING)
    town.hold(PAUSE)
    later(town.world, 5_000)
    town.hold(DRAIN)
    town.end(PAUSE)
    town.is_done_by("provider")
    assert [hold for hold, _ in town.provider.machine.member.holds] == [DRAIN]


@pytest.mark.parametrize("hold", [DRAIN, HOURS])
def test_a_drained_node_judges_the_seats_that_it_is_drawn_for(hold: ev.Hold) -> None:
    town = Town()
    for number in range(3):
        town.world.node(f"seat-{number}").take(ev.HoldBegun(hold, town.world.now_ms))
    town.is_done_by("provider")
    assert told(town.world, ev.SeatRevealed)
    assert not told(town.world, ev.SeatSilenced)


@pytest.mark.parametrize("hold", ev.Hold)
def test_a_fold_finds_the_holds_and_jobs_that_were_there(hold: ev.Hold) -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.RUNNING)
    town.hold(hold)
    town.until(lambda: all(view.stage in TERMINAL for view in town.provider.machine.provider.jobs), 2_000)
    before = list(town.provider.machine.member.holds), town.provider.machine.provider.jobs
    town.provider.kill()
    town.provider.restart()
    assert (list(town.provider.machine.member.holds), town.provider.machine.provider.jobs) == before
