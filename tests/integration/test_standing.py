"""Containers that stand still: a real one stops in the middle of its answer, goes on, and can be ended meanwhile."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from executor import devices
from executor.adapter import ContainerAdapter
from executor.docker_runner import Capacity, DockerRunner
from executor.runs.context import RunnerContext
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import INPUT_JSON, Workspaces
from protocol.effects import RunContainer, StopContainer
from protocol.events import ContainerExited, Event, TokensProduced
from protocol.stages.execution import Outcome, RunSpec
from tests.support.runner_context import open_context, small_model

pytestmark = [pytest.mark.docker, pytest.mark.slow]

JOB = bytes.fromhex("ad" * 32)
CHAT = {"v": 1, "salt": "5a" * 16, "messages": [{"role": "user", "content": "Name ten rivers, and where they end."}]}
TOKENS = 96


@dataclass
class House:
    """A node of its own on this machine; its job writes for some seconds."""

    context: RunnerContext
    home: Path
    at_once: int
    said: list[int] = field(default_factory=list)
    speaks: trio.Event = field(default_factory=trio.Event)
    ended: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        workspaces = Workspaces(self.home / "work")
        capacity = Capacity(1, HostSlots(self.home / "slots", 1), at_once=self.at_once)
        self.runner = DockerRunner(self.context, workspaces, capacity)
        self.adapter = ContainerAdapter(self.runner, self.report)
        workspaces.of_job(JOB).put(INPUT_JSON, json.dumps(CHAT).encode())

    async def report(self, event: Event) -> None:
        assert isinstance(event, TokensProduced)
        self.said += event.ids
        self.speaks.set()
        await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        class_id = max(devices.class_ids_for("bf16"))
        spec = RunSpec(JOB, small_model().cid, class_id, TOKENS, 0, bytes(32), 2 << 30, 100_000)
        self.ended.append(await self.adapter.perform(RunContainer(spec)))

    def states(self) -> list[str]:
        filters = {"label": f"org.vcoin.node={self.context.engine._node}"}
        return [found["State"] for found in self.context.engine.api.containers(all=True, filters=filters)]


@pytest.fixture(params=[1, 4], ids=["alone", "engine"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with open_context(node=f"test-standing-{os.getpid()}-{request.param}") as context:
        yield House(context, tmp_path, request.param)
        # Whatever a test left, nothing of it stays on this machine.
        context.engine.sweep((), time.time())


async def test_container_that_stands_still_says_nothing_and_ends_its_answer_later(house: House) -> None:
    with trio.fail_after(200):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.runner.serve)
            async with trio.open_nursery() as runs:
                runs.start_soon(house.run)
                await house.speaks.wait()
                began = trio.current_time()
                await house.runner.hold(is_held=True)
                assert trio.current_time() - began < 2
                assert house.states() == ["paused"]
                # The measure of this machine starts nothing and wakes nothing.
                await house.runner.report()
                assert (house.states(), house.ended) == (["paused"], [])
                await house.runner.hold(is_held=False)
                assert house.states() == ["running"]
            nursery.cancel_scope.cancel()
    (exited,) = house.ended
    assert isinstance(exited, ContainerExited)
    assert exited.result.outcome is Outcome.OK, exited.result.detail
    assert len(house.said) == exited.result.new_tokens
    assert house.states() == []


async def test_job_moves_out_of_a_container_that_stands_still(house: House) -> None:
    with trio.fail_after(200):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.runner.serve)
            async with trio.open_nursery() as runs:
                runs.start_soon(house.run)
                await house.speaks.wait()
                await house.runner.hold(is_held=True)
                stopped = await house.adapter.perform(StopContainer(JOB))
            assert isinstance(stopped, ContainerExited)
            assert stopped.result.outcome is Outcome.CANCELLED
            (exited,) = house.ended
            assert isinstance(exited, ContainerExited)
            assert exited.result.outcome is Outcome.CANCELLED
            await house.runner.hold(is_held=False)
            nursery.cancel_scope.cancel()
    assert house.states() == []
