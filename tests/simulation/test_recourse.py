"""Seats that cannot go on: they have their node show a leaf on chain, or step down, by themselves."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from protocol import effects as fx
from protocol import events as ev
from protocol.job import Stage
from protocol.params import VCN
from protocol.roles.key_sealing import KEYS_KEPT
from protocol.roles.member import NO_DEVICE
from protocol.stages.verification import FingerprintOpening, SampleOpening, SampleQuery, Verdict
from protocol.timers import AbstainTimer, DataDemandTimer
from protocol.wire.codec import encode_named
from protocol.wire.ids import TimestampMs
from tests.simulation.histories import crowd, later, requested, settled, told
from tests.simulation.node import Node
from tests.simulation.scene import RULES, ask
from tests.simulation.world import Answer, World
from tests.support.scenes.simulated_courts import only, refunded
from tests.support.scenes.stalled_cases import Town, asked_for
from tests.support.scenes.unreceipted_jobs import lose

TURN_S = RULES.seat_window_s
VALUABLE = 2_000
"""Tokens of a job that three seats judge."""


# --- data -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [SampleOpening, FingerprintOpening])
def test_a_seat_that_is_shown_nothing_has_it_shown_on_chain_and_judges_by_that(kind: type[Any]) -> None:
    world = settled(Town(kind).world)
    assert requested(world)[0].stage is Stage.SPENDABLE
    demanded, answered, case = (only(world, each) for each in (ev.DataDemanded, ev.DataAnswered, ev.CaseConvened))
    assert (demanded.batch_id, demanded.seat, demanded.leaf_index) == (case.batch_id, 0, case.drawn[0])
    assert answered.timestamp <= demanded.until
    revealed = only(world, ev.SeatRevealed)
    assert (revealed.node, revealed.scores) == (case.seats[0], (10_000,))
    assert not told(world, ev.SeatSilenced)


def test_a_demand_comes_after_long_asking_and_only_while_the_turn_lasts() -> None:
    town = Town(SampleOpening)
    seat, world, asked_s = town.seat(), town.world, []

    def is_lost(effect: fx.Effect) -> bool:
        if isinstance(effect, fx.DemandData):
            asked_s.append(world.now_ms // 1_000 - town.case.timestamp)
        return isinstance(effect, fx.DemandData)

    lose(seat, is_lost)
    queries = asked_for(seat, fx.Send)
    world.run(lambda: bool(asked_s))
    assert TURN_S // 2 <= asked_s[0] <= TURN_S // 2 + 2
    assert len(queries) >= 5
    # One that is never mined is asked for once more, and none once the turn is over.
    later(world, 2 * TURN_S * 1_000)
    assert max(asked_s) <= TURN_S


def test_three_seats_that_are_shown_nothing_make_one_demand_and_all_judge() -> None:
    """The answer on chain is sealed to the seat that has asked; the node sends the others theirs, late."""
    town = Town(SampleOpening, seats=3, tokens=VALUABLE)
    asked = [asked_for(town.seat(index), fx.DemandData) for index in range(3)]
    world = town.world
    world.run(lambda: len(told(world, ev.DataAnswered)) == len(world.nodes))
    assert [len(each) for each in asked] == [1, 0, 0]
    town.holds = False
    settled(world)
    assert requested(world)[0].stage is Stage.SPENDABLE
    assert {event.scores for event in told(world, ev.SeatRevealed)} == {(10_000,)}
    assert not told(world, ev.SeatSilenced)


def test_a_seat_that_names_no_key_to_seal_to_is_answered_on_chain_without_one() -> None:
    """Sealing to a point of low order fails, and a node that does not answer loses stake."""
    town = Town(SampleOpening)
    town.seat().take(ev.HpkeKeyRotated(bytes(32)))
    sealed = asked_for(town.world.node("provider"), fx.SealKey)
    town.world.run(lambda: bool(told(town.world, ev.DataAnswered)))
    assert bytes(32) not in {effect.hpke_key for effect in sealed}


def test_a_seat_that_asks_under_ever_new_keys_fills_no_memory_and_may_ask_again_after_a_failure() -> None:
    town = Town(SampleOpening)
    seat, node, batch = town.seat(), town.world.node("provider").machine, town.case.batch_id
    town.world.run(lambda: node.docket.case(batch) is not None)

    def asked(key: int) -> list[fx.Effect]:
        query = SampleQuery(batch, key.to_bytes(32, "little"))
        effects = node.handle(ev.MessageReceived(seat.peer_id, query), TimestampMs(town.world.now_ms))
        return [effect for effect in effects if isinstance(effect, fx.SealKey)]

    for key in range(10, 10 + 2 * KEYS_KEPT):
        (sealing,) = asked(key)
    assert len(node.opening_responder._sealing) == KEYS_KEPT
    node.handle(ev.EffectFailed(fx.SealKey, fx.about(sealing), "the disk", False), TimestampMs(town.world.now_ms))
    assert asked(key) == [sealing]
    assert [len(waiting) for waiting in node.opening_responder._sealing.values()] == [1] * KEYS_KEPT


def test_a_seat_that_waits_for_another_ones_data_commits_when_it_is_there() -> None:
    """Its commitment comes while the case waits, longer than anything is tried."""
    town = Town(SampleOpening, tokens=VALUABLE)
    world, seats = town.world, [town.seat(index) for index in range(3)]
    # Two seats need as long as the first one waits until it demands.
    for seat in seats[1:]:
        hold_until(world, seat, fx.ReplaySample, lambda: bool(told(world, ev.DataDemanded)))
    hold_until(
        world,
        town.provider,
        fx.AnswerDemand,
        lambda: world.now_ms > 1_000 * (only(world, ev.DataDemanded).until - 3),
    )
    settled(world)
    assert requested(world)[0].stage is Stage.SPENDABLE
    assert not told(world, ev.SeatSilenced)


def hold_until(world: World, node: Node, kind: type[Any], comes: Callable[[], bool]) -> None:
    """A node's effects of a kind are done once something has come."""
    perform = node.perform

    def held(who: Node, effect: fx.Effect, answer: Answer) -> None:
        if isinstance(effect, kind) and not comes():
            world.soon(lambda: held(who, effect, answer), 500)
        else:
            perform(who, effect, answer)

    node.perform = held


