"""The owner's word between whole nodes: a drain in the middle of a job, over a restart, until it is ended."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime

import pytest
import trio

from node.api.views import HoldsView, PeerView
from node.daemon.node import Node
from tests.support.scenes.daemon_jobs import ANSWER, ASK, Played, heard, network, until
from tests.support.scenes.daemon_jobs import place as place
from tests.support.scenes.daemons import REPOSITORY, Place

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.slow]


async def vcoin(node: Node, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """A command of the node's owner, as one types it."""
    data_dir = str(node.parts.config.node.data_dir)
    command = [sys.executable, "-m", "node.cli", *arguments, "--data-dir", data_dir]
    return await trio.run_process(
        command, cwd=str(REPOSITORY), capture_stdout=True, capture_stderr=True, check=False, stdin=subprocess.DEVNULL
    )


async def held(node: Node, *holds: str) -> None:
    """Wait until a node has these holds."""
    events = node.parts.driver.subscribe()
    with trio.fail_after(30):
        while [each.hold for each in (await node.backend.holds.view()).holds] != list(holds):
            await events.receive()


async def hears(asker: Node, provider: Node, *, is_draining: bool) -> None:
    """Wait until a node hears whether another one drains."""
    events, own = asker.parts.driver.subscribe(), provider.parts.machine.identity.node_id

    async def peer() -> PeerView | None:
        return next((each for each in (await asker.backend.snapshot()).nodes if each.node_id == own), None)

    with trio.fail_after(60):
        while (seen := await peer()) is None or not seen.online or seen.draining is not is_draining:
            await events.receive()


async def finds_nobody(asker: Node) -> None:
    """No node makes an offer for a job."""
    job = await asker.backend.ask_job(replace(ASK, max_new_tokens=32))
    ended = await until(asker, job, lambda view: view.ended, 90)
    assert ended.failure is not None
    assert "made an offer" in ended.failure.message


async def test_drain_in_the_middle_of_a_job_ends_it_and_is_kept_until_resume(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        runner = cast.provider.parts.runner
        assert isinstance(runner, Played)
        # Its answer waits until the test lets it go on.
        await runner.hold(is_held=True)
        job = await cast.asker.backend.ask_job(ASK)
        await until(cast.asker, job, lambda view: view.state == "running", 60)
        ended: list[subprocess.CompletedProcess[bytes]] = []

        async def drain() -> None:
            ended.append(await vcoin(cast.provider, "node", "drain", "--wait", "--json"))

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain)
                await held(cast.provider, "drain")
                await hears(cast.asker, cast.provider, is_draining=True)
                await finds_nobody(cast.asker)
                assert ended == []
                await runner.hold(is_held=False)
        (done,) = ended
        assert done.returncode == 0, done.stderr
        left = [json.loads(line)["jobs_left"] for line in done.stdout.splitlines()]
        assert (left[0], left[-1]) == (1, 0)
        paid = await until(cast.asker, job, lambda view: view.ended, 120)
        assert (paid.state, paid.text) == ("spendable", ANSWER)

        config = cast.provider.parts.config
        await cast.town.down(config)
        again = await cast.town.up(config)
        snapshot = await again.backend.snapshot()
        assert snapshot.state == "draining"
        assert [each.hold for each in snapshot.holds.holds] == ["drain"]
        shown = await vcoin(again, "status")
        assert b"drained by the owner since" in shown.stdout
        resumed = await vcoin(again, "node", "resume", "--json")
        assert (resumed.returncode, json.loads(resumed.stdout)["holds"]) == (0, [])
        await hears(cast.asker, again, is_draining=False)
        next_job = await cast.asker.backend.ask_job(ASK)
        assert (await until(cast.asker, next_job, lambda view: view.state == "delivered", 60)).text == ANSWER


async def test_pause_and_resume_reach_the_containers_and_a_client_has_nothing_to_hold(place: Place) -> None:
    async with network(place) as cast:
        runner = cast.provider.parts.runner
        assert isinstance(runner, Played)
        for step, is_held in (("pause", True), ("resume", False)):
            events = cast.provider.parts.driver.subscribe()
            assert (await vcoin(cast.provider, "node", step)).returncode == 0
            with trio.fail_after(30):
                while runner.standing.is_held is not is_held:
                    await events.receive()
        refused = await vcoin(cast.asker, "node", "drain")
        assert (refused.returncode, refused.stdout) == (4, b"")
        assert refused.stderr.startswith(b"error: this node runs no jobs of others")


async def test_a_node_outside_of_its_hours_says_so_and_is_not_hired(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        config = cast.provider.parts.config
        await cast.town.down(config)
        # A range of a minute, half a day away from now.
        away = (datetime.now().hour + 12) % 24
        # Nobody dials it under its new address.
        boot = [cast.asker.parts.host.addresses[0]]
        closed = place.make_again(config, executor__hours=f"{away:02}:00-{away:02}:01", p2p__bootnodes=boot)
        again = await cast.town.up(closed)
        view: HoldsView = await again.backend.holds.view()
        assert [(each.hold, each.words) for each in view.holds] == [("hours", "outside of the owner's hours")]
        await hears(cast.asker, again, is_draining=True)
        await finds_nobody(cast.asker)
        still = await vcoin(again, "node", "resume")
        assert b"outside of the owner's hours since" in still.stdout
