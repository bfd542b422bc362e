"""Following a job: nothing lost, nothing kept for a follower who left, none held up by a slow one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio

from node.api import views as views
from node.api.faults import Fault
from node.api.feed import BACKLOG, Feed
from tests.fakes.backend import FakeBackend, as_it_is, job_of
from tests.support.scenes.followed_jobs import ASK
from tests.unit.node.api.conftest import Door


class Reader:
    """Reads a followed job's lines in a thread; hands each over as it comes."""

    def __init__(self, door: Door, job_id: str) -> None:
        self._door, self._job_id = door, job_id
        self._send, self._receive = trio.open_memory_channel[Any](0)

    async def run(self) -> None:
        await trio.to_thread.run_sync(self._read)

    def _read(self) -> None:
        try:
            for line in self._door.client.lines("jobs", self._job_id, "events"):
                trio.from_thread.run(self._send.send, line)
        except Fault as fault:
            trio.from_thread.run(self._send.send, fault)
        trio.from_thread.run(self._send.aclose)

    async def next(self) -> Any:
        return await self._receive.receive()

    async def rest(self) -> list[Any]:
        return [line async for line in self._receive]


async def test_updates_come_in_order_and_end_with_the_job(door: Door) -> None:
    job_id = await door.backend.ask_job(ASK)
    door.backend.say(job_id, "The ")
    reader = Reader(door, job_id[:8])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        first = views.read(views.JobUpdate, await reader.next())
        assert first.job is not None
        assert (first.kind, first.job.text) == ("state", "The ")
        door.backend.say(job_id, "sky")
        door.backend.change(job_id, state="delivered")
        door.backend.change(job_id, state="spendable")
        rest = [views.read(views.JobUpdate, line) for line in await reader.rest()]
    assert [update.job.state if update.job else update.text for update in rest] == ["sky", "delivered", "spendable"]
    assert not door.backend.feed.followed


async def test_ended_job_is_one_line(door: Door) -> None:
    job_id = await door.backend.ask_job(ASK)
    door.backend.change(job_id, state="failed")
    lines = await trio.to_thread.run_sync(lambda: list(door.client.lines("jobs", job_id, "events")))
    assert [line["job"]["state"] for line in lines] == ["failed"]


async def test_job_that_failed_in_court_ends_with_its_refund() -> None:
    job = job_of(ASK, "aa" * 32)
    in_court = views.read(views.JobView, views.plain(job) | {"state": "failed", "batch_id": "bb" * 32})
    assert not in_court.ended
    assert views.read(views.JobView, views.plain(in_court) | {"state": "refunded"}).ended


async def test_unknown_job_is_refused_before_the_stream(door: Door) -> None:
    with pytest.raises(Fault) as caught:
        await trio.to_thread.run_sync(lambda: list(door.client.lines("jobs", "ffffff", "events")))
    assert caught.value.code == "not_found"


async def test_reader_that_leaves_is_forgotten(door: Door) -> None:
    job_id = await door.backend.ask_job(ASK)
    stream = await trio.open_unix_socket(str(door.socket))
    await stream.send_all(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await stream.receive_some(10)
    assert door.backend.feed.followed == {job_id}
    await stream.aclose()
    with trio.fail_after(5):
        while door.backend.feed.followed:
            await trio.lowlevel.checkpoint()


async def test_error_in_the_middle_is_the_last_line(door: Door) -> None:
    job_id = await door.backend.ask_job(ASK)
    reader = Reader(door, job_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await reader.next()
        for _ in range(BACKLOG + 2):  # one more than the channel and the task that waits at its end hold
            door.backend.say(job_id, "x" * 1000)
        rest = await reader.rest()
    assert isinstance(rest[-1], Fault)
    assert rest[-1].code == "busy"


async def test_slow_reader_is_cut_off_and_the_others_are_not() -> None:
    feed, job = Feed(), job_of(ASK, "aa" * 32)
    async with feed.follow(job.id, lambda: job, as_it_is) as slow, feed.follow(job.id, lambda: job, as_it_is) as quick:
        await anext(slow)
        await anext(quick)
        for number in range(BACKLOG + 1):
            feed.publish(job.id, views.JobUpdate("text", text=str(number)))
            assert (await anext(quick)).text == str(number)
        with pytest.raises(Fault) as caught:
            async for _ in slow:
                pass
        assert caught.value.code == "busy"


def test_update_of_a_job_that_nobody_follows_goes_nowhere() -> None:
    FakeBackend().feed.publish("aa" * 32, views.JobUpdate("text", text="x"))


async def test_the_first_view_has_what_lies_on_the_disk_and_no_update_is_missed_meanwhile() -> None:
    feed, job = Feed(), job_of(ASK, "aa" * 32)

    async def fill(view: views.JobView) -> views.JobView:
        feed.publish(job.id, views.JobUpdate("text", text="later"))
        return replace(view, text="of the result")

    async with feed.follow(job.id, lambda: job, fill) as updates:
        first, second = await anext(updates), await anext(updates)
    assert first.job is not None
    assert (first.job.text, second.text) == ("of the result", "later")
