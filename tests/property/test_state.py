"""State that was saved and read again is the state: a history goes on from any row as if nothing had happened."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.effects import Effect, effect_key
from protocol.errors import Malformed, RemoteProtocolError
from protocol.events import CaseConvened
from protocol.roles.machine import Machine
from protocol.wire import state
from protocol.wire.ids import TimestampMs
from tests.simulation import histories
from tests.simulation.node import Node, Row
from tests.simulation.scene import Work
from tests.simulation.world import World
from tests.support.hostile_events import Hostile, Pool

HISTORIES: dict[str, Callable[[], World]] = {
    "honest": histories.one_job,
    "checked": partial(histories.one_job, checked=True),
    "fraud": partial(histories.one_job, Work.DISHONEST),
    "doubt": partial(histories.one_job, Work.DOUBTFUL),
    "moved": histories.moved,
    "starved": histories.starved,
    "silenced": partial(histories.silenced, CaseConvened),
}


@cache
def world_of(name: str) -> World:
    return HISTORIES[name]()


class Fold:
    """A machine that folds rows, and what it wants that no row answers."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine.fresh()
        self.pending: dict[bytes, Effect] = {}

    def take(self, rows: Sequence[Row]) -> Fold:
        for event, at_ms, answers in rows:
            if answers is not None:
                self.pending.pop(answers, None)
            if event is None:
                continue
            try:
                effects = self.machine.handle(event, TimestampMs(at_ms))
            except RemoteProtocolError:
                continue
            self.pending.update(
                {effect_key(effect): effect for effect in effects if effect_key(effect) not in self.pending}
            )
        return self

    def restored(self) -> Fold:
        """Another one, from what this one is saved as."""
        found = Fold(self.machine)
        found.machine.restore(self.machine.save())
        found.pending = dict(self.pending)
        return found


def assert_goes_on(node: Node, rows: Sequence[Row], cut: int) -> None:
    whole = Fold(node.machine).take(rows)
    half = Fold(node.machine).take(rows[:cut]).restored().take(rows[cut:])
    assert half.machine.save() == whole.machine.save()
    assert half.pending == whole.pending
    assert half.machine.requester.jobs == whole.machine.requester.jobs
    assert half.machine.provider.jobs == whole.machine.provider.jobs


@pytest.mark.parametrize("name", HISTORIES)
@settings(max_examples=6, suppress_health_check=list(HealthCheck), deadline=None)
@given(seed=st.integers(0, 2**32))
def test_history_goes_on_from_a_snapshot_at_any_row(name: str, seed: int) -> None:
    world = world_of(name)
    for node in world.nodes.values():
        assert_goes_on(node, node.journal, random.Random(seed).randint(0, len(node.journal)))


@pytest.mark.parametrize("name", HISTORIES)
@settings(max_examples=6, suppress_health_check=list(HealthCheck), deadline=None)
@given(seed=st.integers(0, 2**32))
def test_history_with_hostile_rows_goes_on_as_well(name: str, seed: int) -> None:
    world = world_of(name)
    chance = random.Random(seed)
    node = chance.choice(list(world.nodes.values()))
    hostile = Hostile(Pool(event for event, _, _ in node.journal if event is not None), chance)
    rows = list(node.journal)
    for _ in range(20):
        event, at_ms, answers = rows[place := chance.randrange(len(rows))]
        if event is not None:
            rows.insert(place, (hostile.instance(type(event)), at_ms, answers if chance.random() < 0.2 else None))
    assert_goes_on(node, rows, chance.randint(0, len(rows)))


@pytest.mark.parametrize("name", HISTORIES)
def test_saved_state_is_the_same_each_time(name: str) -> None:
    for node in world_of(name).nodes.values():
        fold = Fold(node.machine).take(node.journal)
        assert fold.machine.save() == fold.machine.save()


def test_every_attribute_of_a_role_is_a_declared_field() -> None:
    """A snapshot would lose what no field declares."""
    for node in world_of("honest").nodes.values():
        for part in vars(node.machine).values():
            assert dataclasses.is_dataclass(part)
            assert not hasattr(part, "__dict__"), type(part)


class TestCodec:
    def test_what_is_shared_stays_shared(self) -> None:
        machine = histories.one_job().node("requester").machine
        again = machine.fresh()
        again.restore(machine.save())
        assert again.requester.member is again.member
        assert again.settler is again.provider.settler
        (job,) = again.requester._book.jobs.values()
        assert again.requester._book.by_job[job.job_id] is job  # type: ignore[index]
        assert again.requester._payments.jobs is again.requester._book.by_job
        assert again.member.settings is machine.settings

    def test_class_that_no_hint_names_is_not_written(self) -> None:
        with pytest.raises(TypeError, match="no class of state"):
            state.dump([object()], {}, {})

    def test_class_that_is_not_known_is_not_read(self) -> None:
        saved = state.dump([TimestampMs(1), Work.HONEST], {"Work": Work}, {})
        with pytest.raises(Malformed, match="does not know"):
            state.load(saved, {}, {})
        assert state.load(saved, {"Work": Work}, {}) == [1, Work.HONEST]

    @settings(max_examples=200)
    @given(noise=st.binary(max_size=60))
    def test_noise_is_malformed(self, noise: bytes) -> None:
        with suppress(Malformed):
            state.load(noise, {}, {})

    def test_new_field_takes_its_default_and_an_old_one_is_left_out(self) -> None:
        before = dataclasses.make_dataclass("Book", [("gone", int), ("kept", int)])
        after = dataclasses.make_dataclass(
            "Book", [("kept", int), ("new", dict, dataclasses.field(default_factory=dict))]
        )
        assert state.load(state.dump(before(1, 2), {"Book": before}, {}), {"Book": after}, {}) == after(2, {})

    def test_new_field_without_a_default_cannot_be_read(self) -> None:
        before = dataclasses.make_dataclass("Book", [("kept", int)])
        after = dataclasses.make_dataclass("Book", [("kept", int), ("new", int)])
        with pytest.raises(Malformed, match=r"no Book\.new"):
            state.load(state.dump(before(2), {"Book": before}, {}), {"Book": after}, {})
