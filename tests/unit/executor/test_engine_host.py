"""A machine as the scheduler of engines sees it: its memory, its slots, and the models that its engines have loaded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from executor.containers.transcript import RunnerEvent
from executor.models import ModelStore
from executor.runs.context import EngineKey, RunnerContext
from executor.runs.engines import TORCH
from executor.scheduler.engine_host import RESERVE_BYTES, DockerEngineHost
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import Workspaces
from p2p.holdings import ModelHoldings, ModelInUse
from protocol.stages.memory import needed_bytes
from protocol.wire.ids import Cid
from tests.support.scenes.stored_models import put_model


class Place:
    """A machine of one slot and one engine without work. Nothing here starts a container."""

    def __init__(self, root: Path) -> None:
        self.holdings = ModelHoldings(root)
        self.model = put_model(root, "model", 1_000)
        self.key = EngineKey(self.model.cid, 2, TORCH)
        self.node_slots = trio.CapacityLimiter(1)
        self.slots, self.engines = HostSlots(root / "slots", 1), HostSlots(root / "engines", 1)
        self.available_bytes = 8 << 30
        no_docker: Any = None
        self.host = DockerEngineHost(
            RunnerContext(no_docker, "", ModelStore(root), lambda manifest: None, hold_model=self.hold),
            Workspaces(root / "work"),
            1 << 30,
            self.slot,
            self.node_slots,
            self.slots,
            self.engines,
            Counter(),
            lambda: self.available_bytes,
        )

    @contextmanager
    def hold(self, manifest: bytes) -> Iterator[None]:
        descriptor = self.holdings.hold(Cid(manifest))
        yield
        os.close(descriptor)

    @asynccontextmanager
    async def slot(self, *, is_check: bool) -> AsyncIterator[None]:
        raise AssertionError
        yield


class Loaded:
    """An engine whose whole life is an attempt to remove its model."""

    def __init__(self, place: Place) -> None:
        self.id, self.key, self._place = b"engine", place.key, place

    def run(self, on_event: Callable[[RunnerEvent], None]) -> object:
        with pytest.raises(ModelInUse):
            self._place.holdings.retire(self._place.model.cid, keep_description=True)
        assert self._place.host.may_wait(self)
        assert not self._place.engines.is_free()
        return None

    def stop(self) -> None: ...
    def join(self, number: int, task: object) -> None: ...
    def leave(self, number: int) -> None: ...
    def take(self, number: int, task: object) -> None: ...


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_model_that_is_loaded_stays_in_the_store_until_its_engine_ends(place: Place) -> None:
    async def hear(event: RunnerEvent) -> None:
        raise AssertionError

    await place.host.live(Loaded(place), hear)
    assert place.engines.is_free()
    place.holdings.retire(place.model.cid, keep_description=True)
    assert not place.holdings.is_whole(place.model.cid)


def test_an_engine_fits_if_the_machine_keeps_its_reserve(place: Place) -> None:
    needed = needed_bytes(place.model, 2, 0)
    for available, fits, is_short in (
        (needed + RESERVE_BYTES, True, False),
        (needed + RESERVE_BYTES - 1, False, False),
        (RESERVE_BYTES - 1, False, True),
    ):
        place.available_bytes = available
        assert (place.host.fits(place.key), place.host.is_short()) == (fits, is_short)
    # The start of an engine of a model that is gone says so.
    assert place.host.fits(EngineKey(bytes(32), 2, TORCH))


def test_a_machine_has_room_for_one_more_engine_if_nothing_of_it_is_taken(place: Place) -> None:
    assert place.host.is_free()
    for slots in (place.slots, place.engines):
        held = slots.take()
        assert held is not None
        assert not place.host.is_free()
        os.close(held)
    place.node_slots.acquire_on_behalf_of_nowait(place)
    assert not place.host.is_free()
    place.node_slots.release_on_behalf_of(place)
    assert place.host.is_free()