@pytest.mark.parametrize("kind", [SampleOpening, FingerprintOpening])
@pytest.mark.parametrize("data", [b"rubbish", None])
def test_rubbish_in_answer_to_its_own_demand_is_scored_for_rubbish(kind: type[Any], data: bytes | None) -> None:
    """`None`: another leaf's truth."""
    town = Town(kind)
    perform, other = town.provider.perform, FingerprintOpening(bytes(32), 0, b"")

    def rubbish(who: Node, effect: fx.Effect, answer: Answer) -> None:
        if isinstance(effect, fx.AnswerDemand):
            effect = replace(effect, data=data if data is not None else encode_named(other))
        perform(who, effect, answer)

    town.provider.perform = rubbish
    world = town.world
    world.run(lambda: bool(told(world, ev.SeatRevealed)), 200)
    assert told(world, ev.SeatRevealed)[0].scores == (0,)
    # One seat alone condemns no node: two more are asked, and were shown all.
    settled(world)
    assert {event.scores for event in told(world, ev.SeatRevealed)} == {(0,), (10_000,)}
    assert requested(world)[0].stage is Stage.SPENDABLE


def test_a_node_that_shows_nobody_anything_is_jailed_by_the_demand_of_a_seat() -> None:
    world = crowd()
    world.run(lambda: bool(told(world, ev.CaseConvened)))
    case = told(world, ev.CaseConvened)[0]
    world.kill(world.node("provider"), 3_600_000)
    world.run(lambda: bool(requested(world)) and requested(world)[0].stage is Stage.REFUNDED, 600)
    assert refunded(world)
    assert only(world, ev.CaseResolved).verdict is Verdict.WITHHELD
    (lost,) = {event.amount for event in told(world, ev.NodeSlashed)}
    assert {event.node for event in told(world, ev.NodeSlashed)} == {case.node}
    assert 0 < lost < 10_000 * VCN
    assert not told(world, ev.SeatSilenced)


@pytest.mark.parametrize("stage", [SampleOpening, FingerprintOpening])
@pytest.mark.parametrize("victim", ["seat", "provider"])
@pytest.mark.parametrize("at", [DataDemandTimer, ev.TransactionMined, ev.DataDemanded, ev.DataAnswered])
def test_a_kill_around_a_demand_changes_nothing(stage: type[Any], victim: str, at: Any) -> None:
    """At once when the victim hears of it, before anything is done about that."""
    town = Town(stage)
    world, seat = town.world, town.seat()
    node = seat if victim == "seat" else town.provider
    fired = kill_at(world, node, at)
    settled(world)
    assert requested(world)[0].stage is Stage.SPENDABLE
    # The moment of the demand is the seat's own.
    assert bool(fired) is (at is not DataDemandTimer or victim == "seat")
    assert len({event.until for event in told(world, ev.DataDemanded)}) == 1
    assert not told(world, ev.SeatSilenced)


def kill_at(world: World, node: Node, at: Any, away_ms: int = 4_000) -> list[ev.Event]:
    """Kill a node when it hears of a moment or of a kind of event; fills with what it was."""
    hear, fired = node.hear, []

    def is_it(event: ev.Event) -> bool:
        if isinstance(event, ev.DeadlinePassed):
            return isinstance(event.timer, at)
        if at is ev.TransactionMined:
            return isinstance(event, at) and event.effect in (fx.DemandData, fx.AnswerDemand, fx.AbstainSeat)
        return isinstance(event, at)

    def watch(who: Node, event: ev.Event) -> None:
        hear(who, event)
        if not fired and is_it(event):
            fired.append(event)
            world.soon(lambda: world.kill(node, away_ms), 0)

    node.hear = watch
    return fired


