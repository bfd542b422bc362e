"""Jobs that only read, through the shipped machines: judged without a fingerprint, audited like any other."""

from dataclasses import replace

import pytest

from protocol import events as ev
from protocol.job import Stage
from protocol.params import AUDITORS, VCN
from protocol.stages.request import CLASSIFY, EMBED
from protocol.stages.verification import Verdict
from tests.simulation.histories import crowd, one_job, passed, requested, settled, told
from tests.simulation.scene import CLASS, MANIFEST, NOISE, Work, ask
from tests.simulation.world import World
from tests.support.scenes.simulated_audits import SEAT_STAKE, ended, lost
from tests.support.scenes.simulated_courts import STAKE, only, refunded
from tests.support.scenes.simulated_jobs import network

SCORE = 10_000 - 500 * 5_000 // 27_108
"""The score of three honest embeddings by the constants of the scene."""


def test_honest_embeddings_pass_and_are_paid_as_embeddings() -> None:
    world = one_job(kind=EMBED)
    (job,) = requested(world)
    assert (job.stage, job.kind, job.new_tokens) == (Stage.SPENDABLE, EMBED, 3)
    assert only(world, ev.CaseResolved).verdict is Verdict.PASS
    assert not only(world, ev.BatchSubmitted).uncalibrated
    assert {spec.kind for _, spec in world.specs} == {EMBED}


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
    found = [audit.findings for node in world.nodes.values() for audit in node.machine.auditor.audits]
    assert found == [((), SCORE)] * AUDITORS


def test_seats_without_constants_for_a_kind_step_down_for_one_that_has_them() -> None:
    world = World()
    world.chain.deposit(world.add("requester", {"requester"}).address, 100 * VCN)
    world.add("provider", {"provider"}, 20_000)
    verifiers = [world.add(f"verifier-{number}", {"verifier"}, 5_000) for number in range(3)]
    world.start()
    for verifier in verifiers[1:]:
        verifier.take(ev.CalibrationSeen(MANIFEST.cid, CLASS, replace(NOISE, embed=None)))
    world.soon(lambda: world.node("requester").take(ask(kind=EMBED)), 3_000)
    settled(world)
    assert {event.node for event in told(world, ev.SeatSilenced)} <= {each.address for each in verifiers[1:]}
    assert told(world, ev.SeatSilenced)
    assert {event.node for event in told(world, ev.SeatRevealed)} == {verifiers[0].address}
    assert requested(world)[0].stage is Stage.SPENDABLE


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
