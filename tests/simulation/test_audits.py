"""Audits through the shipped machines: who never looked is caught, whatever its node shows; honest seats never."""

import pytest

from chain.abi.enums import BatchState
from protocol import events as ev
from protocol.job import Stage
from protocol.params import AUDITORS
from protocol.stages.verification import Verdict
from tests.simulation.histories import crowd, drawn, later, passed, requested, seated, settled, told
from tests.simulation.scene import Work, check_bytes
from tests.support.scenes.simulated_audits import SEAT_STAKE, ended, lost
from tests.support.scenes.simulated_courts import only


def test_honest_seats_pass_their_audit_and_it_is_paid() -> None:
    world = passed()
    assert ended(world) == ev.AuditEnded(only(world, ev.CaseResolved).batch_id, (), fraud=False)
    convened = only(world, ev.AuditConvened)
    assert len(set(convened.auditors) - set(only(world, ev.CaseConvened).seats)) == AUDITORS
    assert all(world.chain.contracts.rewards.get(auditor, 0) > 0 for auditor in convened.auditors)
    settled(world)
    assert requested(world)[0].stage is Stage.SPENDABLE
    assert lost(world) == [0, 0, 0]
    assert not told(world, ev.NodeSlashed)


@pytest.mark.parametrize("lazy", [1, 2, 3])
def test_seats_that_never_looked_are_caught(lazy: int) -> None:
    world = passed(lazy)
    assert ended(world).caught == tuple(range(lazy))
    assert lost(world) == [SEAT_STAKE // 20] * lazy + [0] * (3 - lazy)
    settled(world)
    assert requested(world)[0].stage is Stage.SPENDABLE


def test_a_node_that_hides_saves_nobody() -> None:
    world = passed(1)
    world.kill(world.node("provider"), 3_600_000)
    assert ended(world).caught == (0,)
    assert lost(world) == [SEAT_STAKE // 20, 0, 0]


def test_a_seat_that_shows_nothing_has_nothing_to_show() -> None:
    world = passed()
    seated(world)[2].silent = True
    assert ended(world).caught == (2,)
    assert lost(world) == [0, 0, SEAT_STAKE // 20]


def test_who_looks_only_once_it_is_audited_had_bound_itself_to_something_else() -> None:
    world = passed(1)
    case = seated(world)[0].machine.verifier.sitting(only(world, ev.CaseResolved).batch_id)
    assert case is not None
    for leaf in case.own.leaves.values():
        leaf.check = check_bytes(3, Work.HONEST)
    assert ended(world).caught == (0,)


def test_who_finds_fault_is_not_asked_what_it_computed() -> None:
    world = crowd()
    for number in range(10, 14):
        world.join(world.add(f"verifier-{number}", {"verifier"}, 5_000))
    world.run(lambda: bool(told(world, ev.CaseConvened)))
    # A seat that is alone with its doubt, perhaps by papers that only it was shown: seven others let it pass.
    seated(world)[0].work = Work.DISHONEST
    drawn(world)
    assert only(world, ev.CaseGrown)
    assert only(world, ev.CaseResolved).verdict is Verdict.PASS
    assert ended(world).caught == ()
    assert lost(world) == [0, 0, 0]


def test_seats_that_let_a_fraud_pass_unseen_are_all_caught() -> None:
    world = passed(3, Work.DISHONEST)
    found = ended(world)
    assert found.caught == (0, 1, 2)
    assert lost(world) == [SEAT_STAKE // 20] * 3
    # On a laptop's network the batch is final by then; else its node would be condemned, too.
    states = {batch.state for batch in world.chain.contracts.batches.values()}
    assert states <= {BatchState.FINAL, BatchState.VOID, BatchState.REFUNDED}


def test_seats_that_see_a_fraud_and_let_it_pass_are_caught_like_those_that_never_looked() -> None:
    world = passed(work=Work.DISHONEST, bribed=3)
    assert ended(world).caught == (0, 1, 2)
    assert lost(world) == [SEAT_STAKE // 20] * 3


def test_an_auditor_that_was_killed_in_the_middle_goes_on() -> None:
    world = passed(1)
    world.run(lambda: bool(told(world, ev.AuditConvened)))
    (first, *_) = only(world, ev.AuditConvened).auditors
    world.kill(next(node for node in world.nodes.values() if node.address == first), 5_000)
    assert ended(world).caught == (0,)
    assert {event.auditor for event in told(world, ev.AuditRevealed)} == {0, 1, 2}


def test_a_case_that_is_not_drawn_costs_no_transaction() -> None:
    world = settled(crowd())
    later(world, 120_000)
    assert told(world, ev.AuditNotDrawn)
    assert not told(world, ev.AuditConvened)
