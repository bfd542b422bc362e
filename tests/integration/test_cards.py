"""Real containers on stubbed cards: paused in the heat, let go on, moved, and ended with the right side to blame."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from executor.cards.care import MOVE_AFTER_S, OwnerLimits
from executor.containers.card_access import CardAccess, RuntimeChoice
from executor.containers.sandbox import GIB
from protocol.errors import ExecutorError
from protocol.stages.execution import Outcome
from tests.support.nvml_stub import ABSENT, LOST, NO_PERMISSION, SW_THERMAL
from tests.support.scenes.carded_containers import SHARE_BYTES, CardHouse, open_card_house

pytestmark = [pytest.mark.docker]

SECOND = "GPU-00000001"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[CardHouse]:
    with open_card_house(tmp_path) as opened:
        yield opened


async def test_a_hot_card_pauses_its_containers_and_no_others(
    house: CardHouse, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hot, cool = house.start("aa"), house.start("bb", SECOND)
    await house.look()
    house.stub[0].temperature = 86
    report = await house.look(1)
    assert (hot.state, cool.state) == ("paused", "running")
    assert [(each.is_usable, each.is_stopped) for each in report.cards] == [(False, True), (True, False)]
    house.stub[0].temperature = 75
    await house.look(1)
    assert hot.state == "paused"
    house.stub[0].temperature = 74
    await house.look(1)
    assert (hot.state, cool.state) == ("running", "running")
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "card hot: 86 C: its containers are paused until it is under 75 C",
        "a container on a card is paused",
        "card hot: over",
        "a container on a card goes on",
    ]


async def test_a_card_that_cools_lets_nothing_go_on_that_its_owner_holds(house: CardHouse) -> None:
    job = house.start("aa")
    house.engine.hold(is_held=True)
    house.is_held = True
    for celsius in (40, 90, 40):
        house.stub[0].temperature = celsius
        await house.look(1)
        assert job.state == "paused"
    house.engine.hold(is_held=False)
    house.is_held = False
    await house.look(1)
    assert job.state == "running"


async def test_a_job_that_cannot_wait_moves_and_is_this_machines_failure(house: CardHouse) -> None:
    job = house.start("aa")
    house.stub[0].temperature = 90
    await house.look()
    await house.look(MOVE_AFTER_S - 1)
    assert job.state == "paused"
    await house.look(1)
    assert job.end() == (Outcome.PROVIDER, "card: too hot or in use for longer than the job can wait")


async def test_a_container_of_two_cards_is_paused_while_either_is_hot(house: CardHouse) -> None:
    job = house.start("aa", "GPU-00000000", SECOND)
    for first, second, state in ((90, 40, "paused"), (90, 90, "paused"), (60, 90, "paused"), (60, 60, "running")):
        house.stub[0].temperature, house.stub[1].temperature = first, second
        await house.look()
        assert job.state == state


async def test_a_lost_card_ends_its_jobs_at_once(house: CardHouse) -> None:
    job, other = house.start("aa"), house.start("bb", SECOND)
    await house.look()
    house.stub[0].error = LOST
    await house.look()
    assert job.end() == (Outcome.PROVIDER, "card: lost, or its memory has errors")
    assert other.state == "running"


async def test_a_card_that_the_driver_forgets_is_lost(house: CardHouse) -> None:
    job = house.start("bb", SECOND)
    await house.look()
    house.stub.state.count = 1
    report = await house.look()
    assert job.end()[0] is Outcome.PROVIDER
    assert [(each.card.uuid, each.is_usable) for each in report.cards] == [("GPU-00000000", True), (SECOND, False)]


async def test_a_job_over_its_share_is_to_blame_itself(house: CardHouse) -> None:
    job = house.start("aa")
    pid = job.inspected["State"]["Pid"]
    house.stub[0].run((pid, SHARE_BYTES))
    report = await house.look()
    assert (job.state, report.cards[0].troubles) == ("running", ())
    house.stub[0].run((pid, SHARE_BYTES + 1))
    await house.look()
    assert job.end() == (Outcome.JOB, "out_of_memory: the job took more than its share of the card's memory")


async def test_a_process_of_no_container_is_foreign(house: CardHouse) -> None:
    job = house.start("aa")
    house.stub[0].run((job.inspected["State"]["Pid"], GIB), (os.getpid(), 2 * GIB))
    report = await house.look()
    (trouble,) = report.cards[0].troubles
    assert trouble.kind == "foreign"
    assert f"2048 MiB of it (pid {os.getpid()})" in trouble.words
    assert job.state == "running"


async def test_an_owner_who_wants_the_card_idle_gets_it(tmp_path: Path) -> None:
    with open_card_house(tmp_path, OwnerLimits(only_idle=True)) as house:
        job = house.start("aa")
        pid = job.inspected["State"]["Pid"]
        house.stub[0].run((pid, GIB), (os.getpid(), GIB))
        report = await house.look()
        assert (job.state, report.is_held) == ("paused", False)
        house.stub[0].run((pid, GIB))
        await house.look(1)
        assert job.state == "running"
        house.stub[0].run((pid, GIB), (os.getpid(), GIB))
        house.stub[1].run((os.getpid(), GIB))
        assert (await house.look()).is_held
        await house.look(MOVE_AFTER_S)
        assert job.end()[0] is Outcome.PROVIDER


async def test_what_an_earlier_daemon_left_paused_goes_on(house: CardHouse) -> None:
    job = house.start("aa")
    (found,) = house.engine.on_cards()
    house.engine.pause(found.container, go_on=False)
    house.engine.pause(found.container, go_on=False)
    assert job.state == "paused"
    await house.look()
    assert job.state == "running"


async def test_a_paused_container_can_be_ended(house: CardHouse) -> None:
    job = house.start("aa")
    house.stub[0].temperature = 90
    await house.look()
    house.stub[0].error = LOST
    await house.look()
    assert job.end()[0] is Outcome.PROVIDER


async def test_a_power_cap_is_set_where_it_may_be_and_named_where_not(tmp_path: Path) -> None:
    with open_card_house(tmp_path, OwnerLimits(power_watts=200)) as house:
        house.stub[0].may_cap = 1
        report = await house.look()
        assert (house.stub[0].limit_mw, house.stub[1].limit_mw) == (200_000, 300_000)
        assert [trouble.kind for trouble in report.cards[0].troubles] == []
        (refused,) = report.cards[1].troubles
        assert (refused.kind, refused.fix) == ("cap_refused", f"sudo nvidia-smi -i {SECOND} -pl 200")
        assert report.cards[1].is_usable


async def test_each_trouble_is_told_once_and_so_is_its_end(house: CardHouse, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await house.look()
    house.stub[0].throttles = SW_THERMAL
    house.stub[1].error = NO_PERMISSION
    for _ in range(3):
        await house.look(1)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "card throttled",
        "card no_permission",
    ]
    assert vars(caplog.records[1])["hint"].startswith("let the daemon's user read /dev/nvidia")
    house.stub[1].error = house.stub[0].throttles = 0
    await house.look(1)
    assert [record.getMessage() for record in caplog.records[2:]] == [
        "card throttled: over",
        "card no_permission: over",
    ]


async def test_the_network_hears_at_once_of_a_card_that_is_out_and_of_its_return(house: CardHouse) -> None:
    heard: list[int] = []

    async def hear() -> None:
        while True:
            await house.keeper.news()
            heard.append(house.stub[0].temperature)

    await house.look()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear)
        for temperature_c in (60, 84, 86, 90, 80, 74, 60):
            await trio.testing.wait_all_tasks_blocked()
            house.stub[0].temperature = temperature_c
            await house.look(1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert heard == [86, 74]


async def test_a_container_has_its_cards_by_name_and_every_control(house: CardHouse) -> None:
    found = house.start("aa", "GPU-00000000", SECOND).inspected
    assert f"NVIDIA_VISIBLE_DEVICES=GPU-00000000,{SECOND}" in found["Config"]["Env"]
    assert f"MAX_MEMORY={SHARE_BYTES}" in found["Config"]["Env"]
    host = found["HostConfig"]
    assert (host["Runtime"], host["NetworkMode"], host["ReadonlyRootfs"]) == ("runc", "none", True)
    assert (host["CapDrop"], host["SecurityOpt"], host["Privileged"]) == (["ALL"], ["no-new-privileges"], False)
    assert (host["PidsLimit"], host["OomScoreAdj"], found["Config"]["User"]) == (256, 500, "1000:1000")


def test_docker_without_the_runtime_is_refused_with_the_fix(house: CardHouse) -> None:
    with pytest.raises(ExecutorError, match=r"Docker has no runtime kata-of-nowhere, only .*runc.*: name it in"):
        house.engine.use(RuntimeChoice("kata-of-nowhere", CardAccess.AUTO), has_cards=True)


async def test_a_machine_whose_cards_have_no_sensor_goes_on(house: CardHouse) -> None:
    house.stub[0].temperature = house.stub[0].utilisation = house.stub[0].power_mw = ABSENT
    report = await house.look()
    assert (report.cards[0].is_usable, report.cards[0].troubles) == (True, ())
