"""Jobs that only read, through the shipped machines: judged without a fingerprint, audited like any other."""

import pytest

from protocol import events as ev
from protocol.job import Stage
from protocol.stages.request import CLASSIFY, EMBED
from protocol.stages.verification import ProofOpening, Verdict
from tests.simulation.histories import crowd, one_job, passed, requested, settled, told
from tests.simulation.scene import Work, ask
from tests.simulation.test_audits import SEAT_STAKE, ended, lost
from tests.simulation.test_court import STAKE, only, refunded
from tests.simulation.test_scenarios import network


def test_honest_embeddings_pass_and_are_paid_as_embeddings() -> None:
    world = one_job(kind=EMBED)
    (job,) = requested(world)
    assert (job.stage, job.kind, job.new_tokens) == (Stage.SPENDABLE, EMBED, 3)
    assert only(world, ev.CaseResolved).verdict is Verdict.PASS
    assert not only(world, ev.BatchSubmitted).uncalibrated
    assert {spec.kind for _, spec in world.specs} == {EMBED}


def test_a_node_that_shows_no_fingerprint_of_embeddings_is_judged_all_the_same() -> None:
    world = one_job(kind=EMBED)
    told_seats = [event for event in told(world, ev.MessageReceived) if isinstance(event.message, ProofOpening)]
    assert not any(event.message.proof for event in told_seats)
    assert only(world, ev.SeatRevealed).scores == (9_834,)


@pytest.mark.parametrize(("work", "verdict"), [(Work.DISHONEST, Verdict.SEVERE), (Work.DOUBTFUL, Verdict.REVIEW)])
def test_embeddings_of_another_model_are_found_out(work: Work, verdict: Verdict) -> None:
    world = settled(crowd(work, kind=EMBED))
    assert only(world, ev.CaseResolved).verdict is verdict
    assert refunded(world)
    assert [event.amount for event in set(told(world, ev.NodeSlashed))] == (
        [STAKE // 2] if work is Work.DISHONEST else []
    )


def test_a_seat_that_only_copied_the_embeddings_it_was_shown_is_caught() -> None:
    world = passed(1, kind=EMBED)
    assert ended(world).caught == (0,)
    assert lost(world) == [SEAT_STAKE // 20, 0, 0]


def test_honest_seats_of_embeddings_pass_their_audit() -> None:
    world = passed(kind=EMBED)
    assert ended(world).caught == ()
    assert lost(world) == [0, 0, 0]


def test_a_kind_that_nobody_measured_is_not_done_unless_its_client_takes_that() -> None:
    world = network()
    world.soon(lambda: world.node("requester").take(ask(kind=CLASSIFY)), 3_000)
    world.run(lambda: bool(requested(world)) and requested(world)[0].stage is Stage.UNSERVED)
    assert "no calibration" in requested(world)[0].reason


@pytest.mark.parametrize("work", [Work.HONEST, Work.DISHONEST])
def test_a_kind_that_nobody_measured_is_drawn_and_never_slashed(work: Work) -> None:
    world = settled(crowd(work, kind=CLASSIFY, uncalibrated=True))
    assert only(world, ev.BatchSubmitted).uncalibrated
    assert only(world, ev.CaseResolved).verdict is (Verdict.PASS if work is Work.HONEST else Verdict.REVIEW)
    assert requested(world)[0].stage is (Stage.SPENDABLE if work is Work.HONEST else Stage.REFUNDED)
    assert not told(world, ev.NodeSlashed)


def test_embeddings_have_constants_where_classifications_have_none_and_share_no_batch_with_them() -> None:
    world = network()
    for number, kind in enumerate((EMBED, CLASSIFY), 1):
        world.soon(lambda n=number, k=kind: world.node("requester").take(ask(n, kind=k, uncalibrated=True)), 3_000)  # type: ignore[misc]
    settled(world, 2)
    assert {event.uncalibrated for event in told(world, ev.BatchSubmitted)} == {True, False}
    assert all(job.stage is Stage.SPENDABLE for job in requested(world))
