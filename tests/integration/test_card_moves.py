"""A real job of a real model on a stubbed card that gets hot: paused at once, moved in time, answered all the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import trio

from protocol.stages.execution import Outcome
from tests.support.scenes.carded_jobs import CardedRunner, open_carded_runner

pytestmark = [pytest.mark.docker, pytest.mark.slow]

PAUSED_S, MOVED_S, ANSWERED_S = 2.0, 20.0, 120.0


@pytest.fixture
def carded(tmp_path: Path) -> CardedRunner:
    return CardedRunner(tmp_path)


async def test_from_the_heat_to_the_other_card(carded: CardedRunner) -> None:
    async with open_carded_runner(carded):
        with trio.fail_after(ANSWERED_S):
            story = await carded.hot_story(hot=0)
    assert (story.first_card, story.second_card) == ("GPU-00000000", "GPU-00000001")
    assert story.paused_s <= PAUSED_S
    assert story.moved_s <= MOVED_S
    assert story.exited.result.outcome is Outcome.OK
    assert story.exited.result.new_tokens == len(story.streamed)


async def test_without_another_card_the_network_gets_the_job_back(carded: CardedRunner) -> None:
    carded.stub.state.count = 1
    async with open_carded_runner(carded):
        with trio.fail_after(ANSWERED_S):
            story = await carded.hot_story(hot=0)
    assert story.second_card == ""
    assert story.exited.result.outcome is Outcome.PROVIDER
    assert "card: too hot" in story.exited.result.detail


async def test_a_job_without_a_card_to_run_on_is_this_machines_failure(carded: CardedRunner) -> None:
    carded.stub[0].temperature = carded.stub[1].temperature = 90
    async with open_carded_runner(carded):
        exited = await carded.run(dataclasses.replace(carded.spec("hot"), max_new_tokens=4))
    assert exited.result.outcome is Outcome.PROVIDER
    assert "no card can be used now: vcoin status says why" in exited.result.detail
