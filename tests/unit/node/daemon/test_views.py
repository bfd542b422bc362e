"""The daemon's views of jobs, cases and the network, from a whole job of the simulated world."""

import json
from dataclasses import replace

from node.api.admission import Market, admit, find_model
from node.api.backend import ChatMessage, JobAsk
from node.api.views import ANSWERED, AccountView, plain
from protocol.job import Stage
from protocol.params import VCN
from protocol.wire.ids import TimestampMs, Wei
from tests.simulation.scene import CLASS, MANIFEST, Work
from tests.support.scenes.daemon_views import views
from tests.unit.node.daemon.worlds import ended_job


def test_both_sides_show_the_same_job_and_its_money() -> None:
    story = ended_job()
    (asked,) = views(story, "requester").jobs()
    (served,) = views(story, "provider").jobs()
    assert (asked.side, served.side) == ("requester", "provider")
    assert asked.id == served.id == (story.done.request_id or b"").hex()
    assert asked.state == served.state == "spendable"
    assert asked.ended
    assert asked.model == "tiny"
    assert asked.cost_wei == asked.charge_wei + asked.fee_wei + asked.bonus_wei == story.done.debit
    assert asked.charge_wei == served.charge_wei
    assert asked.max_price_wei == 20 * VCN
    assert asked.actual_ms > 0
    states = [step.state for step in asked.steps]
    assert states == [
        "requested",
        "offered",
        "assigned",
        "running",
        "delivered",
        "in_batch",
        "drawn",
        "passed",
        "spendable",
    ]
    assert all(step.reached_ms and not step.at_most_ms for step in asked.steps)
    assert asked.failure is None


def test_every_state_that_counts_as_answered_is_a_stage_of_a_job() -> None:
    assert set(Stage) >= ANSWERED


def test_cost_of_a_job_holds_what_a_given_up_attempt_cost_beside() -> None:
    story = ended_job()
    view = story.node("requester").machine.requester.jobs[0]
    late = replace(view, debit=Wei(view.debit + 5))
    assert views(story, "requester").job(late, "requester").cost_wei == view.debit + 5
    # A node that was paid late is paid for a job that no other did, too.
    unserved = replace(view, stage=Stage.UNSERVED, charge=Wei(0), fee=Wei(0), bonus=Wei(0), debit=Wei(5))
    assert views(story, "requester").job(unserved, "requester").cost_wei == 5


def test_job_that_brought_nothing_has_ended_though_its_number_rides_in_a_batch() -> None:
    story = ended_job()
    view = story.node("provider").machine.provider.jobs[0]
    assert view.batch_id is not None
    shown = views(story, "provider").job(replace(view, stage=Stage.UNPAID, reason="timeout"), "provider")
    assert (shown.state, shown.batch_id, shown.ended) == ("failed", "", True)
    assert shown.failure is not None
    assert shown.failure.message == "timeout"


def test_case_shows_seats_verdict_and_where_the_money_went() -> None:
    story = ended_job()
    (batch,) = story.node("requester").machine.docket.batches.values()
    case = views(story, "requester").case(batch)
    assert (case.state, case.verdict) == ("final", "pass")
    assert [seat.state for seat in case.seats] == ["revealed"]
    assert case.price_wei == case.burned_wei + case.reward_wei + (case.pooled_wei - -(-case.price_wei // 20))
    assert case.jobs == ((story.done.request_id or b"").hex(),)
    assert case.slashed_wei == case.refunded_wei == 0


def test_case_of_a_cheat_shows_its_slash_and_the_refund() -> None:
    story = ended_job(work=Work.DISHONEST)
    (batch,) = story.node("requester").machine.docket.batches.values()
    case = views(story, "requester").case(batch)
    assert (case.state, case.verdict, len(case.seats)) == ("refunded", "severe", 3)
    assert case.slashed_wei == 10_000 * VCN
    assert case.refunded_wei > 0
    (asked,) = views(story, "requester").jobs()
    assert (asked.state, asked.cost_wei) == ("refunded", 0)


def test_nodes_are_the_others_best_first() -> None:
    story = ended_job()
    now = TimestampMs(story.world.now_ms)
    nodes = views(story, "requester").nodes(now)
    assert len(nodes) == 4
    assert [node.score for node in nodes] == sorted((node.score for node in nodes), reverse=True)
    assert all(node.online and node.models == ("tiny",) and node.class_ids == (CLASS,) for node in nodes)
    assert len(views(story, "provider").nodes(now)) == 3
    # Three heartbeats of silence later no peer is there.
    assert not any(node.online for node in views(story, "requester").nodes(TimestampMs(now + 15_000)))


def test_view_is_what_admission_needs() -> None:
    story = ended_job()
    shown = views(story, "requester")
    model = find_model("tiny", shown.models())
    assert (model.manifest, model.calibrated) == (MANIFEST.cid.hex(), (CLASS,))
    assert json.loads(json.dumps(plain(model)))["files"] == []
    client = story.node("requester").address
    account = AccountView(client, 50 * VCN, shown.lanes(client, {}), 0, 0)
    market = Market(shown.nodes(TimestampMs(story.world.now_ms)), account, 10 * VCN, client)
    ask = JobAsk("tiny", (ChatMessage("user", "x"),), 16, 0, 60_000, 0, with_bonus=True, uncalibrated=False)
    assert admit(ask, model, 10, market) == 1 << CLASS


def test_work_is_counted_by_day() -> None:
    story = ended_job()
    now = TimestampMs(story.world.now_ms)
    assert views(story, "requester").work(now).asked == 1
    assert views(story, "provider").work(now).provided == 1
    assert views(story, "provider").work(TimestampMs(now + 86_400_000)).provided == 0
    assert views(story, "requester").work(now).running == 0