# --- stepping down ----------------------------------------------------------------------------------------------------
def without_model(node: Node) -> None:
    node.has_model = False


def without_noise(node: Node) -> None:
    node.is_calibrated = False


def paused(node: Node) -> None:
    node.take(ev.HoldBegun(ev.Hold.PAUSE, node.clock()))


class Bench:
    """Cases of one seat, of whose verifiers all but the first one ail."""

    def __init__(self, ail: Callable[[Node], None], verifiers: int = 3) -> None:
        self.world = World()
        self.world.chain.deposit(self.world.add("requester", {"requester"}).address, 100 * VCN)
        self.world.add("provider", {"provider"}, 20_000)
        self.judges = [self.world.add(f"verifier-{number}", {"verifier"}, 5_000) for number in range(verifiers)]
        for node in self.judges[1:]:
            ail(node)
        self.world.start()
        self.ask(1)

    def ask(self, number: int) -> None:
        world = self.world
        world.soon(lambda: world.node("requester").take(ask(number, now_ms=world.now_ms)), 3_000)

    def sits(self) -> Node:
        """The node in the only seat of the newest case."""
        cases = len(told(self.world, ev.CaseConvened))
        self.world.run(lambda: len(told(self.world, ev.CaseConvened)) > cases)
        seats = told(self.world, ev.CaseConvened)[-1].seats
        return next(node for node in self.judges if node.address == seats[0])

    def left(self) -> list[str]:
        """The seats that have stepped down, in order."""
        heard = self.world.heard["requester"]
        names = {node.address: node.name for node in self.judges}
        return [names[event.node] for _, event in heard if isinstance(event, ev.SeatSilenced)]

    def require_harmless(self) -> None:
        """No party has lost anything."""
        assert {job.stage for job in requested(self.world)} == {Stage.SPENDABLE}
        assert not told(self.world, ev.NodeSlashed)
        assert {node.penalty for node in self.world.chain.contracts.nodes.values()} == {0}


def well(node: Node) -> None:
    """Until it sits."""


def lose_engine(node: Node) -> None:
    node.take(ev.DeviceReported(NO_DEVICE))


@pytest.mark.parametrize("ail", [without_model, without_noise, paused, well])
def test_a_seat_that_cannot_judge_steps_down_for_the_next(ail: Callable[[Node], None]) -> None:
    bench = Bench(ail)
    seat = bench.sits()
    if ail is well:
        lose_engine(seat)
    case = told(bench.world, ev.CaseConvened)[0]
    world = settled(bench.world)
    assert bench.left()[0] == seat.name
    assert bench.judges[0].name not in bench.left()
    added = next(event for event in told(world, ev.SeatAdded) if event.seat == 1)
    assert added.timestamp <= case.timestamp + TURN_S // 4
    assert {event.node for event in told(world, ev.SeatRevealed)}.isdisjoint({seat.address})
    bench.require_harmless()


def test_an_engine_that_comes_back_soon_keeps_its_seat() -> None:
    bench = Bench(well)
    seat = bench.sits()
    hold_until(bench.world, seat, fx.OpenSample, lambda: bench.world.now_ms > back_ms)
    back_ms = bench.world.now_ms + 1_000
    lose_engine(seat)
    bench.world.soon(lambda: bench.world._report_device(seat), 1_000)
    settled(bench.world)
    assert bench.left() == []
    bench.require_harmless()


def test_the_second_seat_of_a_day_stays_says_why_and_judges_once_it_can() -> None:
    bench = Bench(paused, verifiers=2)
    world, leaving = bench.world, bench.judges[1]

    def refusals() -> list[str]:
        events = [event for _, event in world.heard[leaving.name] if isinstance(event, ev.EffectFailed)]
        return [event.reason for event in events if event.effect is fx.AbstainSeat]

    asked = 1
    while not refusals():
        settled(world, asked)
        asked += 1
        bench.ask(asked)
        bench.sits()
        later(world, TURN_S // 4 * 1_000)
    leaving.take(ev.HoldEnded(ev.Hold.PAUSE))
    settled(world, asked)
    assert refusals() == ["AbstainSeat: AbstainedToday()"]
    assert bench.left() == [leaving.name]
    last = told(world, ev.CaseConvened)[-1]
    judges = {event.node for event in told(world, ev.SeatRevealed) if event.batch_id == last.batch_id}
    assert judges == {leaving.address}
    bench.require_harmless()


@pytest.mark.parametrize("at", [AbstainTimer, ev.TransactionMined, ev.SeatSilenced])
@pytest.mark.parametrize("away_ms", [2_000, 20_000])
def test_a_kill_while_it_steps_down_costs_nothing(at: Any, away_ms: int) -> None:
    bench = Bench(without_model)
    fired = kill_at(bench.world, bench.sits(), at, away_ms)
    settled(bench.world)
    assert fired
    if away_ms < TURN_S // 8 * 1_000 or at is not AbstainTimer:
        bench.require_harmless()
    assert requested(bench.world)[0].stage is Stage.SPENDABLE
