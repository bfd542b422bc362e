"""The docket is the same however often, from wherever and, between batches and seats, in whatever order it is told."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import events as ev
from protocol.court.docket import BATCHES_KEPT, Docket
from protocol.court.phases import (
    BATCH_TRANSITIONS,
    CASE_TRANSITIONS,
    SEAT_TRANSITIONS,
    BatchPhase,
    CasePhase,
    SeatPhase,
)
from protocol.params import BPS
from protocol.stages.commitment import BatchContents, BatchSums
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address

NODE = Address("0x" + "11" * 20)
LEAVES = 4


def batch_id(number: int) -> bytes:
    return number.to_bytes(32, "big")


def node(number: int) -> Address:
    return Address(f"0x{number:040x}")


def submitted(number: int) -> ev.BatchSubmitted:
    return ev.BatchSubmitted(
        batch_id=batch_id(number),
        node=NODE,
        slot=0,
        class_id=1,
        block=number,
        timestamp=100,
        rate_bps=1_000,
        leaf_count=LEAVES,
        unreceipted=False,
        uncalibrated=False,
        checked=False,
        sums=BatchSums(0, 0, 0, LEAVES, 0),
        contents=BatchContents(bytes(32), 0, ()),
        lane_jobs=(),
    )


@dataclass
class Trial:
    """The possible events of one batch, step by step, as they would."""

    dice: random.Random
    number: int
    told: list[ev.Event] = field(default_factory=list)
    seats: list[str] = field(default_factory=list)
    round: int = 0
    first_seat: int = 0
    now: int = 1_000

    def whole(self) -> list[ev.Event]:
        """From its submission to the end of its money."""
        self.told.append(submitted(self.number))
        name = batch_id(self.number)
        if self.dice.random() < 0.3:
            self.told.append(ev.BatchChallenged(name, NODE, node(9), 0))
        if self.dice.random() < 0.1:
            return self.ended(Verdict.SEVERE)
        bench = [node(20 + seat) for seat in range(3)]
        self.seats = ["drawn"] * 3
        self.told.append(ev.CaseConvened(name, NODE, 0, 1, (0, 2), tuple(bench), self.now))
        while self.dice.random() < 0.95:
            self.step(name)
        return self.ended(self.dice.choice([Verdict.PASS, Verdict.SEVERE, Verdict.REVIEW]))

    def step(self, name: bytes) -> None:
        """One thing that may happen while the court sits."""
        self.now += 10
        number = self.dice.randrange(len(self.seats))
        present = number >= self.first_seat
        match self.dice.randrange(7):
            case 0 | 1 if present and self.seats[number] == "drawn":
                self.seats[number] = "committed"
                self.told.append(ev.SeatCommitted(name, number))
            case 2 | 3 if present and self.seats[number] == "committed":
                self.seats[number] = "revealed"
                scores = (self.dice.randrange(10_000), 1)
                self.told.append(ev.SeatRevealed(name, number, node(20 + number), scores, bytes([number]) * 32, number))
            case 4 if present and self.seats[number] != "revealed" and self.seats[number] != "silent":
                self.seats[number] = "silent"
                self.told.append(ev.SeatSilenced(name, number, node(20 + number)))
                self.add(name)
            case 5 if not any(isinstance(each, ev.DataDemanded) for each in self.told):
                self.told.append(ev.DataDemanded(name, number, 2, bytes(32), self.now + 20))
                self.told.append(ev.DataAnswered(name, b"shown", self.now + 5))
            case 6 if not self.round and self.dice.random() < 0.2:
                if self.dice.random() < 0.5:
                    self.told.append(ev.CaseDecided(name, Verdict.SEVERE, 0, self.now + 50))
                self.round, self.first_seat = 1, len(self.seats)
                self.told.append(ev.CaseGrown(name, 1, self.first_seat, Verdict.SEVERE, 0))
                for _ in range(4):
                    self.add(name)

    def add(self, name: bytes) -> None:
        self.told.append(ev.SeatAdded(name, len(self.seats), node(20 + len(self.seats)), self.now))
        self.seats.append("drawn")

    def ended(self, verdict: Verdict) -> list[ev.Event]:
        """The verdict and what follows from it; what passed may be audited, and be overruled by a fraud proof."""
        name = batch_id(self.number)
        self.told.append(ev.CaseResolved(name, verdict, 9_000, self.now))
        if verdict is Verdict.PASS:
            if self.dice.random() < 0.5:
                self.told.append(ev.AuditConvened(name, NODE, (node(51), node(52), node(53)), self.now))
                self.told += [ev.AuditCommitted(name, place) for place in range(3)]
                self.told += [ev.AuditRevealed(name, place) for place in range(3)]
                self.told.append(ev.AuditEnded(name, (), fraud=False))
            if self.dice.random() < 0.5:
                self.told.append(ev.BatchSettled(name, NODE, 100, 5, 90, 0, 5))
                return self.told
            self.told.append(ev.CaseResolved(name, Verdict.SEVERE, 0, self.now))
        self.told.append(ev.NodeSlashed(NODE, 10_000, name))
        self.told.append(ev.BatchVoided(name, NODE))
        self.told.append(ev.BatchRefunded(name, NODE, 100))
        return self.told


def trial(seed: int, number: int = 1) -> list[ev.Event]:
    return Trial(random.Random(seed), number).whole()


def docket(told: list[ev.Event]) -> Docket:
    heard = Docket()
    for event in told:
        heard.apply(event)
    return heard


seeds = st.integers(0, 2**32)


@given(seed=seeds)
def test_everything_that_the_chain_tells_of_a_batch_is_news_the_first_time(seed: int) -> None:
    heard = Docket()
    assert all(heard.apply(event) for event in trial(seed))
    assert heard.batches[batch_id(1)].is_over


@given(seed=seeds, data=st.data())
def test_any_stretch_of_the_past_told_again_is_no_news(seed: int, data: st.DataObject) -> None:
    told = trial(seed)
    count = data.draw(st.integers(1, len(told)))
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first, count - 1))
    heard = docket(told[:count])
    assert not any(heard.apply(event) for event in told[first : last + 1])
    assert heard == docket(told[:count])


@given(seed=seeds)
def test_a_watcher_that_begins_anew_after_every_event_changes_nothing(seed: int) -> None:
    told = trial(seed)
    assert docket([each for count in range(1, len(told) + 1) for each in told[:count]]) == docket(told)


@given(first=seeds, second=seeds, dice=st.randoms(use_true_random=False))
def test_batches_are_told_in_any_order_among_each_other(first: int, second: int, dice: random.Random) -> None:
    one, other = trial(first, 1), trial(second, 2)
    mixed, rest = [], [list(one), list(other)]
    while any(rest):
        mixed.append(dice.choice([each for each in rest if each]).pop(0))
    assert docket(mixed).batches == docket([*one, *other]).batches


def seat_of(event: ev.Event) -> int | None:
    return event.seat if isinstance(event, ev.SeatCommitted | ev.SeatRevealed) else None


@given(seed=seeds, dice=st.randoms(use_true_random=False))
def test_seats_are_told_in_any_order_among_each_other(seed: int, dice: random.Random) -> None:
    told = trial(seed)
    swapped = list(told)
    for _ in range(len(told)):
        place = dice.randrange(len(told) - 1)
        one, other = seat_of(swapped[place]), seat_of(swapped[place + 1])
        if one is not None and other is not None and one != other:
            swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
    assert docket(swapped) == docket(told)


@given(seed=seeds)
def test_events_of_a_batch_that_was_never_submitted_are_no_news(seed: int) -> None:
    heard = Docket()
    assert not any(heard.apply(event) for event in trial(seed)[1:])
    assert heard == Docket()


@given(leaf_count=st.integers(0, 2**24 - 1), rate_bps=st.integers(0, 2**16 - 1))
def test_a_batch_that_no_contract_can_draw_is_no_news(leaf_count: int, rate_bps: int) -> None:
    event = dataclasses.replace(submitted(1), leaf_count=leaf_count, rate_bps=rate_bps)
    possible = leaf_count > 0 and rate_bps > 0 and BPS % rate_bps == 0
    assert Docket().apply(event) is possible


@settings(max_examples=5)
@given(held=st.sets(st.integers(0, 9), max_size=5))
def test_what_this_node_has_a_part_in_is_kept_until_its_money_has_reached_its_place(held: set[int]) -> None:
    heard = docket([submitted(number) for number in range(10)])
    for number in held:
        heard.hold(batch_id(number))
    for number in range(10, BATCHES_KEPT + 10):
        heard.apply(submitted(number))
    assert {number for number in range(10) if heard.batch(batch_id(number))} == held
    assert len(heard.batches) == BATCHES_KEPT
    for number in held:
        heard.apply(ev.BatchVoided(batch_id(number), NODE))
        heard.apply(ev.BatchRefunded(batch_id(number), NODE, 1))
    for number in range(len(held)):
        heard.apply(submitted(BATCHES_KEPT + 10 + number))
    assert not any(heard.batch(batch_id(number)) for number in held)


def test_every_phase_has_its_row_and_is_reached() -> None:
    for phases, table in (
        (BatchPhase, BATCH_TRANSITIONS),
        (CasePhase, CASE_TRANSITIONS),
        (SeatPhase, SEAT_TRANSITIONS),
    ):
        first, *later = phases
        assert set(table) == set(phases)
        assert {after for row in table.values() for after in row.values()} - {first} == set(later)
