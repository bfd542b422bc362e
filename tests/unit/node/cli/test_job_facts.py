"""The lines of `vcoin job show` about a job's cost: every part of it, and no part that is nothing."""

import re
from dataclasses import replace

from node.api.views import JobView
from node.cli.commands.job import description
from protocol.params import VCN
from tests.simulation.scene import Work
from tests.support.scenes.daemon_views import views
from tests.unit.node.daemon.worlds import ended_job


def cost_line(job: JobView) -> str:
    return next((line for line in description(job) if line.startswith("cost")), "")


def amounts(line: str) -> list[float]:
    return [float(amount) for amount in re.findall(r"\d+\.?\d*", line)]


def test_the_parts_of_a_cost_add_up_to_it() -> None:
    (job,) = views(ended_job(), "requester").jobs()
    total, *parts = amounts(cost_line(job))
    assert total == sum(parts)
    assert "given up" not in cost_line(job)
    late = replace(job, cost_wei=job.cost_wei + VCN // 4)
    assert cost_line(late).endswith("+ 0.25 attempts given up")
    total, *parts = amounts(cost_line(late))
    assert total == sum(parts)


def test_a_job_that_nobody_did_says_what_its_attempts_cost() -> None:
    (job,) = views(ended_job(), "requester").jobs()
    nothing = replace(job, charge_wei=0, fee_wei=0, bonus_wei=0, cost_wei=0)
    assert cost_line(nothing) == ""
    assert cost_line(replace(nothing, cost_wei=VCN // 4)).endswith("0.25 VCN = 0.25 attempts given up")


def test_a_job_to_be_checked_says_so_with_what_it_may_cost_and_what_seats_found() -> None:
    (job,) = views(ended_job(checked=True), "requester").jobs()
    shown = "\n".join(description(job))
    assert re.search(r"check +ordered: drawn for certain; seats have found 100 %", shown)
    assert re.search(r"price +1.28 VCN for all 128 tokens, 2.0352 VCN at most with check and bonus", shown)
    total, *parts = amounts(cost_line(job))
    assert total == sum(parts)
    assert job.fee_wei == -(-job.charge_wei // 2)


def test_a_job_that_was_not_drawn_says_nothing_of_checks() -> None:
    (job,) = views(ended_job(), "requester").jobs()
    assert not any(line.startswith("check") for line in description(replace(job, scores_bps=())))


def test_a_doubt_shows_what_its_check_cost() -> None:
    (job,) = views(ended_job(work=Work.DOUBTFUL, checked=True), "requester").jobs()
    assert (job.state, job.charge_wei, job.cost_wei) == ("refunded", 0, job.fee_wei)
    assert cost_line(job).endswith("verify fee")


def test_a_temperature_is_shown_where_there_is_one() -> None:
    (job,) = views(ended_job(), "requester").jobs()
    assert not any(line.startswith("temperature") for line in description(job))
    assert any(re.fullmatch(r"temperature\s+0\.85", line) for line in description(replace(job, temperature_milli=850)))
