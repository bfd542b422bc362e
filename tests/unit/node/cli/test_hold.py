"""`vcoin node drain`, `pause` and `resume`: what they show, how they wait, and how they end."""

import json
from dataclasses import replace

import pytest

from node.api import views as views
from node.api.faults import Exit, Fault
from node.cli.ui.phrases import moment
from tests.fakes.backend import HELD_SINCE_MS
from tests.unit.node.cli.conftest import Shell

SINCE = moment(HELD_SINCE_MS // 1000)


def busy(vcoin: Shell, jobs: int, batches: int = 0) -> None:
    holds = vcoin.backend.holds
    holds.found = replace(holds.found, jobs_left=jobs, batches_open=batches)


@pytest.mark.parametrize(("step", "words"), [("drain", "drained by the owner"), ("pause", "paused by the owner")])
async def test_a_hold_is_shown_with_what_is_left_until_it_is_ended(vcoin: Shell, step: str, words: str) -> None:
    busy(vcoin, 2, batches=1)
    ran = await vcoin("node", step)
    assert ran.code == Exit.OK
    assert f"{words} since {SINCE}" in ran.out
    assert "2 jobs and 0 checks left, 1 batch open" in ran.out
    assert f"{words} since {SINCE}" in (await vcoin("status")).out
    assert (await vcoin("status", "--json")).json["holds"]["holds"][0]["hold"] == step
    resumed = await vcoin("node", "resume")
    assert (resumed.code, "by nothing: jobs are taken" in resumed.out) == (Exit.OK, True)
    assert "held" not in (await vcoin("status")).out


async def test_resume_names_the_hold_that_it_cannot_end(vcoin: Shell) -> None:
    hours = views.HoldView("hours", "outside of the owner's hours", HELD_SINCE_MS)
    vcoin.backend.holds.found = replace(vcoin.backend.holds.found, holds=(hours,))
    assert f"outside of the owner's hours since {SINCE}" in (await vcoin("node", "resume")).out


async def test_drain_takes_the_place_of_a_pause(vcoin: Shell) -> None:
    await vcoin("node", "pause")
    held = (await vcoin("node", "drain", "--json")).json["holds"]
    assert [each["hold"] for each in held] == ["drain"]


async def test_wait_shows_how_many_jobs_are_left_and_ends_when_nothing_runs(vcoin: Shell) -> None:
    busy(vcoin, 3)
    ran = await vcoin("node", "drain", "--wait")
    assert (ran.code, ran.out) == (Exit.OK, "")
    lines = [line for line in ran.err.splitlines() if line]
    assert [line.split(",")[0] for line in lines] == [
        "3 jobs and 0 checks left",
        "2 jobs and 0 checks left",
        "1 job and 0 checks left",
        "nothing runs",
    ]


async def test_wait_in_json_is_an_object_a_line(vcoin: Shell) -> None:
    busy(vcoin, 1)
    ran = await vcoin("node", "drain", "--wait", "--json")
    assert (ran.code, ran.err) == (Exit.OK, "")
    assert [json.loads(line)["jobs_left"] for line in ran.out.splitlines()] == [1, 0]


async def test_wait_says_that_batches_still_need_the_daemon(vcoin: Shell) -> None:
    busy(vcoin, 0, batches=2)
    ran = await vcoin("node", "drain", "--wait")
    assert "2 batches are not final: leave the node on" in ran.err


async def test_a_node_without_work_to_hold_says_so(vcoin: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(step: object) -> views.HoldsView:
        raise Fault("preflight", "this node runs no jobs of others", "vcoin status shows what it does")

    monkeypatch.setattr(vcoin.backend.holds, "take_step", refuse)
    for step in ("drain", "pause", "resume"):
        ran = await vcoin("node", step)
        assert (ran.code, ran.out) == (Exit.PREFLIGHT, "")
        assert ran.err.splitlines() == [
            "error: this node runs no jobs of others",
            "hint: vcoin status shows what it does",
        ]


def test_without_a_daemon_there_is_one_line_and_its_exit_code(shell: Shell) -> None:
    for arguments in (("drain",), ("drain", "--wait"), ("pause",), ("resume",)):
        ran = shell.run("node", *arguments)
        assert (ran.code, ran.out) == (Exit.NO_DAEMON, "")
        assert "hint: start one: vcoin node run" in ran.err
