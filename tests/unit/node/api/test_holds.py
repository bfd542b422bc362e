"""The routes of holds: each step, the view, and the stream until nothing runs."""

from dataclasses import replace

import pytest

from node.api.backend import HoldStep
from node.api.faults import Fault
from node.api.views import HoldsView, read
from tests.unit.node.api.conftest import Door


async def test_each_step_answers_with_the_holds_after_it(door: Door) -> None:
    found = []
    for step in (HoldStep.DRAIN, HoldStep.PAUSE, HoldStep.DRAIN, HoldStep.RESUME):
        view = read(HoldsView, await door.post("holds", step, body={}))
        assert read(HoldsView, await door.get("holds")) == view
        found.append([each.hold for each in view.holds])
    assert found == [["drain"], ["drain", "pause"], ["drain"], []]


async def test_a_step_takes_no_fields_and_a_strange_step_is_not_found(door: Door) -> None:
    with pytest.raises(Fault) as refused:
        await door.post("holds", "drain", body={"wait": True})
    assert refused.value.code == "unknown_field"
    with pytest.raises(Fault) as unknown:
        await door.post("holds", "sleep", body={})
    assert unknown.value.code == "not_found"
    assert door.backend.holds.found.holds == ()


async def test_the_stream_ends_when_nothing_runs(door: Door) -> None:
    door.backend.holds.found = replace(door.backend.holds.found, jobs_left=2)
    lines = await door.call(lambda: list(door.client.lines("holds", "events")))
    assert [line["jobs_left"] for line in lines] == [2, 1, 0]
